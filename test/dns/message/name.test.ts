import { describe, expect, test } from 'vitest'
import { formatFqdn } from '../../../src/core/fqdn.ts'
import { NameReader, readPlainName, skipName } from '../../../src/dns/message/name.ts'
import { REASON } from '../../../src/dns/message/reasons.ts'

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replace(/\s/g, ''), 'hex'))
const label = (length: number, byte = 0x61): string =>
  Buffer.from([length, ...new Array<number>(length).fill(byte)]).toString('hex')

function expand(message: Uint8Array, at = 0, start = 0): string | undefined {
  const reader = new NameReader()
  const out = new Uint8Array(256)
  return reader.read(message, start, message.length, at, out, 0) ? formatFqdn(out) : undefined
}

const letters = Buffer.from('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789x').toString('hex')
const control = Buffer.from([...Array(63).keys()].map((i) => i % 32)).toString('hex')

/** Vectors of miekg/dns (TestUnpackDomainName), dns-packet and c-ares, by behaviour. */
const GOOD: readonly [string, string, number, (text: string) => boolean][] = [
  ['root', '00', 0, (t) => t === '.'],
  ['a label of 63 octets, folded', `3f${letters}00`, 0, (t) => t.startsWith('abcdefghijklmnopqrstuvwxyzabcdefg')],
  ['unprintable octets', `3f${control}00`, 0, (t) => t.startsWith('\\000\\001')],
  ['255 octets', label(63) + label(63) + label(63) + label(61) + '00', 0, (t) => t.length === 254],
  [
    'pointer into a label',
    '03666f6f0503636f6d00076578616d706c65c005',
    0,
    (t) => t === 'foo.\\003com\\000.example.com.',
  ],
  ['127 labels of one octet', '0161'.repeat(127) + '00', 0, (t) => t.length === 254],
  ['pointer back over a root', '000161c000', 1, (t) => t === 'a.'],
  [
    'matryoshka that stays within 255',
    '25221f1c191613100d0a00787878787878787878c00ac009c008c007c006c005c004c003c002c001',
    0,
    (t) => t.length > 200,
  ],
]

const BAD: readonly [string, string, number][] = [
  ['empty', '', 0],
  ['256 octets', label(63) + label(63) + label(63) + label(62) + '00', 0],
  ['128 labels of one octet', '0161'.repeat(128) + '00', 0],
  ['matryoshka over 255', '2825221f1c191613100d00787878787878787878c00ac009c008c007c006c005c004c003c002c001', 0],
  ['cut in a label', '076578616d706c6503', 0],
  ['no root', '076578616d706c6503636f6d', 0],
  ['pointer to itself', 'c000', 0],
  ['pointer cycle through labels', '03666f6f03626172076578616d706c65c004', 0],
  ['forward pointer', '02c0ffc001', 0],
  ['pointer past the end', 'c001', 0],
  ['half a pointer', 'c0', 0],
  ['label type 0b10', '076578616d706c6580', 0],
  ['label type 0b01', '076578616d706c6540', 0],
  ['bad label b0', 'b0', 0],
  ['label without octets', '01', 0],
  ['label and no root', '0161', 0],
  ['jump does not reset the length', label(63) + label(63) + label(63) + '00' + label(63) + label(63) + 'c000', 193],
]

describe('compressed names', () => {
  test.each(GOOD)('%s is read', (_, hex, at, check) => {
    const text = expand(bytes(hex), at)
    expect(text).toBeDefined()
    expect(check(text ?? '')).toBe(true)
  })

  test.each(BAD)('%s is refused', (_, hex, at) => {
    expect(expand(bytes(hex), at)).toBeUndefined()
  })

  test.each([200, 8192])('a chain of %i pointers is refused and does not overflow the stack', (n) => {
    const message = new Uint8Array(2 + 2 * n)
    for (let i = 1; i <= n; i++) {
      message[2 * i] = 0xc0 | ((2 * i - 2) >> 8)
      message[2 * i + 1] = (2 * i - 2) & 0xff
    }
    expect(expand(message, 2 * n)).toBeUndefined()
  })

  test('the position after a pointer is where the reader of the message goes on', () => {
    const message = bytes('00 0161 00 0162 c001 ffff')
    const reader = new NameReader()
    expect(reader.read(message, 0, message.length, 4, new Uint8Array(256), 0)).toBe(true)
    expect(reader.next).toBe(8)
    expect(reader.length).toBe(5)
  })

  test('pointers count from the start of the message, not of the buffer', () => {
    expect(expand(bytes('ffffff 0161 00 c000'), 6, 3)).toBe('a.')
  })

  test('only ASCII is folded', () => {
    expect(expand(bytes('05 41c389e284 00'))).toBe('a\\195\\137\\226\\132.')
  })
})

describe('the name of a question', () => {
  const plain = (hex: string): number => {
    const message = bytes(hex)
    return readPlainName(message, 0, message.length, new Uint8Array(256))
  }

  test.each([
    ['root', '00', 1],
    ['folded', '0341424300', 5],
    ['255 octets', label(63) + label(63) + label(63) + label(61) + '00', 255],
    ['256 octets', label(63) + label(63) + label(63) + label(62) + '00', -REASON.name_too_long],
    ['pointer', '0161c000', -REASON.question_compressed],
    ['label type 0b01', '0161 40', -REASON.label_type],
    ['label type 0b10', '0161 80', -REASON.label_type],
    ['cut', '0361', -REASON.question_cut],
    ['no root', '0161', -REASON.question_cut],
    ['nothing', '', -REASON.question_cut],
  ])('%s', (_, hex, expected) => {
    expect(plain(hex)).toBe(expected)
  })

  test('a dot inside a label stays inside it', () => {
    const message = bytes('09 63696c69756d2e696f 00')
    const out = new Uint8Array(256)
    const length = readPlainName(message, 0, message.length, out)
    expect([...out.subarray(0, length)]).toEqual([...message])
  })
})

describe('skipping a name', () => {
  test.each([
    ['root', '00', 1],
    ['labels', '0161016200', 5],
    ['pointer', '0161c000', 4],
    ['half a pointer', '0161c0', -1],
    ['no root', '0161', -1],
    ['label type', '41', -1],
    ['label over the end', '0561', -1],
  ])('%s', (_, hex, expected) => {
    const message = bytes(hex)
    expect(skipName(message, 0, message.length)).toBe(expected)
  })
})

import { describe, expect, test } from 'vitest'
import { formatFqdn } from '../../../src/core/fqdn.ts'
import { QueryReader } from '../../../src/dns/message/query.ts'
import { REASON, REASON_NAMES } from '../../../src/dns/message/reasons.ts'
import { goodQuery, hex, OPT, rawQuery, rawRecord, u16, wire, withOpt } from '../messages.ts'

const reasonOf = (message: Uint8Array, start = 0): string => {
  const reader = new QueryReader()
  return REASON_NAMES[reader.read(message, start, message.length - start)] ?? '?'
}

const tsig = rawRecord({ owner: wire('key.example'), type: 250, class: 255, data: [1, 2, 3] })

const CASES: readonly [string, Uint8Array, keyof typeof REASON][] = [
  ['plain', rawQuery(), 'ok'],
  ['of an unknown type', rawQuery({ type: 666 }), 'ok'],
  ['ANY', rawQuery({ type: 255 }), 'ok'],
  ['class CHAOS', rawQuery({ class: 3 }), 'ok'],
  ['of the root', rawQuery({ name: '.' }), 'ok'],
  ['with CD, AD, Z and RD', rawQuery({ flags: 0x0170 }), 'ok'],
  ['with OPT', withOpt(), 'ok'],
  ['with OPT options unknown', withOpt({}, OPT(1232, 0, 0, [...u16(100), ...u16(2), 1, 2])), 'ok'],
  ['with OPT and TSIG', rawQuery({ counts: [1, 0, 0, 2], rest: [...OPT(), ...tsig] }), 'ok'],
  ['empty', new Uint8Array(0), 'short'],
  ['of 11 octets', rawQuery().slice(0, 11), 'short'],
  ['that is a response', rawQuery({ flags: 0x8100 }), 'response'],
  ['opcode 15, header only', hex('1234 7800 0000 0000 0000 0000'), 'opcode'],
  ['NOTIFY', rawQuery({ flags: 4 << 11 }), 'opcode'],
  ['UPDATE', rawQuery({ flags: 5 << 11 }), 'opcode'],
  ['without question', rawQuery({ counts: [0, 0, 0, 0] }), 'question_count'],
  ['with two questions', rawQuery({ counts: [2, 0, 0, 0] }), 'question_count'],
  ['ANCOUNT 2', rawQuery({ counts: [1, 2, 0, 0] }), 'record_count'],
  ['NSCOUNT 2', rawQuery({ counts: [1, 0, 2, 0] }), 'record_count'],
  ['ARCOUNT 3', rawQuery({ counts: [1, 0, 0, 3] }), 'record_count'],
  ['ARCOUNT 65535', rawQuery({ counts: [1, 0, 0, 65535] }), 'record_count'],
  ['QDCOUNT 1 and a label of 99', hex('0001 0100 0001 0000 0000 0000 63'), 'label_type'],
  ['cut in a label', hex('0001 0100 0001 0000 0000 0000 0561'), 'question_cut'],
  ['without type and class', rawQuery().slice(0, -4), 'question_cut'],
  ['with half a class', rawQuery().slice(0, -1), 'question_cut'],
  ['with a compressed question', rawQuery({ rawName: [0xc0, 0x0c] }), 'question_compressed'],
  ['with a pointer behind a label', rawQuery({ rawName: [1, 0x61, 0xc0, 0x0c] }), 'question_compressed'],
  [
    'with a name of 256',
    rawQuery({
      rawName: [...new Array<number[]>(4).fill([63, ...new Array<number>(63).fill(97)]).flat(), 0] as number[],
    }),
    'name_too_long',
  ],
  ['announcing a record that is not there', rawQuery({ counts: [1, 0, 0, 1] }), 'record_cut'],
  ['with a record cut', rawQuery({ counts: [1, 0, 0, 1], rest: OPT().slice(0, 8) }), 'record_cut'],
  ['with RDLENGTH over the end', rawQuery({ counts: [1, 0, 0, 1], rest: [...OPT().slice(0, 9), 0, 9] }), 'record_cut'],
  ['with two OPT', rawQuery({ counts: [1, 0, 0, 2], rest: [...OPT(), ...OPT()] }), 'opt_repeated'],
  ['with an OPT that has an owner', rawQuery({ counts: [1, 0, 0, 1], rest: [1, 0x61, ...OPT()] }), 'opt_owner'],
  [
    'with an OPT whose owner is a pointer',
    rawQuery({ counts: [1, 0, 0, 1], rest: [0xc0, 28, ...OPT().slice(1)] }),
    'opt_owner',
  ],
  ['with OPT as answer', rawQuery({ counts: [1, 1, 0, 0], rest: OPT() }), 'opt_misplaced'],
  ['with an option over the end', withOpt({}, OPT(1232, 0, 0, [...u16(3), ...u16(5), 1])), 'opt_options'],
  ['with half an option', withOpt({}, OPT(1232, 0, 0, [0, 3, 0])), 'opt_options'],
  ['EDNS version 1', withOpt({}, OPT(1232, 1)), 'edns_version'],
  ['with octets behind', rawQuery({ rest: [0] }), 'trailing'],
  ['with octets behind the OPT', withOpt({}, [...OPT(), 1]), 'trailing'],
  [
    'TestMalformedPackets of miekg/dns',
    hex('0021641c0000000100000000000078787878787878787878787303636f6d0000100001'),
    'opcode',
  ],
]

describe('a query', () => {
  test.each(CASES)('%s', (_, message, reason) => {
    expect(reasonOf(message)).toBe(reason)
  })

  test('is read wherever it lies in the buffer, and no octet behind its length counts', () => {
    const message = rawQuery({ name: 'WWW.Example.COM', type: 28 })
    const buffer = new Uint8Array(600).fill(0xff)
    buffer.set(message, 200)
    const reader = new QueryReader()
    expect(reader.read(buffer, 200, message.length)).toBe(REASON.ok)
    expect(formatFqdn(reader.name)).toBe('www.example.com.')
    expect(reader.questionEnd).toBe(200 + message.length)
    expect(reader.type).toBe(28)
    expect(reader.read(buffer, 200, message.length - 1)).toBe(REASON.question_cut)
  })

  test('of each length short of its own is refused, and never by an exception', () => {
    const message = withOpt({}, OPT(4096, 0, 0x8000, [...u16(10), ...u16(8), 1, 2, 3, 4, 5, 6, 7, 8]))
    for (let length = 0; length < message.length; length++) {
      expect(reasonOf(message.slice(0, length))).not.toBe('ok')
    }
    expect(reasonOf(message)).toBe('ok')
  })

  test('by dns-packet is read field by field', () => {
    const reader = new QueryReader()
    const message = goodQuery('a.example', 'AAAA', {
      additionals: [{ type: 'OPT', name: '.', udpPayloadSize: 4096, flags: 0x8000, options: [] }],
    })
    expect(reader.read(message, 0, message.length)).toBe(REASON.ok)
    expect(reader).toMatchObject({ id: 0x4242, type: 28, class: 1, hasOpt: true, udpSize: 4096, dnssecOk: true })
  })

  test('EDNS size below 512 is 512', () => {
    const reader = new QueryReader()
    const message = withOpt({}, OPT(100))
    reader.read(message, 0, message.length)
    expect(reader.udpSize).toBe(512)
  })

  test('nothing of one query stays for the next', () => {
    const reader = new QueryReader()
    const first = withOpt({}, OPT(4096, 0, 0x8000))
    reader.read(first, 0, first.length)
    const second = rawQuery()
    reader.read(second, 0, second.length)
    expect(reader).toMatchObject({ hasOpt: false, dnssecOk: false, udpSize: 512 })
    reader.read(second, 0, 3)
    expect(reader.questionEnd).toBe(0)
  })
})

test('the numbers of the reasons are their positions', () => {
  expect(Object.values(REASON)).toEqual(REASON_NAMES.map((_, i) => i))
})

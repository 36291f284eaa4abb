import { describe, expect, test } from 'vitest'
import { formatFqdn } from '../../../src/core/fqdn.ts'
import { formatIp, readAddr16 } from '../../../src/core/ip.ts'
import { AnswerReader } from '../../../src/dns/message/answer.ts'
import { REASON, REASON_NAMES } from '../../../src/dns/message/reasons.ts'
import { a, cname, goodAnswer, goodQuery, hex, QNAME, rawAnswer, rawQuery, rawRecord, wire } from '../messages.ts'

const query = rawQuery({ name: 'www.example.com' })
const questionLength = query.length - 12

function read(message: Uint8Array, question = query, max = 64): { reason: string; reader: AnswerReader } {
  const reader = new AnswerReader(max)
  const match = reader.match(message, 0, message.length, question, 12, question.length - 12)
  const reason = match === REASON.ok ? reader.read(message, 0, message.length, question.length - 12) : match
  return { reason: REASON_NAMES[reason] ?? '?', reader }
}

const found = (reader: AnswerReader): string[] =>
  Array.from({ length: reader.count }, (_, i) => formatIp(readAddr16(reader.addresses, 16 * i)))

describe('matching', () => {
  test.each<[string, Uint8Array, string]>([
    ['the question as sent', rawAnswer(query), 'ok'],
    ['too short', rawAnswer(query).slice(0, 11), 'answer_short'],
    ['QR=0', rawAnswer(query, { flags: 0x0180 }), 'answer_not_response'],
    ['another opcode', rawAnswer(query, { flags: 0xa180 }), 'answer_question'],
    ['no question', rawAnswer(query, { counts: [0, 0, 0, 0] }), 'answer_question'],
    ['two questions', rawAnswer(query, { counts: [2, 0, 0, 0] }), 'answer_question'],
    ['another name', rawAnswer(rawQuery({ name: 'www.example.org' })), 'answer_question'],
    ['a longer name', rawAnswer(rawQuery({ name: 'www.example.com.x' })), 'answer_question'],
    ['another case', rawAnswer(rawQuery({ name: 'WWW.example.com' })), 'answer_question'],
    ['another type (MX for A)', rawAnswer(rawQuery({ type: 15 })), 'answer_question'],
    ['class CHAOS', rawAnswer(rawQuery({ class: 3 })), 'answer_question'],
    ['CoreDNS: three octets', hex('1235 00'), 'answer_short'],
    ['CoreDNS: question cut', hex('1234 8180 0001 0000 0000 0000 01'), 'answer_question'],
    ['question as a pointer', hex('1234 8180 0001 0000 0000 0000 c00c 0001 0001'), 'answer_question'],
  ])('%s', (_, message, reason) => {
    expect(read(message).reason).toBe(reason)
  })
})

describe('collecting', () => {
  test('by dns-packet: chain, both families, smallest TTL', () => {
    const asked = goodQuery('www.example.com')
    const message = goodAnswer(asked, [
      { type: 'CNAME', name: 'www.example.com', ttl: 300, data: 'cdn.example.net' },
      { type: 'CNAME', name: 'cdn.example.net', ttl: 30, data: 'edge.example.org' },
      { type: 'A', name: 'edge.example.org', ttl: 60, data: '192.0.2.1' },
      { type: 'AAAA', name: 'edge.example.org', ttl: 90, data: '2001:db8::1' },
    ])
    const { reason, reader } = read(message, asked)
    expect(reason).toBe('ok')
    expect(found(reader)).toEqual(['192.0.2.1', '2001:db8::1'])
    expect(reader.ttl).toBe(30)
    expect(formatFqdn(reader.name)).toBe('www.example.com.')
    expect(reader.strayed).toBe(0)
  })

  test('in any order', () => {
    const message = rawAnswer(query, {
      answers: [
        a('192.0.2.1', wire('c.example')),
        cname(wire('c.example'), wire('b.example'), 20),
        cname(wire('b.example'), QNAME, 10),
      ],
    })
    const { reason, reader } = read(message)
    expect(reason).toBe('ok')
    expect(found(reader)).toEqual(['192.0.2.1'])
    expect(reader.ttl).toBe(10)
    expect(reader.strayed).toBe(0)
  })

  test('owners that point into the data of the CNAME before', () => {
    const target = 12 + questionLength + 12
    const message = rawAnswer(query, { answers: [cname(wire('b.example')), a('192.0.2.1', [0xc0, target])] })
    expect(found(read(message).reader)).toEqual(['192.0.2.1'])
  })

  test('an owner in another case is the same name', () => {
    expect(found(read(rawAnswer(query, { answers: [a('192.0.2.1', wire('WWW.EXAMPLE.com'))] })).reader)).toEqual([
      '192.0.2.1',
    ])
  })

  test('an address whose owner is not on the chain is not learned', () => {
    const { reason, reader } = read(
      rawAnswer(query, { answers: [a('192.0.2.66', wire('evil.example')), a('192.0.2.1')] }),
    )
    expect(reason).toBe('ok')
    expect(found(reader)).toEqual(['192.0.2.1'])
    expect(reader.strayed).toBe(1)
  })

  test('a label with a dot in it is not the name it looks like', () => {
    const joined = [11, ...Buffer.from('example.com'), 0]
    const reader = read(rawAnswer(query, { answers: [a('192.0.2.66', [3, 119, 119, 119, ...joined])] })).reader
    expect(reader.count).toBe(0)
    expect(reader.strayed).toBe(1)
  })

  test('a DNAME works by the CNAME that comes with it', () => {
    const message = rawAnswer(query, {
      answers: [
        rawRecord({ owner: wire('example.com'), type: 39, data: wire('example.net') }),
        cname(wire('www.example.net')),
        a('192.0.2.1', wire('www.example.net')),
      ],
    })
    expect(found(read(message).reader)).toEqual(['192.0.2.1'])
  })

  test('a CNAME loop ends', () => {
    const message = rawAnswer(query, {
      answers: [
        cname(wire('b.example')),
        cname(wire('www.example.com'), wire('b.example')),
        a('192.0.2.1', wire('b.example')),
      ],
    })
    const { reason, reader } = read(message)
    expect(reason).toBe('ok')
    expect(found(reader)).toEqual(['192.0.2.1'])
  })

  test.each([
    [16, 'ok'],
    [17, 'answer_chain'],
  ])('a chain of %i CNAMEs: %s, in order and in reverse', (n, expected) => {
    const name = (i: number): number[] => (i === 0 ? QNAME : wire(`n${i}.example`))
    const answers = Array.from({ length: n }, (_, i) => cname(wire(`n${i + 1}.example`), name(i)))
    expect(read(rawAnswer(query, { answers: [...answers, a('192.0.2.1', name(n))] })).reason).toBe(expected)
    expect(read(rawAnswer(query, { answers: [a('192.0.2.1', name(n)), ...answers.reverse()] })).reason).toBe(expected)
  })

  test.each([
    [0x8000_0000, 0],
    [0xffff_ffff, 0],
    [0x7fff_ffff, 0x7fff_ffff],
    [0, 0],
  ])('TTL %i on the wire is %i', (onWire, ttl) => {
    expect(read(rawAnswer(query, { answers: [a('192.0.2.1', QNAME, onWire)] })).reader.ttl).toBe(ttl)
  })

  test.each([
    '0.0.0.0',
    '0.1.2.3',
    '127.0.0.1',
    '127.255.0.1',
    '169.254.169.254',
    '224.0.0.1',
    '239.1.1.1',
    '255.255.255.255',
  ])('%s is no destination and is not learned', (address) => {
    const { reason, reader } = read(rawAnswer(query, { answers: [a(address), a('192.0.2.1')] }))
    expect(reason).toBe('ok')
    expect(found(reader)).toEqual(['192.0.2.1'])
    expect(reader.unlearnable).toBe(1)
  })

  test.each([
    '00'.repeat(16),
    '00'.repeat(15) + '01',
    'fe80' + '00'.repeat(13) + '01',
    'febf' + '00'.repeat(13) + '01',
    'ff02' + '00'.repeat(13) + '01',
    '00'.repeat(10) + 'ffff' + 'c0000201',
    '00'.repeat(12) + 'c0000201',
    '00'.repeat(15) + '02',
  ])('AAAA %s is no destination and is not learned', (data) => {
    const aaaa = rawRecord({ owner: QNAME, type: 28, data: [...hex(data)] })
    const { reader } = read(rawAnswer(query, { answers: [aaaa] }))
    expect(reader.count).toBe(0)
    expect(reader.unlearnable).toBe(1)
  })

  test.each(['0064ff9b' + '00'.repeat(8) + 'c0000201', 'fec0' + '00'.repeat(14)])('AAAA %s is learned', (data) => {
    const aaaa = rawRecord({ owner: QNAME, type: 28, data: [...hex(data)] })
    expect(read(rawAnswer(query, { answers: [aaaa] })).reader.count).toBe(1)
  })

  test('addresses of class CHAOS and of other sections are not learned', () => {
    const chaos = rawRecord({ owner: QNAME, type: 1, class: 3, data: [192, 0, 2, 9] })
    const { reason, reader } = read(
      rawAnswer(query, { answers: [chaos], authorities: [a('192.0.2.7')], additionals: [a('192.0.2.8')] }),
    )
    expect(reason).toBe('ok')
    expect(reader.count).toBe(0)
  })

  test('nothing of one answer stays for the next', () => {
    const { reader } = read(
      rawAnswer(query, { answers: [a('192.0.2.1'), a('127.0.0.1'), a('192.0.2.1', wire('x.example'))] }),
    )
    const next = rawAnswer(query, { flags: 0x8183 })
    reader.match(next, 0, next.length, query, 12, questionLength)
    expect(reader.read(next, 0, next.length, questionLength)).toBe(REASON.ok)
    expect(reader).toMatchObject({ count: 0, strayed: 0, unlearnable: 0, ttl: 0, rcode: 3 })
  })
})

describe('what cannot be trusted', () => {
  const bad = (answers: readonly (readonly number[])[], more = {}): string =>
    read(rawAnswer(query, { answers, ...more })).reason

  test.each<[string, string, string]>([
    ['A with 3 octets', bad([rawRecord({ owner: QNAME, type: 1, data: [1, 2, 3] })]), 'answer_rdlength'],
    ['A with 5 octets', bad([rawRecord({ owner: QNAME, type: 1, data: [1, 2, 3, 4, 5] })]), 'answer_rdlength'],
    ['A with RDLENGTH 0', bad([rawRecord({ owner: QNAME, type: 1, data: [] })]), 'answer_rdlength'],
    ['AAAA with 4 octets', bad([rawRecord({ owner: QNAME, type: 28, data: [1, 2, 3, 4] })]), 'answer_rdlength'],
    [
      'RDLENGTH over the end',
      bad([rawRecord({ owner: QNAME, type: 1, data: [1, 2, 3, 4], length: 5 })]),
      'answer_record_cut',
    ],
    ['ANCOUNT larger than the message', bad([a('192.0.2.1')], { counts: [1, 2, 0, 0] }), 'answer_record_cut'],
    ['ARCOUNT larger than the message', bad([a('192.0.2.1')], { counts: [1, 1, 0, 9] }), 'answer_record_cut'],
    ['octets behind', bad([a('192.0.2.1')], { tail: [0] }), 'answer_trailing'],
    [
      'CNAME that ends before its RDLENGTH',
      bad([rawRecord({ owner: QNAME, type: 5, data: [...wire('b.example'), 0] })]),
      'answer_name',
    ],
    ['CNAME that runs over its RDLENGTH', bad([cname([1]), a('192.0.2.1')]), 'answer_name'],
    ['CNAME with a forward pointer', bad([cname([0xc0, 0xff])]), 'answer_name'],
    ['owner with a pointer to itself', bad([a('192.0.2.1', [0xc0, 12 + questionLength])]), 'answer_name'],
    ['owner of a reserved label type', bad([a('192.0.2.1', [0x80, 0])]), 'answer_record_cut'],
    ['addresses under an rcode', bad([a('192.0.2.1')], { flags: 0x8183 }), 'answer_rcode'],
  ])('%s', (_, reason, expected) => {
    expect(reason).toBe(expected)
  })

  test('a chain of 200 pointers hidden in the data of an unknown record', () => {
    const at = 12 + questionLength + 2 + 10
    const chain: number[] = [0, 0]
    for (let i = 1; i <= 200; i++) chain.push(0xc0 | ((at + 2 * i - 2) >> 8), (at + 2 * i - 2) & 0xff)
    const last = at + 400
    const hidden = rawRecord({ owner: QNAME, type: 65280, data: chain })
    expect(bad([hidden, a('192.0.2.1', [0xc0 | (last >> 8), last & 0xff])])).toBe('answer_name')
  })

  test('more addresses than there is room for', () => {
    expect(read(rawAnswer(query, { answers: Array(5).fill(a('192.0.2.1')) as number[][] }), query, 4).reason).toBe(
      'answer_too_many',
    )
  })

  test('every length short of its own', () => {
    const message = rawAnswer(query, { answers: [cname(wire('b.example')), a('192.0.2.1', wire('b.example'))] })
    for (let length = 0; length < message.length; length++) expect(read(message.slice(0, length)).reason).not.toBe('ok')
    expect(read(message).reason).toBe('ok')
  })
})

import { describe, expect, test } from 'vitest'
import * as C from '../../src/dns/counters.ts'
import { REASON } from '../../src/dns/message/reasons.ts'
import { RX_FLAG_NO_DESTINATION } from '../../src/native/binding.ts'
import { decode } from '../support/dns-packet.ts'
import { idOf, POD, rcodeOf, RULES, SERVER, withId, World } from './gate-world.ts'
import {
  a,
  cname,
  goodAnswer,
  goodQuery,
  hex,
  OPT,
  QNAME,
  rawAnswer,
  rawQuery,
  rawRecord,
  u16,
  wire,
  withOpt,
} from './messages.ts'

const CLIENT = `${POD}#4000`
const ASKED = `${SERVER}#53`

/** INFO-CODE of the EDE option, undefined without one. */
function ede(bytes: Uint8Array): number | undefined {
  const opt = decode(bytes).additionals.find((record) => record.type === 'OPT')
  const option = opt?.options?.find((one) => one.code === 15)
  return option?.data === undefined ? undefined : Buffer.from(option.data).readUInt16BE(0)
}

describe('policy before forward', () => {
  test('an allowed query goes to the server it was meant for, with nothing but the id changed', () => {
    const world = new World()
    const query = withOpt(
      { name: 'wWw.eXample.com', id: 0x1234, flags: 0x0130 },
      OPT(4096, 0, 0x8000, [...u16(10), ...u16(8), 1, 2, 3, 4, 5, 6, 7, 8]),
    )
    const sent = world.ask(query)
    expect(sent.to).toBe('10.9.9.9#53')
    expect(sent.bytes.slice(2)).toEqual(query.slice(2))
    expect(world.policy.asked).toEqual(['www.example.com.'])
  })

  test.each([
    ['a denied name', rawQuery({ name: 'evil.example' }), CLIENT, ASKED],
    ['a server without rule', rawQuery(), CLIENT, '10.9.9.8#53'],
    ['a port without rule', rawQuery(), CLIENT, `${SERVER}#5353`],
    ['an unknown source', rawQuery(), '10.0.0.99#4000', ASKED],
    ['a label with a dot in it', rawQuery({ rawName: [15, ...Buffer.from('www.example.com'), 0] }), CLIENT, ASKED],
    [
      'KELVIN SIGN for k',
      rawQuery({ rawName: [3, 0xe2, 0x84, 0xaa, 4, 119, 105, 108, 100, 7, 101, 120, 97, 109, 112, 108, 101, 0] }),
      '10.0.0.6#1',
      ASKED,
    ],
  ])('%s is refused from the address it was sent to, and no server hears of it', (_, query, from, to) => {
    const world = new World()
    world.query(query, from, to)
    const [reply, ...more] = world.turn()
    expect(more).toEqual([])
    expect(reply).toMatchObject({ kind: 'reply', to: from, from: to })
    expect(rcodeOf(reply!.bytes)).toBe(5)
    expect(idOf(reply!.bytes)).toBe(0x1234)
    expect(world.sockets.opened()).toBe(0)
    expect(world.core.inFlight).toBe(0)
  })

  test('a denial keeps id, RD, CD and the question as sent, and says why only to who speaks EDNS', () => {
    const world = new World()
    const plain = rawQuery({ name: 'EvIl.example', flags: 0x0170 })
    world.query(plain)
    world.query(withOpt({ name: 'evil.example' }, OPT(1232, 0, 0x8000)))
    const [first, second] = world.turn()
    expect([...first!.bytes]).toEqual([0x12, 0x34, 0x81, 0x95, 0, 1, 0, 0, 0, 0, 0, 0, ...plain.slice(12)])
    const opt = decode(second!.bytes).additionals[0]
    expect(opt).toMatchObject({ type: 'OPT', name: '.', flags: 0x8000, ednsVersion: 0 })
    expect(ede(second!.bytes)).toBe(15)
  })

  test('an unknown endpoint and a server without rule are "prohibited"', () => {
    const world = new World()
    world.query(withOpt(), '10.0.0.99#1')
    world.query(withOpt(), CLIENT, '10.9.9.8#53')
    expect(world.turn().map((sent) => ede(sent.bytes))).toEqual([18, 18])
    expect(world.count(C.C_VERDICTS + C.VERDICT_COUNT_ENDPOINT)).toBe(1)
    expect(world.count(C.C_VERDICTS + C.VERDICT_COUNT_SERVER)).toBe(1)
  })

  test('rules of one endpoint are not those of another', () => {
    const world = new World({ rules: [...RULES, { from: '10.0.0.6', server: SERVER, names: ['other.example'] }] })
    world.query(rawQuery(), '10.0.0.6#4000')
    expect(rcodeOf(world.turn()[0]!.bytes)).toBe(5)
  })

  test('IPv6 all the way', () => {
    const world = new World()
    const sent = world.ask(rawQuery(), 'fd00::5#4000', 'fd00::53#53')
    expect(sent.to).toBe('fd00::53#53')
    world.answer(sent.tag, rawAnswer(sent.bytes))
    expect(world.turn()[0]).toMatchObject({ kind: 'reply', tag: 6, to: 'fd00::5#4000', from: 'fd00::53#53' })
  })
})

describe('bad queries', () => {
  test.each<[string, Uint8Array, number, keyof typeof REASON]>([
    ['opcode 15', hex('1234 7800 0000 0000 0000 0000'), 4, 'opcode'],
    ['two questions', rawQuery({ counts: [2, 0, 0, 0] }), 1, 'question_count'],
    ['three additionals', rawQuery({ counts: [1, 0, 0, 3] }), 1, 'record_count'],
    ['two OPT', rawQuery({ counts: [1, 0, 0, 2], rest: [...OPT(), ...OPT()] }), 1, 'opt_repeated'],
    ['octets behind', rawQuery({ rest: [1] }), 1, 'trailing'],
    ['a compressed name', rawQuery({ rawName: [0xc0, 12] }), 1, 'question_compressed'],
    ['more than a slot', rawQuery({ rest: Array(5000).fill(0) as number[] }), 1, 'oversized'],
  ])('%s is answered with its rcode and counted', (_, query, rcode, reason) => {
    const world = new World()
    world.query(query)
    const [reply] = world.turn()
    expect(rcodeOf(reply!.bytes)).toBe(rcode)
    expect(idOf(reply!.bytes)).toBe((query[0]! << 8) | query[1]!)
    expect(reply!.bytes[2]! & 0x80).toBe(0x80)
    expect((reply!.bytes[2]! >> 3) & 15).toBe((query[2]! >> 3) & 15)
    expect(() => decode(reply!.bytes)).not.toThrow()
    expect(world.rejected(reason)).toBe(1)
    expect(world.sockets.opened()).toBe(0)
  })

  test('EDNS version 1 gets BADVERS and version 0', () => {
    const world = new World()
    world.query(withOpt({}, OPT(1232, 1, 0x40)))
    const [reply] = world.turn()
    expect(rcodeOf(reply!.bytes)).toBe(0)
    expect(decode(reply!.bytes).additionals[0]).toMatchObject({
      type: 'OPT',
      extendedRcode: 1,
      ednsVersion: 0,
      flags: 0,
    })
  })

  test.each<[string, Uint8Array, number, keyof typeof REASON]>([
    ['a response', rawQuery({ flags: 0x8180 }), 0, 'response'],
    ['11 octets', rawQuery().slice(0, 11), 0, 'short'],
    ['nothing', new Uint8Array(0), 0, 'short'],
    ['no original destination', rawQuery(), RX_FLAG_NO_DESTINATION, 'no_destination'],
    ['an oversized response', rawQuery({ flags: 0x8180, rest: Array(5000).fill(0) as number[] }), 0, 'oversized'],
  ])('%s is not answered, and counted', (_, query, flags, reason) => {
    const world = new World()
    world.query(query, CLIENT, ASKED, flags)
    expect(world.turn()).toEqual([])
    expect(world.rejected(reason)).toBe(1)
  })
})

describe('map before answer', () => {
  const ask = (world: World, query = rawQuery()): { tag: number; bytes: Uint8Array } => world.ask(query)

  test('what stands in the map goes at once, the server’s own bytes with the client’s id', () => {
    const world = new World()
    world.learner.map.add('100 www.example.com. 192.0.2.1')
    const sent = ask(world)
    const answer = rawAnswer(sent.bytes, { answers: [a('192.0.2.1')], flags: 0x85b0 })
    world.answer(sent.tag, answer)
    const [reply] = world.turn()
    expect(reply).toMatchObject({ kind: 'reply', tag: 4, to: CLIENT, from: ASKED })
    expect(reply!.bytes).toEqual(withId(answer, 0x1234))
    expect(world.learner.submitted).toEqual([])
  })

  test('what is new waits until the ledger has written it', () => {
    const world = new World()
    const sent = ask(world)
    const answer = rawAnswer(sent.bytes, {
      answers: [cname(wire('b.example'), QNAME, 30), a('192.0.2.1', wire('b.example'))],
    })
    world.answer(sent.tag, answer)
    expect(world.turn()).toEqual([])
    expect(world.learner.submitted).toMatchObject([
      { endpointId: 100, name: 'www.example.com.', addresses: ['192.0.2.1'], ttl: 30 },
    ])
    expect(world.turn()).toEqual([])
    world.learner.finish(world.learner.submitted[0]!)
    const [reply, ...more] = world.turn()
    expect(more).toEqual([])
    expect(reply).toMatchObject({ kind: 'reply', to: CLIENT, from: ASKED })
    expect(reply!.bytes).toEqual(withId(answer, 0x1234))
    expect(world.core.inFlight).toBe(0)
  })

  test.each([1, 2])('status %i of the ledger is SERVFAIL, never the answer', (status) => {
    const world = new World()
    const sent = ask(world, withOpt())
    world.answer(sent.tag, rawAnswer(sent.bytes, { answers: [a('192.0.2.1')] }))
    world.turn()
    world.learner.finish(world.learner.submitted[0]!, status)
    const [reply] = world.turn()
    expect(rcodeOf(reply!.bytes)).toBe(2)
    expect(decode(reply!.bytes).answers).toEqual([])
    expect(world.core.inFlight).toBe(0)
  })

  test('a ledger that is silent is SERVFAIL in time, and its late word changes nothing', () => {
    const world = new World()
    const sent = ask(world)
    world.answer(sent.tag, rawAnswer(sent.bytes, { answers: [a('192.0.2.1')] }))
    world.turn()
    world.now += 999
    expect(world.turn()).toEqual([])
    world.now += 1
    expect(rcodeOf(world.turn()[0]!.bytes)).toBe(2)
    world.learner.finish(world.learner.submitted[0]!)
    expect(world.turn()).toEqual([])
    expect(world.count(C.C_LEARN_RESULT + C.LEARN_LATE)).toBe(1)
  })

  test('a completion for an earlier answer in the same slot releases nothing', () => {
    const world = new World({ maxPending: 1 })
    const first = ask(world, rawQuery({ id: 1 }))
    world.answer(first.tag, rawAnswer(first.bytes, { answers: [a('192.0.2.1')] }))
    world.turn()
    world.now += 1000
    world.turn()
    world.turn()
    const second = ask(world, rawQuery({ id: 2 }))
    world.answer(second.tag, rawAnswer(second.bytes, { answers: [a('192.0.2.2')] }))
    expect(world.turn()).toEqual([])
    expect(world.learner.submitted).toHaveLength(2)
    world.learner.finish(world.learner.submitted[0]!)
    expect(world.turn()).toEqual([])
    world.learner.finish(world.learner.submitted[1]!)
    expect(idOf(world.turn()[0]!.bytes)).toBe(2)
  })

  test('a queue that is full is SERVFAIL', () => {
    const world = new World()
    const sent = ask(world)
    world.learner.full = true
    world.answer(sent.tag, rawAnswer(sent.bytes, { answers: [a('192.0.2.1')] }))
    expect(rcodeOf(world.turn()[0]!.bytes)).toBe(2)
    expect(world.count(C.C_OVERLOAD + C.OVERLOAD_LEDGER)).toBe(1)
  })

  test('slots that are all taken are SERVFAIL, and come back after use', () => {
    const world = new World({ maxPending: 2 })
    const answer = (id: number): number[] => {
      const sent = ask(world, rawQuery({ id }))
      world.answer(sent.tag, rawAnswer(sent.bytes, { answers: [a(`192.0.2.${id}`)] }))
      return world.turn().map((one) => rcodeOf(one.bytes))
    }
    expect([answer(1), answer(2), answer(3)]).toEqual([[], [], [2]])
    world.learner.submitted.forEach((one) => world.learner.finish(one))
    const released = world.turn()
    expect(released.map((one) => idOf(one.bytes))).toEqual([1, 2])
    expect(decode(released[1]!.bytes).answers[0]).toMatchObject({ data: '192.0.2.2' })
    expect([answer(4), answer(5), answer(6)]).toEqual([[], [], [2]])
  })

  test.each<[string, Uint8Array | ((query: Uint8Array) => Uint8Array)]>([
    ['NXDOMAIN', (query) => rawAnswer(query, { flags: 0x8183 })],
    ['an empty answer', (query) => rawAnswer(query)],
    ['only addresses that are no destination', (query) => rawAnswer(query, { answers: [a('127.0.0.1')] })],
    [
      'an HTTPS record with hints',
      (query) =>
        rawAnswer(query, {
          answers: [rawRecord({ owner: QNAME, type: 65, data: [0, 1, 0, 0, 4, 0, 4, 192, 0, 2, 1] })],
        }),
    ],
  ])('%s has nothing to learn and goes at once', (_, make) => {
    const world = new World()
    const sent = ask(world)
    const answer = typeof make === 'function' ? make(sent.bytes) : make
    world.answer(sent.tag, answer)
    expect(world.turn()[0]!.bytes).toEqual(withId(answer, 0x1234))
    expect(world.learner.submitted).toEqual([])
  })

  test('a truncated answer passes, and what it says is learned first', () => {
    const world = new World()
    const sent = ask(world)
    const answer = rawAnswer(sent.bytes, { answers: [a('192.0.2.1')], flags: 0x8380 })
    world.answer(sent.tag, answer)
    expect(world.turn()).toEqual([])
    world.learner.finish(world.learner.submitted[0]!)
    expect(world.turn()[0]!.bytes).toEqual(withId(answer, 0x1234))
  })

  test('a truncated answer cut in a record goes without its records', () => {
    const world = new World()
    const sent = ask(world)
    world.answer(
      sent.tag,
      rawAnswer(sent.bytes, { answers: [a('192.0.2.1'), a('192.0.2.2')], flags: 0x8380 }).slice(0, -3),
    )
    const [reply] = world.turn()
    expect(decode(reply!.bytes)).toMatchObject({ flag_tc: true, rcode: 'NOERROR', answers: [] })
  })

  test('an answer larger than a slot sends the client to TCP', () => {
    const world = new World()
    const sent = ask(world)
    world.answer(sent.tag, rawAnswer(sent.bytes, { answers: Array(300).fill(a('192.0.2.1')) as number[][] }))
    const [reply] = world.turn()
    expect(decode(reply!.bytes)).toMatchObject({ flag_tc: true, rcode: 'NOERROR', answers: [] })
    expect(world.rejected('answer_oversized')).toBe(1)
  })

  test.each<[string, (query: Uint8Array) => Uint8Array, keyof typeof REASON]>([
    [
      'A with 2 octets',
      (q) => rawAnswer(q, { answers: [rawRecord({ owner: QNAME, type: 1, data: [1, 2] })] }),
      'answer_rdlength',
    ],
    ['octets behind', (q) => rawAnswer(q, { answers: [a('192.0.2.1')], tail: [0] }), 'answer_trailing'],
    ['a record cut', (q) => rawAnswer(q, { answers: [a('192.0.2.1')] }).slice(0, -1), 'answer_record_cut'],
    ['addresses under NXDOMAIN', (q) => rawAnswer(q, { answers: [a('192.0.2.1')], flags: 0x8183 }), 'answer_rcode'],
  ])('a malformed answer (%s) becomes SERVFAIL', (_, make, reason) => {
    const world = new World()
    const sent = ask(world, withOpt())
    world.answer(sent.tag, make(sent.bytes))
    const [reply] = world.turn()
    expect(rcodeOf(reply!.bytes)).toBe(2)
    expect(ede(reply!.bytes)).toBe(24)
    expect(world.rejected(reason)).toBe(1)
    expect(world.learner.submitted).toEqual([])
    expect(world.core.inFlight).toBe(0)
  })

  test('by dns-packet: question and answer keep their case', () => {
    const world = new World()
    world.learner.map.add('100 www.example.com. 192.0.2.1')
    const query = goodQuery('wWw.ExAmple.com')
    const sent = ask(world, query)
    world.answer(sent.tag, goodAnswer(sent.bytes, [{ type: 'A', name: 'wWw.ExAmple.com', ttl: 5, data: '192.0.2.1' }]))
    const reply = decode(world.turn()[0]!.bytes)
    expect(reply).toMatchObject({ id: 0x4242, questions: [{ name: 'wWw.ExAmple.com' }] })
    expect(reply.answers[0]).toMatchObject({ name: 'wWw.ExAmple.com', data: '192.0.2.1' })
  })
})

describe('a policy that changes while a query is in flight', () => {
  test('is the one that decides about the answer', () => {
    const world = new World()
    const sent = world.ask(rawQuery())
    world.policy.rules = [{ from: POD, server: SERVER, names: ['other.example'] }]
    world.policy.generation = 2
    world.answer(sent.tag, rawAnswer(sent.bytes, { answers: [a('192.0.2.1')] }))
    expect(rcodeOf(world.turn()[0]!.bytes)).toBe(5)
    expect(world.learner.submitted).toEqual([])
  })

  test('and still allows the name lets it pass', () => {
    const world = new World()
    const sent = world.ask(rawQuery())
    world.policy.generation = 2
    world.answer(sent.tag, rawAnswer(sent.bytes, { answers: [a('192.0.2.1')] }))
    expect(world.turn()).toEqual([])
    expect(world.learner.submitted).toHaveLength(1)
  })
})

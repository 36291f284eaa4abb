import { describe, expect, test } from 'vitest'
import { formatFqdn } from '../../src/core/fqdn.ts'
import { QueryReader } from '../../src/dns/message/query.ts'
import { REASON } from '../../src/dns/message/reasons.ts'
import { POD, SERVER, World } from '../dns/gate-world.ts'
import type { Sent } from '../dns/gate-world.ts'
import { a, cname, goodQuery, OPT, QNAME, rawAnswer, rawQuery, rawRecord, u16, wire, withOpt } from '../dns/messages.ts'

/** xorshift32: the same mutations in every run. */
function dice(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

type Dice = ReturnType<typeof dice>

const INTERESTING = [0, 1, 12, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xc0, 0xff]

function mutate(bytes: Uint8Array, roll: Dice): Uint8Array {
  let out = [...bytes]
  for (let n = 1 + roll(4); n > 0; n--) {
    const at = roll(Math.max(1, out.length))
    const kind = roll(7)
    if (kind === 0) out[at] = roll(256)
    else if (kind === 1) out[at] = INTERESTING[roll(INTERESTING.length)]!
    else if (kind === 2) out[at] = (out[at] ?? 0) ^ (1 << roll(8))
    else if (kind === 3) out = out.slice(0, at)
    else if (kind === 4) out.splice(at, 0, ...out.slice(roll(Math.max(1, out.length)), at + roll(20)))
    else if (kind === 5) out.splice(at, roll(12))
    else out.push(...Array.from({ length: roll(20) }, () => roll(256)))
  }
  return Uint8Array.from(out.slice(0, 6000))
}

const ROUNDS = Number(process.env['SEKISHO_FUZZ_ROUNDS'] ?? 8000)
const SEEDS = [1, 0xdecaf, 0x5eed]

const QUERIES = [
  rawQuery(),
  rawQuery({ name: 'evil.example' }),
  withOpt({ name: 'www.example.com' }, OPT(4096, 0, 0x8000, [...u16(10), ...u16(8), 1, 2, 3, 4, 5, 6, 7, 8])),
  goodQuery('a.wild.example', 'AAAA'),
  rawQuery({ rawName: [11, ...Buffer.from('www.example'), 3, ...Buffer.from('com'), 0] }),
]

/** By the letter of RFC 1035, without a line of the reader under test: the one question of a query, undefined when none. */
function questionOf(bytes: Uint8Array): string[] | undefined {
  const labels: string[] = []
  let at = 12
  for (;;) {
    const length = bytes[at]
    if (length === undefined || length > 63) return undefined
    if (length === 0) return labels
    if (at + 1 + length > bytes.length) return undefined
    labels.push(
      Buffer.from(bytes.subarray(at + 1, at + 1 + length))
        .toString('latin1')
        .toLowerCase(),
    )
    at += 1 + length
  }
}

const allowed = (labels: readonly string[]): boolean =>
  (labels.length === 3 && labels.join('/') === 'www/example/com') ||
  (labels.length === 3 && labels[1] === 'wild' && labels[2] === 'example')

describe.each(SEEDS)('mutated queries, seed %i', (seed) => {
  test('never throw, never reach a server unless allowed, and are all accounted for', () => {
    const roll = dice(seed)
    const world = new World({ maxInFlight: 256 })
    for (let round = 0; round < ROUNDS; round++) {
      const bytes = mutate(QUERIES[roll(QUERIES.length)]!, roll)
      world.query(bytes, `${POD}#${1 + roll(60_000)}`, `${SERVER}#53`)
      const sent = world.turn()
      expect(sent.length).toBeLessThanOrEqual(1)
      const [one] = sent
      if (one?.kind === 'ask') {
        expect([...one.bytes.subarray(2)]).toEqual([...bytes.subarray(2)])
        const labels = questionOf(bytes)
        expect(labels !== undefined && allowed(labels), Buffer.from(bytes).toString('hex')).toBe(true)
        world.answer(one.tag, rawAnswer(one.bytes))
        expect(world.turn()).toHaveLength(1)
      } else if (one !== undefined) checkOwn(one, bytes)
      else expect(bytes.length < 12 || (bytes[2]! & 0x80) !== 0).toBe(true)
    }
    expect(world.rejected('exception')).toBe(0)
    expect(world.core.inFlight).toBe(0)
  })
})

/** A reply of our own: an error or a refusal with the id it was asked with, no records but an OPT. */
function checkOwn(one: Sent, query: Uint8Array): void {
  expect(one.from).toBe(`${SERVER}#53`)
  expect([one.bytes[0], one.bytes[1]]).toEqual([query[0], query[1]])
  expect(one.bytes[2]! & 0x80).toBe(0x80)
  const badvers = (one.bytes[3]! & 15) === 0
  if (badvers) expect(one.bytes[11]).toBe(1)
  expect([...one.bytes.subarray(6, 11)]).toEqual([0, 0, 0, 0, 0])
  expect(one.bytes.length).toBeLessThanOrEqual(288)
}

const ANSWERS = [
  (q: Uint8Array) => rawAnswer(q, { answers: [a('192.0.2.1'), a('192.0.2.2')] }),
  (q: Uint8Array) =>
    rawAnswer(q, {
      answers: [
        cname(wire('b.example')),
        cname(wire('c.example'), wire('b.example')),
        a('192.0.2.3', wire('c.example')),
      ],
      authorities: [rawRecord({ owner: wire('example'), type: 2, data: wire('ns.example') })],
      additionals: [OPT()],
    }),
  (q: Uint8Array) =>
    rawAnswer(q, {
      answers: [rawRecord({ owner: QNAME, type: 28, data: [0x20, 1, 0xd, 0xb8, ...new Array<number>(12).fill(1)] })],
    }),
  (q: Uint8Array) => rawAnswer(q, { flags: 0x8183 }),
]

/** Addresses in the answer section of a released message, read as a careless client would. */
function addressesIn(bytes: Uint8Array): string[] {
  const found: string[] = []
  const skip = (at: number): number => {
    while (bytes[at] !== undefined && bytes[at] !== 0) {
      if (bytes[at]! >= 0xc0) return at + 2
      at += 1 + bytes[at]!
    }
    return at + 1
  }
  let at = skip(12) + 4
  for (let i = (bytes[6]! << 8) | bytes[7]!; i > 0 && at < bytes.length; i--) {
    const owner = at
    at = skip(at)
    const type = (bytes[at]! << 8) | bytes[at + 1]!
    const cls = (bytes[at + 2]! << 8) | bytes[at + 3]!
    const length = (bytes[at + 8]! << 8) | bytes[at + 9]!
    const data = [...bytes.subarray(at + 10, at + 10 + length)]
    at += 10 + length
    const direct = bytes[owner] === 0xc0 && bytes[owner + 1] === 12
    if (direct && cls === 1 && type === 1) found.push(data.join('.'))
  }
  return found
}

describe.each(SEEDS)('mutated answers, seed %i', (seed) => {
  test('never throw, and no address is released that was not learned', () => {
    const roll = dice(seed)
    const world = new World({ maxInFlight: 256, maxPending: 16 })
    const special = /^(0\.|127\.|169\.254\.|(22[4-9]|2[345]\d)\.)/
    let released = 0
    let learned = 0
    for (let round = 0; round < ROUNDS; round++) {
      const sent = world.ask(rawQuery({ id: round & 0xffff }), `${POD}#${1 + roll(60_000)}`)
      const good = ANSWERS[roll(ANSWERS.length)]!(sent.bytes)
      const head = roll(10) === 0 ? 0 : 12 + 21
      const bytes = Uint8Array.from([...good.subarray(0, head), ...mutate(good.subarray(head), roll)])
      world.answer(sent.tag, bytes)
      const out = world.turn()
      for (const request of world.learner.submitted.splice(0)) {
        learned++
        expect(out).toEqual([])
        world.learner.finish(request)
      }
      for (const reply of [...out, ...world.turn()]) {
        released++
        const rcode = reply.bytes[3]! & 15
        for (const address of addressesIn(reply.bytes)) {
          if (special.test(address)) continue
          expect(rcode).toBe(0)
          expect(world.learner.map.has(`100 www.example.com. ${address}`), Buffer.from(bytes).toString('hex')).toBe(
            true,
          )
        }
      }
      world.learner.map.clear()
      if (world.core.inFlight > 0) {
        world.now += 5000
        world.turn()
      }
    }
    expect(world.rejected('exception')).toBe(0)
    expect(released).toBeGreaterThan(ROUNDS / 3)
    expect(learned).toBeGreaterThan(ROUNDS / 20)
  })
})

test('the reader and a reader by the letter agree on every name that is read', () => {
  const roll = dice(77)
  const reader = new QueryReader()
  let good = 0
  for (let round = 0; round < ROUNDS; round++) {
    const bytes = mutate(QUERIES[roll(QUERIES.length)]!, roll)
    if (reader.read(bytes, 0, bytes.length) !== REASON.ok) continue
    good++
    const labels = questionOf(bytes)
    expect(labels).toBeDefined()
    const length = labels!.reduce((sum, label) => sum + 1 + label.length, 1)
    expect([...reader.name.subarray(0, reader.nameLength)]).toEqual(asciiFold(bytes, length))
    expect(formatFqdn(reader.name).endsWith('.')).toBe(true)
  }
  expect(good).toBeGreaterThan(100)
})

/** The octets of the question's name with ASCII letters folded, length octets untouched (none is a letter below 64). */
const asciiFold = (bytes: Uint8Array, length: number): number[] =>
  [...bytes.subarray(12, 12 + length)].map((byte) => (byte >= 65 && byte <= 90 ? byte + 32 : byte))

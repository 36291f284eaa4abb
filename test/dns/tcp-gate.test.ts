import { afterEach, describe, expect, test } from 'vitest'
import * as C from '../../src/dns/counters.ts'
import { REASON, REASON_NAMES } from '../../src/dns/message/reasons.ts'
import { frame } from '../../src/dns/tcp-frames.ts'
import { decode } from '../support/dns-packet.ts'
import { idOf, rcodeOf, withId } from './gate-world.ts'
import { a, hex, OPT, rawAnswer, rawQuery, withOpt } from './messages.ts'
import { sleep, TcpWorld, until } from './tcp-world.ts'
import type { TcpWorldOptions } from './tcp-world.ts'

let world: TcpWorld
const open = async (options?: TcpWorldOptions): Promise<TcpWorld> => (world = await TcpWorld.open(options))
afterEach(() => world.close())

describe('a query over TCP', () => {
  test('goes by TCP to the server it was meant for, and nothing but the id changes both ways', async () => {
    await open()
    const client = world.client()
    const query = withOpt({ name: 'wWw.example.com', id: 0x1234 }, OPT(4096, 0, 0x8000))
    client.send(query)
    const [asked] = await world.upstream.next()
    expect(world.connected).toEqual([`127.0.0.1#${world.port}`])
    expect(asked!.bytes.slice(2)).toEqual(query.slice(2))
    const answer = rawAnswer(asked!.bytes, { flags: 0x85b3 })
    asked!.reply(answer)
    expect(await client.next()).toEqual([withId(answer, 0x1234)])
  })

  test('that is denied is refused, and no server hears of it', async () => {
    await open()
    const client = world.client()
    client.send(withOpt({ name: 'evil.example', id: 7 }))
    const [reply] = await client.next()
    expect([idOf(reply!), rcodeOf(reply!)]).toEqual([7, 5])
    expect([...reply!.slice(-2)]).toEqual([0, 15])
    expect(world.connected).toEqual([])
  })

  test('pipelined: all are asked at once, answered in any order', async () => {
    await open()
    const client = world.client()
    client.send(...[1, 2, 3].map((id) => rawQuery({ id, name: `n${id}.wild.example` })))
    const asked = await world.upstream.next(3)
    expect(world.upstream.connections).toHaveLength(1)
    for (const one of [...asked].reverse()) one.reply(rawAnswer(one.bytes))
    const replies = await client.next(3)
    expect(replies.map(idOf)).toEqual([3, 2, 1])
    for (const reply of replies) expect(decode(reply).questions[0]!.name).toBe(`n${idOf(reply)}.wild.example`)
  })

  test('length and message leave in one segment', async () => {
    await open()
    const client = world.client()
    client.send(rawQuery())
    const [asked] = await world.upstream.next()
    asked!.reply(rawAnswer(asked!.bytes))
    const [reply] = await client.next()
    expect(client.chunks).toEqual([reply!.length + 2])
  })

  test('octet by octet is read as well', async () => {
    await open()
    const client = world.client()
    for (const byte of [0, rawQuery().length, ...rawQuery()]) {
      client.socket.write(Uint8Array.of(byte))
      await sleep(0)
    }
    expect(await world.upstream.next()).toHaveLength(1)
  })

  test('of a client that closes its half is still answered, and then the connection ends', async () => {
    await open()
    const client = world.client()
    client.send(rawQuery({ id: 1 }), rawQuery({ id: 2 }))
    client.socket.end()
    const asked = await world.upstream.next(2)
    await sleep(20)
    expect(client.ended).toBe(false)
    for (const one of asked) one.reply(rawAnswer(one.bytes))
    expect(await client.next(2)).toHaveLength(2)
    await until(() => client.ended)
    await until(() => world.gate.connections === 0)
    expect(world.counters.values[C.C_CONNECTION_ENDS + C.CONNECTION_CLIENT]).toBe(1)
  })

  test('more than are taken at a time wait, none is lost, also when the client closes its half', async () => {
    await open()
    const client = world.client()
    client.send(...Array.from({ length: 300 }, (_, id) => rawQuery({ id })))
    client.socket.end()
    await until(() => world.upstream.queries.length >= 64)
    await sleep(20)
    expect(world.upstream.queries).toHaveLength(64)
    for (let answered = 0; answered < 300; answered++) {
      const [one] = await world.upstream.next()
      one!.reply(rawAnswer(one!.bytes))
    }
    const replies = await client.next(300)
    expect(new Set(replies.map(idOf)).size).toBe(300)
    await until(() => client.ended)
  })

  test('an answer of 65535 octets passes', async () => {
    await open()
    const client = world.client()
    client.send(rawQuery())
    const [asked] = await world.upstream.next()
    const bare = rawAnswer(asked!.bytes, { counts: [1, 1, 0, 0] })
    const size = 65535 - bare.length - 12
    const record = [0xc0, 0x0c, 0, 16, 0, 1, 0, 0, 0, 60, size >> 8, size & 255]
    const answer = Uint8Array.from([...bare, ...record, ...new Uint8Array(size)])
    expect(answer).toHaveLength(65535)
    asked!.reply(answer)
    expect((await client.next())[0]).toHaveLength(65535)
  })
})

describe('map before answer over TCP', () => {
  test('a new address waits for the ledger', async () => {
    await open()
    const client = world.client()
    client.send(rawQuery())
    const [asked] = await world.upstream.next()
    asked!.reply(rawAnswer(asked!.bytes, { answers: [a('192.0.2.1')] }))
    await until(() => world.learner.submitted.length === 1)
    await sleep(20)
    world.gate.completed()
    expect(client.messages).toEqual([])
    world.learner.finish(world.learner.submitted[0]!)
    world.gate.completed()
    const [reply] = await client.next()
    expect(decode(reply!).answers).toMatchObject([{ data: '192.0.2.1' }])
  })

  test('what stands in the map goes at once', async () => {
    await open()
    world.learner.map.add('100 www.example.com. 192.0.2.1')
    const client = world.client()
    client.send(rawQuery())
    const [asked] = await world.upstream.next()
    asked!.reply(rawAnswer(asked!.bytes, { answers: [a('192.0.2.1')] }))
    expect(await client.next()).toHaveLength(1)
    expect(world.learner.submitted).toEqual([])
  })

  test.each(['refused', 'silent', 'full'])('a ledger that is %s makes SERVFAIL', async (how) => {
    await open()
    world.learner.full = how === 'full'
    const client = world.client()
    client.send(rawQuery())
    const [asked] = await world.upstream.next()
    asked!.reply(rawAnswer(asked!.bytes, { answers: [a('192.0.2.1')] }))
    if (how !== 'full') await until(() => world.learner.submitted.length === 1)
    if (how === 'refused') world.learner.finish(world.learner.submitted[0]!, 1)
    world.pass(how === 'silent' ? 1001 : 0)
    const [reply] = await client.next()
    expect(rcodeOf(reply!)).toBe(2)
    expect(decode(reply!).answers).toEqual([])
  })

  test('a client that went away costs nothing when its answer is ready', async () => {
    await open()
    const client = world.client()
    client.send(rawQuery())
    const [asked] = await world.upstream.next()
    asked!.reply(rawAnswer(asked!.bytes, { answers: [a('192.0.2.1')] }))
    await until(() => world.learner.submitted.length === 1)
    client.socket.resetAndDestroy()
    await until(() => world.gate.connections === 0)
    world.learner.finish(world.learner.submitted[0]!)
    expect(() => world.gate.completed()).not.toThrow()
  })

  test('a policy that changed meanwhile decides', async () => {
    await open()
    const client = world.client()
    client.send(rawQuery())
    const [asked] = await world.upstream.next()
    world.policy.rules = [{ ...world.policy.rules[0]!, names: ['other.example'] }]
    world.policy.generation = 2
    asked!.reply(rawAnswer(asked!.bytes, { answers: [a('192.0.2.1')] }))
    expect(rcodeOf((await client.next())[0]!)).toBe(5)
    expect(world.learner.submitted).toEqual([])
  })
})

describe('a server over TCP', () => {
  test('that answers with a wrong id, then a wrong question, then right', async () => {
    await open()
    const client = world.client()
    client.send(rawQuery())
    const [asked] = await world.upstream.next()
    asked!.reply(withId(rawAnswer(asked!.bytes), idOf(asked!.bytes) ^ 1))
    asked!.reply(rawAnswer(rawQuery({ name: 'www.example.org', id: idOf(asked!.bytes) })))
    asked!.reply(hex('00'))
    asked!.reply(rawAnswer(asked!.bytes, { flags: 0x8183 }))
    expect(rcodeOf((await client.next())[0]!)).toBe(3)
    expect(world.tcp(C.C_REJECTS, REASON_NAMES.length, REASON.answer_unknown_id)).toBe(2)
    expect(world.tcp(C.C_REJECTS, REASON_NAMES.length, REASON.answer_question)).toBe(1)
  })

  test('that sends a malformed answer makes SERVFAIL', async () => {
    await open()
    const client = world.client()
    client.send(rawQuery())
    const [asked] = await world.upstream.next()
    asked!.reply(rawAnswer(asked!.bytes, { answers: [a('192.0.2.1')], tail: [0] }))
    expect(rcodeOf((await client.next())[0]!)).toBe(2)
  })

  test('that closes makes SERVFAIL of what is outstanding, and the next query a new connection', async () => {
    await open()
    const client = world.client()
    client.send(rawQuery({ id: 1 }), rawQuery({ id: 2 }))
    const [asked] = await world.upstream.next(2)
    asked!.socket.end()
    expect((await client.next(2)).map(rcodeOf)).toEqual([2, 2])
    client.send(rawQuery({ id: 3 }))
    const [again] = await world.upstream.next()
    again!.reply(rawAnswer(again!.bytes))
    expect((await client.next()).map(idOf)).toEqual([3])
    expect(world.upstream.connections).toHaveLength(2)
  })

  test('that cannot be reached makes SERVFAIL at once', async () => {
    await open()
    world.upstreamPort = 1
    const client = world.client()
    client.send(...Array.from({ length: 200 }, (_, id) => withOpt({ id })))
    const replies = await client.next(200)
    expect(new Set(replies.map(rcodeOf))).toEqual(new Set([2]))
    expect([...replies[0]!.slice(-2)]).toEqual([0, 23])
  })

  test('that no socket can be had for makes SERVFAIL at once, however many are asked in one go', async () => {
    await open({ unreachable: true, names: ['*'] })
    const client = world.client()
    client.send(...Array.from({ length: 8000 }, (_, id) => rawQuery({ id, name: '.' })))
    const replies = await client.next(8000)
    expect(new Set(replies.map(rcodeOf))).toEqual(new Set([2]))
    expect(world.tcp(C.C_REJECTS, REASON_NAMES.length, REASON.exception)).toBe(0)
  })

  test('whose answers wait for the map does not take all places for them', async () => {
    await open({ maxPendingPerEndpoint: 2 })
    const client = world.client()
    for (let round = 0; round < 2; round++) {
      client.send(...[1, 2, 3].map((id) => rawQuery({ id: 10 * round + id })))
      for (const one of await world.upstream.next(3)) one.reply(rawAnswer(one.bytes, { answers: [a('192.0.2.1')] }))
      expect((await client.next()).map(rcodeOf)).toEqual([2])
      for (const request of world.learner.submitted.splice(0)) world.learner.finish(request, 2)
      world.gate.completed()
      expect((await client.next(2)).map(rcodeOf)).toEqual([2, 2])
    }
    expect(world.tcp(C.C_OVERLOAD, C.OVERLOADS.length, C.OVERLOAD_ENDPOINT)).toBe(2)
  })

  test('that is silent makes SERVFAIL in time, and its late answer finds nobody', async () => {
    await open()
    const client = world.client()
    client.send(withOpt())
    const [asked] = await world.upstream.next()
    world.pass(4000)
    await sleep(10)
    expect(client.messages).toEqual([])
    world.pass(600)
    const [reply] = await client.next()
    expect(rcodeOf(reply!)).toBe(2)
    asked!.reply(rawAnswer(asked!.bytes))
    await until(() => world.tcp(C.C_REJECTS, REASON_NAMES.length, REASON.answer_unknown_id) === 1)
    expect(client.messages).toEqual([])
  })
})

describe('bad messages over TCP', () => {
  test.each([
    ['11 octets', hex('0000000000000000000000')],
    ['no octets', new Uint8Array(0)],
  ])('%s: the connection is closed', async (_, message) => {
    await open()
    const client = world.client()
    client.send(message)
    await until(() => client.closed || client.ended)
    expect(client.messages).toEqual([])
    expect(world.tcp(C.C_REJECTS, REASON_NAMES.length, REASON.short)).toBe(1)
  })

  test.each<[string, Uint8Array, number, keyof typeof REASON]>([
    ['13 octets, QDCOUNT 1 and a label of 99', hex('0001 0100 0001 0000 0000 0000 63'), 1, 'label_type'],
    ['opcode 15', hex('0001 7800 0000 0000 0000 0000'), 4, 'opcode'],
    ['two OPT', rawQuery({ id: 1, counts: [1, 0, 0, 2], rest: [...OPT(), ...OPT()] }), 1, 'opt_repeated'],
    ['octets behind', rawQuery({ id: 1, rest: [0] }), 1, 'trailing'],
  ])('%s is answered with its rcode, and the connection goes on', async (_, message, rcode, reason) => {
    await open()
    const client = world.client()
    client.send(message, rawQuery({ id: 2 }))
    const [reply] = await client.next()
    expect([idOf(reply!), rcodeOf(reply!)]).toEqual([1, rcode])
    expect(await world.upstream.next()).toHaveLength(1)
    expect(world.tcp(C.C_REJECTS, REASON_NAMES.length, REASON[reason])).toBe(1)
  })

  test('a response is ignored', async () => {
    await open()
    const client = world.client()
    client.send(rawQuery({ flags: 0x8180 }), rawQuery({ id: 2 }))
    const [asked] = await world.upstream.next()
    asked!.reply(rawAnswer(asked!.bytes))
    expect((await client.next()).map(idOf)).toEqual([2])
  })

  test('an exception closes the connection it came from', async () => {
    await open()
    world.policy.verdict = () => {
      throw new Error('bug')
    }
    const client = world.client()
    client.send(rawQuery())
    await until(() => client.closed || client.ended)
    expect(world.tcp(C.C_REJECTS, REASON_NAMES.length, REASON.exception)).toBe(1)
  })
})

describe('bounds', () => {
  const ends = (reason: number): number => world.counters.values[C.C_CONNECTION_ENDS + reason] ?? 0

  test('an idle connection is closed', async () => {
    await open()
    const client = world.client()
    await until(() => world.gate.connections === 1)
    world.pass(9000)
    await sleep(10)
    expect(world.gate.connections).toBe(1)
    world.pass(2000)
    await until(() => client.ended)
    expect(ends(C.CONNECTION_IDLE)).toBe(1)
  })

  test('a connection that waits for an answer is not idle', async () => {
    await open({ idleTimeoutMs: 1000 })
    const client = world.client()
    client.send(rawQuery())
    const [asked] = await world.upstream.next()
    world.pass(3000)
    asked!.reply(rawAnswer(asked!.bytes))
    expect(await client.next()).toHaveLength(1)
  })

  test('a message that drips in is cut off, however busy it looks', async () => {
    await open()
    const client = world.client()
    const query = [0, rawQuery().length, ...rawQuery()]
    for (const byte of query.slice(0, 8)) {
      client.socket.write(Uint8Array.of(byte))
      await sleep(5)
      world.pass(1000)
    }
    await until(() => client.closed || client.ended)
    expect(ends(C.CONNECTION_SLOW)).toBe(1)
    expect(world.connected).toEqual([])
  })

  test('a client that does not read is cut off', async () => {
    await open()
    const client = world.client()
    client.socket.pause()
    await until(() => world.gate.connections === 1)
    // More than the kernel's buffers on both sides hold.
    client.send(...Array.from({ length: 400 }, (_, id) => rawQuery({ id })))
    const size = 60_000
    for (let quiet = 0; quiet < 10; quiet++) {
      await sleep(10)
      for (const one of world.upstream.queries.splice(0)) {
        quiet = 0
        const bare = rawAnswer(one.bytes, { counts: [1, 1, 0, 0] })
        const record = [0xc0, 0x0c, 0, 16, 0, 1, 0, 0, 0, 1, size >> 8, size & 255]
        one.socket.write(frame(Uint8Array.from([...bare, ...record, ...new Uint8Array(size)])))
      }
    }
    world.pass(0)
    world.pass(10_001)
    await until(() => world.gate.connections === 0)
    expect(ends(C.CONNECTION_STALLED)).toBe(1)
  })

  test('connections of one endpoint, and of all, are counted', async () => {
    await open({ maxConnectionsPerEndpoint: 2 })
    const clients = [world.client(), world.client(), world.client()]
    await until(() => clients.some((client) => client.closed || client.ended))
    expect(world.gate.connections).toBe(2)
    expect(world.tcp(C.C_OVERLOAD, C.OVERLOADS.length, C.OVERLOAD_CONNECTIONS)).toBe(1)
    clients.forEach((client) => client.socket.destroy())
    await until(() => world.gate.connections === 0)
    const again = world.client()
    again.send(rawQuery())
    expect(await world.upstream.next()).toHaveLength(1)
  })

  test('queries of one connection can be limited; the last is still answered', async () => {
    await open({ maxQueriesPerConnection: 2 })
    const client = world.client()
    client.send(rawQuery({ id: 1 }), rawQuery({ id: 2 }), rawQuery({ id: 3 }))
    const asked = await world.upstream.next(2)
    await sleep(20)
    expect(world.upstream.queries).toHaveLength(0)
    for (const one of asked) one.reply(rawAnswer(one.bytes))
    expect(await client.next(2)).toHaveLength(2)
    await until(() => client.ended)
    expect(ends(C.CONNECTION_QUERIES)).toBe(1)
  })

  test('when told to finish, what is in flight is answered and the rest ends', async () => {
    await open()
    const busy = world.client()
    const idle = world.client()
    await until(() => world.gate.connections === 2)
    busy.send(rawQuery())
    const [asked] = await world.upstream.next()
    world.gate.finish()
    await until(() => idle.ended)
    expect(busy.ended).toBe(false)
    asked!.reply(rawAnswer(asked!.bytes))
    expect(await busy.next()).toHaveLength(1)
    await until(() => world.gate.connections === 0)
    expect(ends(C.CONNECTION_STOP)).toBe(2)
    const late = world.client()
    await until(() => late.closed || late.ended)
  })

  test('a client that leaves takes its connection to the server with it', async () => {
    await open()
    const client = world.client()
    client.send(rawQuery())
    const [asked] = await world.upstream.next()
    let gone = false
    asked!.socket.on('close', () => (gone = true))
    client.socket.resetAndDestroy()
    await until(() => gone)
    expect(world.gate.connections).toBe(0)
  })
})

import { describe, expect, test } from 'vitest'
import * as C from '../../src/dns/counters.ts'
import { REASON } from '../../src/dns/message/reasons.ts'
import { decode } from '../support/dns-packet.ts'
import { idOf, POD, rcodeOf, SERVER, withId, World } from './gate-world.ts'
import { a, hex, rawAnswer, rawQuery, withOpt } from './messages.ts'

describe('an answer counts only with the right socket, id and question', () => {
  test.each<[string, (bytes: Uint8Array) => Uint8Array, keyof typeof REASON]>([
    ['another id', (q) => withId(rawAnswer(q), (idOf(q) + 1) & 0xffff), 'answer_unknown_id'],
    ['another name', (q) => rawAnswer(rawQuery({ name: 'www.example.org', id: idOf(q) })), 'answer_question'],
    ['another case', (q) => rawAnswer(rawQuery({ name: 'www.examplE.com', id: idOf(q) })), 'answer_question'],
    ['another type', (q) => rawAnswer(rawQuery({ type: 15, id: idOf(q) })), 'answer_question'],
    ['class CHAOS', (q) => rawAnswer(rawQuery({ class: 3, id: idOf(q) })), 'answer_question'],
    ['QR=0', (q) => rawAnswer(q, { flags: 0x0100 }), 'answer_not_response'],
    ['three octets', (q) => Uint8Array.from([q[0]!, q[1]!, 0]), 'answer_short'],
    [
      'the question cut',
      (q) => Uint8Array.from([q[0]!, q[1]!, ...hex('8180 0001 0000 0000 0000 01')]),
      'answer_question',
    ],
  ])('%s is ignored and counted, and the right one after it is taken', (_, make, reason) => {
    const world = new World()
    const sent = world.ask(rawQuery())
    world.answer(sent.tag, make(sent.bytes))
    expect(world.turn()).toEqual([])
    expect(world.rejected(reason)).toBe(1)
    const good = rawAnswer(sent.bytes, { flags: 0x8183 })
    world.answer(sent.tag, good)
    expect(world.turn()[0]!.bytes).toEqual(withId(good, 0x1234))
  })

  test('the right answer on another socket is ignored', () => {
    const world = new World()
    const sent = world.ask(rawQuery())
    world.answer(sent.tag ^ 2, rawAnswer(sent.bytes))
    expect(world.turn()).toEqual([])
    expect(world.rejected('answer_unknown_id')).toBe(1)
  })

  test('the same answer a second time is ignored', () => {
    const world = new World()
    const sent = world.ask(rawQuery())
    world.answer(sent.tag, rawAnswer(sent.bytes))
    world.answer(sent.tag, rawAnswer(sent.bytes))
    expect(world.turn()).toHaveLength(1)
    expect(world.rejected('answer_unknown_id')).toBe(1)
  })

  test('a second answer while the first waits for the map is ignored', () => {
    const world = new World()
    const sent = world.ask(rawQuery())
    world.answer(sent.tag, rawAnswer(sent.bytes, { answers: [a('192.0.2.1')] }))
    world.answer(sent.tag, rawAnswer(sent.bytes, { answers: [a('192.0.2.2')] }))
    expect(world.turn()).toEqual([])
    expect(world.learner.submitted).toHaveLength(1)
    world.learner.finish(world.learner.submitted[0]!)
    expect(decode(world.turn()[0]!.bytes).answers).toMatchObject([{ data: '192.0.2.1' }])
  })
})

describe('time-outs and errors', () => {
  test('a server that is silent is SERVFAIL after the time-out, with EDE 22', () => {
    const world = new World()
    world.ask(withOpt())
    world.now += 4499
    expect(world.turn()).toEqual([])
    world.now += 1
    const [reply] = world.turn()
    expect(reply).toMatchObject({ kind: 'reply', to: `${POD}#4000`, from: `${SERVER}#53` })
    expect(decode(reply!.bytes)).toMatchObject({
      id: 0x1234,
      rcode: 'SERVFAIL',
      questions: [{ name: 'www.example.com' }],
    })
    expect([...reply!.bytes.slice(-2)]).toEqual([0, 22])
    expect(world.count(C.C_UPSTREAM + C.UPSTREAM_TIMEOUT)).toBe(1)
    expect(world.core.inFlight).toBe(0)
  })

  test('a late answer finds nobody', () => {
    const world = new World()
    const sent = world.ask(rawQuery())
    world.now += 5000
    world.turn()
    world.answer(sent.tag, rawAnswer(sent.bytes))
    expect(world.turn()).toEqual([])
  })

  test('a refused socket fails its queries fast, with EDE 23, and not those of others', () => {
    const world = new World({ maxInFlight: 64 })
    const sent = Array.from({ length: 40 }, (_, i) => world.ask(withOpt({ id: i + 1 }), `${POD}#${5000 + i}`))
    const tag = sent[0]!.tag
    const hit = sent.filter((one) => one.tag === tag).length
    expect(hit).toBeLessThan(40)
    world.socketError(tag)
    expect(world.turn()).toEqual([])
    const replies = world.turn()
    expect(replies).toHaveLength(hit)
    for (const reply of replies) {
      expect(rcodeOf(reply.bytes)).toBe(2)
      expect([...reply.bytes.slice(-2)]).toEqual([0, 23])
    }
    expect(world.core.inFlight).toBe(40 - hit)
  })

  test('a query the kernel did not take fails fast', () => {
    const world = new World()
    world.ask(rawQuery())
    world.refuseSend(0, 101)
    expect(rcodeOf(world.turn()[0]!.bytes)).toBe(2)
    expect(world.count(C.C_UPSTREAM + C.UPSTREAM_SEND_ERROR)).toBe(1)
  })

  test('a reply the kernel did not take is counted', () => {
    const world = new World()
    world.query(rawQuery({ name: 'evil.example' }))
    world.turn()
    world.refuseSend(0, 1)
    expect(world.turn()).toEqual([])
    expect(world.count(C.C_SINGLES + C.SINGLE_REPLY_SEND_ERRORS)).toBe(1)
  })

  test('no socket to be had is SERVFAIL', () => {
    const world = new World()
    world.sockets.failing = true
    world.query(rawQuery())
    expect(rcodeOf(world.turn()[0]!.bytes)).toBe(2)
    expect(world.count(C.C_UPSTREAM + C.UPSTREAM_OPEN_ERROR)).toBe(1)
    world.sockets.failing = false
    expect(world.ask(rawQuery({ id: 2 })).kind).toBe('ask')
  })

  test('more time-outs than a batch holds go out in several', () => {
    const world = new World({ maxInFlight: 256, slots: 32 })
    for (let i = 0; i < 200; i++) world.ask(rawQuery({ id: i }), `${POD}#${2000 + i}`)
    world.now += 5000
    const batches = []
    for (let sent = world.turn(); sent.length > 0; sent = world.turn()) batches.push(sent.length)
    expect(Math.max(...batches)).toBeLessThanOrEqual(64)
    expect(batches.reduce((sum, n) => sum + n, 0)).toBe(200)
    expect(world.core.inFlight).toBe(0)
  })
})

describe('overload', () => {
  test('a full table is SERVFAIL at once, and free again after', () => {
    const world = new World({ maxInFlight: 4 })
    const sent = Array.from({ length: 4 }, (_, i) => world.ask(rawQuery({ id: i })))
    world.query(rawQuery({ id: 99 }))
    expect(world.turn().map((one) => [idOf(one.bytes), rcodeOf(one.bytes)])).toEqual([[99, 2]])
    expect(world.count(C.C_OVERLOAD + C.OVERLOAD_IN_FLIGHT)).toBe(1)
    world.answer(sent[0]!.tag, rawAnswer(sent[0]!.bytes))
    world.turn()
    expect(world.ask(rawQuery({ id: 100 })).kind).toBe('ask')
  })

  test('one endpoint cannot take the whole table', () => {
    const world = new World({
      maxInFlightPerEndpoint: 2,
      rules: [
        { from: POD, server: SERVER, names: ['*'] },
        { from: '10.0.0.6', server: SERVER, names: ['*'] },
      ],
    })
    world.ask(rawQuery({ id: 1 }))
    world.ask(rawQuery({ id: 2 }))
    world.query(rawQuery({ id: 3 }))
    expect(rcodeOf(world.turn()[0]!.bytes)).toBe(2)
    expect(world.ask(rawQuery({ id: 3 }), '10.0.0.6#4000').kind).toBe('ask')
  })

  test('one endpoint cannot take all places for servers', () => {
    const servers = Array.from({ length: 100 }, (_, i) => `10.8.0.${i}`)
    const all = { names: ['*'] }
    const world = new World({
      maxServersPerEndpoint: 64,
      maxInFlight: 512,
      rules: [
        ...servers.map((server) => ({ from: POD, server, ...all })),
        { from: '10.0.0.6', server: SERVER, ...all },
      ],
    })
    // None of them answers, so none of their places can be taken back.
    const sent = servers.map((server, i) => {
      world.query(rawQuery({ id: i }), undefined, `${server}#53`)
      return world.turn()[0]
    })
    expect(sent.filter((one) => one?.kind === 'ask')).toHaveLength(64)
    expect(world.count(C.C_OVERLOAD + C.OVERLOAD_ENDPOINT)).toBe(36)
    expect(world.ask(rawQuery({ id: 1 }), '10.0.0.6#4000').kind).toBe('ask')
    // An answer makes room for another server of the same endpoint.
    world.answer(sent[0]!.tag, rawAnswer(sent[0]!.bytes))
    world.turn()
    world.query(rawQuery({ id: 200 }), undefined, `${servers[99]!}#53`)
    world.turn()
    expect(world.ask(rawQuery({ id: 201 }), undefined, `${servers[99]!}#53`).kind).toBe('ask')
  })

  test('one endpoint cannot take all places of answers that wait for the map', () => {
    const world = new World({
      maxPending: 8,
      maxPendingPerEndpoint: 2,
      rules: [
        { from: POD, server: SERVER, names: ['*'] },
        { from: '10.0.0.6', server: SERVER, names: ['*'] },
      ],
    })
    for (let round = 0; round < 3; round++) {
      const sent = Array.from({ length: 3 }, (_, i) => world.ask(rawQuery({ id: 10 * round + i })))
      for (const one of sent) world.answer(one.tag, rawAnswer(one.bytes, { answers: [a('192.0.2.1')] }))
      // The third is over the share.
      expect(world.turn().map((one) => rcodeOf(one.bytes))).toEqual([2])
      const other = world.ask(rawQuery({ id: 50 + round }), '10.0.0.6#4000')
      world.answer(other.tag, rawAnswer(other.bytes, { answers: [a('192.0.2.1')] }))
      expect(world.turn()).toEqual([])
      for (const request of world.learner.submitted.splice(0)) world.learner.finish(request, 2)
      expect(world.turn()).toHaveLength(3)
    }
    expect(world.count(C.C_OVERLOAD + C.OVERLOAD_ENDPOINT)).toBe(3)
  })

  test('300 servers, one after the other: the idle ones make room', () => {
    const rules = Array.from({ length: 300 }, (_, i) => ({
      from: POD,
      server: `10.8.${i >> 8}.${i & 255}`,
      names: ['*'],
    }))
    const world = new World({ rules })
    for (let i = 0; i < 300; i++) {
      const sent = world.ask(rawQuery({ id: i }), undefined, `${rules[i]!.server}#53`)
      expect(sent.to).toBe(`${rules[i]!.server}#53`)
      world.answer(sent.tag, rawAnswer(sent.bytes))
      expect(world.turn()).toHaveLength(1)
    }
    expect(world.sockets.servers.size).toBeLessThan(256)
    expect(world.ask(rawQuery({ id: 1 }), undefined, `${rules[299]!.server}#53`).to).toBe(`${rules[299]!.server}#53`)
  })
})

describe('ids and ports', () => {
  test('the id of the client is not the one the server sees, and ids and sockets vary', () => {
    const world = new World({ maxInFlight: 2048 })
    const ids = new Set<number>()
    const tags = new Set<number>()
    for (let i = 0; i < 1000; i++) {
      const sent = world.ask(rawQuery({ id: 7 }), `${POD}#${1000 + i}`)
      ids.add(idOf(sent.bytes))
      tags.add(sent.tag)
    }
    expect(ids.size).toBeGreaterThan(950)
    expect(tags.size).toBe(16)
    expect(world.sockets.servers.size).toBe(16)
  })

  test('sockets are renewed, and none is lost', () => {
    const world = new World()
    const fds = new Set<number>()
    for (let i = 0; i < 100_000; i++) {
      const sent = world.ask(rawQuery({ id: i & 0xffff }))
      fds.add(world.sockets.tags.get(sent.tag)!)
      world.answer(sent.tag, rawAnswer(sent.bytes))
      world.turn()
    }
    expect(fds.size).toBeGreaterThan(32)
    expect(world.sockets.servers.size).toBeLessThanOrEqual(32)
    world.core.closeUpstreams()
    expect(world.sockets.servers.size).toBe(0)
    expect(world.sockets.tags.size).toBe(0)
  })

  test('a socket is not used for long: the way to its server may be another one by now', () => {
    const world = new World()
    const drawn = (): Set<number> => {
      const fds = new Set<number>()
      for (let i = 0; i < 300; i++) {
        const sent = world.ask(rawQuery({ id: i }))
        fds.add(world.sockets.tags.get(sent.tag)!)
        world.answer(sent.tag, rawAnswer(sent.bytes))
        world.turn()
      }
      return fds
    }
    world.now += 1000
    world.turn()
    const early = drawn()
    expect(drawn()).toEqual(early)
    world.now += 1000
    world.turn()
    const late = drawn()
    expect(late.size).toBe(16)
    expect([...late].filter((fd) => early.has(fd))).toEqual([])
    expect(world.sockets.servers.size).toBe(16)
  })

  test('an answer to a socket that was renewed meanwhile still counts', () => {
    const world = new World()
    const early = world.ask(rawQuery({ id: 1 }), `${POD}#1`)
    let renewed = false
    for (let i = 0; i < 100_000 && !renewed; i++) {
      const sent = world.ask(rawQuery({ id: i & 0xffff }), `${POD}#2`)
      world.answer(sent.tag, rawAnswer(sent.bytes))
      world.turn()
      renewed = sent.tag === (early.tag ^ 1)
    }
    expect(renewed).toBe(true)
    expect(world.sockets.tags.has(early.tag)).toBe(true)
    world.answer(early.tag, rawAnswer(early.bytes))
    expect(world.turn()[0]).toMatchObject({ kind: 'reply', to: `${POD}#1` })
    expect(world.sockets.tags.has(early.tag)).toBe(false)
  })

  test('two queries in flight on one socket never share an id', () => {
    // Few different words: sockets and ids are drawn again and again.
    let turn = 0
    const world = new World({
      maxInFlight: 64,
      random: (words) => words.forEach((_, i) => (words[i] = [0x20, 0x30, 0x20, 0x20, 0x31, 0x20, 0x32][turn++ % 7]!)),
    })
    const seen = new Set<string>()
    for (let i = 0; i < 40; i++) {
      world.query(rawQuery({ id: i }), `${POD}#${i + 1}`)
      for (const sent of world.turn()) if (sent.kind === 'ask') seen.add(`${sent.tag} ${idOf(sent.bytes)}`)
    }
    expect(world.core.inFlight).toBe(seen.size)
    expect(seen.size).toBeGreaterThan(2)
    expect(world.count(C.C_OVERLOAD + C.OVERLOAD_IDS)).toBe(40 - seen.size)
  })

  test('names, servers and clients do not mix: each answer finds its client', () => {
    const world = new World({ maxInFlight: 512, slots: 256 })
    const sent = Array.from({ length: 300 }, (_, i) =>
      world.ask(rawQuery({ id: i, name: `n${i}.wild.example` }), `${POD}#${3000 + i}`),
    )
    for (const one of [...sent].reverse().slice(0, 200)) world.answer(one.tag, rawAnswer(one.bytes))
    const replies = world.turn()
    expect(replies).toHaveLength(200)
    for (const reply of replies) {
      const id = idOf(reply.bytes)
      expect(reply.to).toBe(`${POD}#${3000 + id}`)
      expect(decode(reply.bytes).questions[0]!.name).toBe(`n${id}.wild.example`)
    }
  })
})

describe('the same query again', () => {
  test('while in flight it is not forwarded twice at once', () => {
    const world = new World()
    const sent = world.ask(rawQuery())
    world.query(rawQuery())
    expect(world.turn()).toEqual([])
    expect(world.count(C.C_SINGLES + C.SINGLE_DUPLICATES)).toBe(1)
    world.answer(sent.tag, rawAnswer(sent.bytes))
    expect(world.turn()).toHaveLength(1)
    expect(world.core.inFlight).toBe(0)
  })

  test('after a while the server is asked again, by the same id and socket, and answers once', () => {
    const world = new World()
    const sent = world.ask(rawQuery())
    world.now += 1000
    world.query(rawQuery())
    const [again] = world.turn()
    expect(again).toMatchObject({ kind: 'ask', tag: sent.tag })
    expect(idOf(again!.bytes)).toBe(idOf(sent.bytes))
    world.answer(sent.tag, rawAnswer(sent.bytes))
    world.answer(sent.tag, rawAnswer(sent.bytes))
    expect(world.turn()).toHaveLength(1)
  })

  test.each([
    ['port', rawQuery(), `${POD}#4001`, undefined],
    ['id', rawQuery({ id: 2 }), undefined, undefined],
    ['type', rawQuery({ type: 28 }), undefined, undefined],
    ['case', rawQuery({ name: 'WWW.example.com' }), undefined, undefined],
  ])('another %s is another query', (_, query, from, to) => {
    const world = new World()
    world.ask(rawQuery())
    world.query(query, from, to)
    expect(world.turn()[0]!.kind).toBe('ask')
  })

  test('to another server is another query', () => {
    const world = new World({
      rules: [
        { from: POD, server: SERVER, names: ['*'] },
        { from: POD, server: '10.9.9.10', names: ['*'] },
      ],
    })
    world.ask(rawQuery())
    world.query(rawQuery(), undefined, '10.9.9.10#53')
    expect(world.turn()[0]).toMatchObject({ kind: 'ask', to: '10.9.9.10#53' })
  })
})

test('an exception costs its own datagram only, and is counted', () => {
  const world = new World()
  const honest = world.policy.endpointByAddress.bind(world.policy)
  world.policy.endpointByAddress = (bytes, offset) => {
    world.policy.endpointByAddress = honest
    void bytes
    void offset
    throw new Error('bug')
  }
  world.query(rawQuery({ id: 1 }))
  world.query(rawQuery({ id: 2 }))
  const sent = world.turn()
  expect(sent).toHaveLength(1)
  expect(sent[0]!.kind).toBe('ask')
  expect(world.rejected('exception')).toBe(1)
})

import { describe, expect, test } from 'vitest'
import { GATE_RELEASE, mapBeforeAnswer } from '../../src/dns/gate.ts'
import type { AnswerGate } from '../../src/dns/gate.ts'
import { decode } from '../support/dns-packet.ts'
import { POD, RULES, SERVER, World } from './gate-world.ts'
import { a, rawAnswer, rawQuery } from './messages.ts'
import { TcpWorld, until } from './tcp-world.ts'

/** The wrong order, which exists in tests only: what is new is said before it stands in the map. */
const answerBeforeMap: AnswerGate = (learner, endpointId, name, nameLength, addresses, count, ttl, nowMs) => {
  if (!learner.standing(endpointId, name, 0, nameLength, addresses, count, ttl, nowMs)) {
    learner.submit(0xffff_ffff, endpointId, name, 0, nameLength, addresses, count, ttl)
  }
  return GATE_RELEASE
}

/** Addresses a client heard of before they stood in the map. */
function leaks(gate: AnswerGate): string[] {
  const world = new World({ gate, maxInFlight: 512, maxPending: 64 })
  const leaked: string[] = []
  for (let i = 0; i < 200; i++) {
    const sent = world.ask(rawQuery({ id: i, name: `n${i % 50}.wild.example` }), `${POD}#${2000 + i}`)
    world.answer(sent.tag, rawAnswer(sent.bytes, { answers: [a(`198.51.100.${i % 50}`), a(`192.0.2.${i % 250}`)] }))
    const check = (): void => {
      for (const reply of world.turn()) {
        const message = decode(reply.bytes)
        for (const { type, data } of message.answers) {
          const key = `100 ${message.questions[0]?.name}. ${String(data)}`
          if (type === 'A' && !world.learner.map.has(key)) leaked.push(key)
        }
      }
    }
    check()
    if (i % 3 === 0) for (const request of world.learner.submitted.splice(0)) world.learner.finish(request)
    check()
  }
  return leaked
}

describe('the order of map and answer', () => {
  test('no client hears of an address that does not stand in the map', () => {
    expect(leaks(mapBeforeAnswer)).toEqual([])
  })

  test('the check above sees the wrong order', () => {
    expect(leaks(answerBeforeMap).length).toBeGreaterThan(50)
  })

  test.each([
    ['right', mapBeforeAnswer, 0],
    ['wrong', answerBeforeMap, 1],
  ])('over TCP, the %s order', async (_, gate, early) => {
    const world = await TcpWorld.open({ gate })
    try {
      const client = world.client()
      client.send(rawQuery())
      const [asked] = await world.upstream.next()
      asked!.reply(rawAnswer(asked!.bytes, { answers: [a('192.0.2.1')] }))
      await until(() => world.learner.submitted.length === 1)
      await new Promise((resolve) => setTimeout(resolve, 30))
      world.gate.completed()
      expect(client.messages).toHaveLength(early)
    } finally {
      world.close()
    }
  })
})

describe('the order of policy and forward', () => {
  test('no server hears of a name that is not allowed, whatever is asked in whatever order', () => {
    const world = new World({ rules: RULES, maxInFlight: 512 })
    const names = [
      'www.example.com',
      'evil.example',
      'a.wild.example',
      'a.b.wild.example',
      'wild.example',
      'example.com',
    ]
    const forwarded = new Set<string>()
    for (let i = 0; i < 300; i++) {
      world.query(rawQuery({ id: i, name: names[i % names.length]! }), `${POD}#${1000 + i}`, `${SERVER}#53`)
      for (const sent of world.turn()) {
        if (sent.kind === 'ask') forwarded.add(decode(sent.bytes).questions[0]!.name)
      }
    }
    expect([...forwarded].sort()).toEqual(['a.wild.example', 'www.example.com'])
  })
})

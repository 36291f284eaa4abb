import fc from 'fast-check'
import { expect, test } from 'vitest'
import { InFlight, STATE_FAILED, STATE_FREE, STATE_PENDING, STATE_WAITING } from '../../src/dns/inflight.ts'
import { PendingSlots } from '../../src/dns/pending.ts'

/** Equal in their low bits, so that they meet in one bucket. */
const TAGS = [0, 16, 32, 48]
const IDS = 6

interface Model {
  readonly tag: number
  readonly upstreamId: number
  readonly port: number
  readonly clientId: number
  state: number
}

const command = fc.record({
  what: fc.constantFrom('add', 'add', 'add', 'free', 'pend', 'fail'),
  tag: fc.constantFrom(...TAGS),
  upstreamId: fc.nat(IDS - 1),
  port: fc.nat(3),
  clientId: fc.nat(3),
  pick: fc.nat(100),
})

test('the in-flight table is a map by socket and id, a map by client, and lists in order of arrival', () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 120 }), (commands) => {
      const table = new InFlight(8, 64)
      const model = new Map<number, Model>()
      const words = new Uint32Array(8)
      const message = Uint8Array.of(1, 0x61, 0, 0, 1, 0, 1)
      for (const { what, tag, upstreamId, port, clientId, pick } of commands) {
        const entries = [...model.keys()]
        const chosen = entries[pick % Math.max(1, entries.length)]
        if (what === 'add') {
          if (
            [...model.values()].some(
              (one) => one.tag === tag && one.upstreamId === upstreamId && one.state === STATE_WAITING,
            )
          )
            continue
          const entry = table.allocate()
          expect(entry < 0).toBe(model.size === table.capacity)
          if (entry < 0) continue
          expect(table.state[entry]).toBe(STATE_FREE)
          table.tag[entry] = tag
          table.upstreamId[entry] = upstreamId
          table.clientPort[entry] = port
          table.clientId[entry] = clientId
          table.endpointId[entry] = port
          table.setQuestion(entry, message, 0, 7)
          table.link(entry)
          model.set(entry, { tag, upstreamId, port, clientId, state: STATE_WAITING })
        } else if (chosen !== undefined) {
          const one = model.get(chosen)!
          if (what === 'free') {
            table.free(chosen)
            model.delete(chosen)
          } else if (one.state === STATE_WAITING) {
            one.state = what === 'pend' ? STATE_PENDING : STATE_FAILED
            table.move(chosen, one.state)
            // Lists are in the order in which entries came to the state.
            model.delete(chosen)
            model.set(chosen, one)
          }
        }
        check(table, model, words, message)
      }
    }),
    { numRuns: 300, seed: 20_261 },
  )
})

function check(table: InFlight, model: Map<number, Model>, words: Uint32Array, message: Uint8Array): void {
  const all = [...model]
  expect(table.used).toBe(all.length)
  for (const state of [STATE_WAITING, STATE_PENDING, STATE_FAILED]) {
    expect(table.oldest(state)).toBe(all.find(([, one]) => one.state === state)?.[0] ?? -1)
  }
  for (const tag of TAGS) {
    const waiting = all.filter(([, one]) => one.tag === tag && one.state === STATE_WAITING)
    expect(table.oldestOf(tag)).toBe(waiting[0]?.[0] ?? -1)
    for (let id = 0; id < IDS; id++) {
      expect(table.find(tag, id)).toBe(waiting.find(([, one]) => one.upstreamId === id)?.[0] ?? -1)
    }
  }
  for (let port = 0; port < 4; port++) {
    expect(table.byEndpoint[port]).toBe(all.filter(([, one]) => one.port === port).length)
    for (let id = 0; id < 4; id++) {
      const same = all.filter(([, one]) => one.port === port && one.clientId === id).map(([entry]) => entry)
      const found = table.findSame(words, 0, port, 4, 0, id, message, 0, 7)
      if (same.length === 0) expect(found).toBe(-1)
      else expect(same).toContain(found)
      expect(table.findSame(words, 0, port, 4, 53, id, message, 0, 7)).toBe(-1)
    }
  }
}

test('a pending slot belongs to one answer at a time, and its ticket to no other', () => {
  const step = fc.record({ what: fc.constantFrom('take', 'take', 'drop', 'send', 'reclaim'), pick: fc.nat(50) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const slots = new PendingSlots(3, 1000, 16)
      const live = new Map<number, number>()
      const dead: number[] = []
      let sending = 0
      let entry = 0
      for (const { what, pick } of steps) {
        const tickets = [...live.keys()]
        const ticket = tickets[pick % Math.max(1, tickets.length)]
        if (what === 'take') {
          const slot = slots.take(++entry, pick, pick)
          expect(slot < 0).toBe(live.size + sending === 3)
          if (slot < 0) continue
          expect(slots.offset(slot)).toBe(1000 + 16 * slot)
          const fresh = slots.ticket(slot)
          expect(live.has(fresh) || dead.includes(fresh)).toBe(false)
          live.set(fresh, entry)
        } else if (what === 'reclaim') {
          slots.reclaim()
          sending = 0
        } else if (ticket !== undefined) {
          const slot = slots.resolve(ticket)
          live.delete(ticket)
          dead.push(ticket)
          if (what === 'drop') slots.drop(slot)
          else {
            slots.send(slot)
            sending++
          }
        }
        for (const [known, owner] of live) expect(slots.entry(slots.resolve(known))).toBe(owner)
        for (const gone of dead) expect(slots.resolve(gone)).toBe(-1)
      }
    }),
    { numRuns: 300, seed: 20_262 },
  )
})

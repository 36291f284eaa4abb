import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { COUNTER_FULL, COUNTER_TOO_LARGE, LedgerRings, MAX_ADDRESSES } from '../../src/fqdn/shared/client-rings.ts'
import { Doorbell } from '../../src/fqdn/shared/doorbell.ts'
import { createLearner } from '../../src/fqdn/shared/learner.ts'
import { createLearningMemory, type LearningMemory } from '../../src/fqdn/shared/learning-memory.ts'

const memory = (clients: number, slotsPerClient: number): LearningMemory =>
  createLearningMemory({ clients, slotsPerClient, maxEntries: 100, minTtlSeconds: 0, graceSeconds: 0, seed: [1, 2] })

const NAME = new Uint8Array([3, 97, 98, 99, 0])
const tickets = new Uint32Array(64)
const statuses = new Uint8Array(64)

describe('the rings between a client and the ledger', () => {
  it('carry a request over, whole, and its status back', () => {
    const shared = memory(1, 4)
    const learner = createLearner(shared, 0)
    const rings = new LedgerRings(shared.clients[0] as SharedArrayBuffer)
    const addresses = Uint8Array.from({ length: 16 * MAX_ADDRESSES }, (_, i) => i % 251)
    expect(rings.next()).toBe(false)
    expect(learner.submit(0xffff_fff0, 65535, NAME, 0, 5, addresses, MAX_ADDRESSES, 0xffff_ffff)).toBe(true)
    expect(rings.next()).toBe(true)
    const { ticket, endpointId, ttl, count, nameOffset, nameLength, addressesOffset, bytes } = rings
    expect([ticket, endpointId, ttl, count, nameLength]).toEqual([0xffff_fff0, 65535, 0xffff_ffff, MAX_ADDRESSES, 5])
    expect([...bytes.subarray(nameOffset, nameOffset + 5)]).toEqual([...NAME])
    expect(Buffer.compare(bytes.subarray(addressesOffset, addressesOffset + addresses.length), addresses)).toBe(0)
    expect(learner.completed(tickets, statuses)).toBe(0)
    rings.complete(rings.slot, 2)
    expect(learner.completed(tickets, statuses)).toBe(1)
    expect([tickets[0], statuses[0]]).toEqual([0xffff_fff0, 2])
  })

  it('refuse and count what does not fit', () => {
    const shared = memory(1, 2)
    const learner = createLearner(shared, 0)
    const rings = new LedgerRings(shared.clients[0] as SharedArrayBuffer)
    const many = new Uint8Array(16 * (MAX_ADDRESSES + 1))
    expect(learner.submit(1, 1, NAME, 0, 5, many, MAX_ADDRESSES + 1, 1)).toBe(false)
    expect([1, 2, 3].map((ticket) => learner.submit(ticket, 1, NAME, 0, 5, many, 1, 1))).toEqual([true, true, false])
    expect([rings.counter(COUNTER_TOO_LARGE), rings.counter(COUNTER_FULL), rings.waiting]).toEqual([1, 1, 2])
    rings.next()
    rings.complete(rings.slot, 0)
    expect(learner.submit(4, 1, NAME, 0, 5, many, 1, 1)).toBe(false)
    learner.completed(tickets, statuses)
    expect(learner.submit(5, 1, NAME, 0, 5, many, 1, 1)).toBe(true)
  })

  it('hand out no more completions than there is room for', () => {
    const shared = memory(1, 8)
    const learner = createLearner(shared, 0)
    const rings = new LedgerRings(shared.clients[0] as SharedArrayBuffer)
    for (let ticket = 0; ticket < 8; ticket++) learner.submit(ticket, 1, NAME, 0, 5, new Uint8Array(16), 1, 1)
    while (rings.next()) rings.complete(rings.slot, 0)
    expect(learner.completed(new Uint32Array(3), new Uint8Array(64))).toBe(3)
    expect(learner.completed(tickets, statuses)).toBe(5)
  })

  it('start empty for the client that takes a dead one’s place', () => {
    const shared = memory(1, 4)
    const rings = new LedgerRings(shared.clients[0] as SharedArrayBuffer)
    const dead = createLearner(shared, 0)
    for (let ticket = 0; ticket < 4; ticket++) dead.submit(ticket, 1, NAME, 0, 5, new Uint8Array(16), 1, 1)
    rings.next()
    rings.complete(rings.slot, 0)
    expect(rings.reset()).toBe(1)
    const next = createLearner(shared, 0)
    expect(next.completed(tickets, statuses)).toBe(0)
    for (let ticket = 10; ticket < 14; ticket++) {
      expect(next.submit(ticket, 1, NAME, 0, 5, new Uint8Array(16), 1, 1)).toBe(true)
    }
    expect([rings.next(), rings.ticket]).toEqual([true, 10])
  })

  it('give back what a dead ledger had taken', () => {
    const shared = memory(1, 4)
    const learner = createLearner(shared, 0)
    const dead = new LedgerRings(shared.clients[0] as SharedArrayBuffer)
    for (let ticket = 0; ticket < 4; ticket++) learner.submit(ticket, 1, NAME, 0, 5, new Uint8Array(16), 1, 1)
    dead.next()
    dead.complete(dead.slot, 0)
    dead.next()
    dead.next()
    const next = new LedgerRings(shared.clients[0] as SharedArrayBuffer)
    expect(next.recover(2)).toBe(2)
    expect(learner.completed(tickets, statuses)).toBe(3)
    expect([...statuses.subarray(0, 3)]).toEqual([0, 2, 2])
    expect([next.next(), next.ticket, next.next()]).toEqual([true, 3, false])
  })

  it('lose and mix up nothing between real threads', { timeout: 30_000 }, async () => {
    const clients = 2
    const count = 10_000
    const shared = memory(clients, 64)
    const bell = new Doorbell(shared.bell)
    const rings = shared.clients.map((buffer) => new LedgerRings(buffer))
    const entry = new URL('./fixtures/client.ts', import.meta.url)
    const workers = rings.map(
      (_, client) => new Worker(entry, { workerData: { memory: shared, client, count }, execArgv: [] }),
    )
    const ends = workers.map(
      (worker) =>
        new Promise<{ wrong: number; refused: number; left: number }>((resolve, reject) => {
          worker.once('message', resolve)
          worker.once('error', reject)
        }),
    )
    let served = 0
    let slept = 0
    let wrong = 0
    while (served < clients * count) {
      const seen = bell.seen()
      const before = served
      for (const [client, ring] of rings.entries()) {
        for (let i = 0; i < 16 && ring.next(); i++) {
          const sent = ring.ticket & 0xff_ffff
          const whole =
            ring.ticket >>> 24 === client &&
            ring.ttl === sent &&
            ring.endpointId === (sent % 65535) + 1 &&
            ring.count === 1 + (sent & 1) &&
            ring.bytes[ring.addressesOffset + 16] === (sent & 0xff)
          if (!whole && ring.count === 2) wrong++
          ring.complete(ring.slot, (ring.endpointId - 1) % 3)
          served++
        }
      }
      if (served > before) continue
      slept++
      bell.sleep(seen, 1000)
      // Lets the workers' messages in.
      if (slept % 1000 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    expect(wrong).toBe(0)
    for (const end of await Promise.all(ends)) expect(end).toMatchObject({ wrong: 0, left: 0 })
    await Promise.all(workers.map((worker) => worker.terminate()))
  })
})

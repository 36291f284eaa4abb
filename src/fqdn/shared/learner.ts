import { ADDR16_BYTES } from '../../core/ip.ts'
import { expiryOf } from '../lifetime.ts'
import { ClientRings } from './client-rings.ts'
import { Doorbell } from './doorbell.ts'
import type { LearningMemory } from './learning-memory.ts'
import { PairHash } from './pair-hash.ts'
import { StandingTable } from './standing-table.ts'

/** A client's door to the ledger; the shape that the dns room asks for (docs/architecture.md). */
export interface SharedLearner {
  standing(
    endpointId: number,
    name: Uint8Array,
    nameOffset: number,
    nameLength: number,
    addresses: Uint8Array,
    count: number,
    ttlSeconds: number,
    nowMs: number,
  ): boolean
  submit(
    ticket: number,
    endpointId: number,
    name: Uint8Array,
    nameOffset: number,
    nameLength: number,
    addresses: Uint8Array,
    count: number,
    ttlSeconds: number,
  ): boolean
  completed(tickets: Uint32Array, statuses: Uint8Array): number
}

/**
 * Made by each client thread for itself. `client` is the index in `memory.clients`; after a client thread died,
 * main has the ledger reset that index before the next one is made. None of the three calls allocates.
 */
export function createLearner(memory: LearningMemory, client: number): SharedLearner {
  const buffer = memory.clients[client]
  if (buffer === undefined) throw new RangeError(`no client ${client}`)
  const rings = new ClientRings(buffer)
  const bell = new Doorbell(memory.bell)
  const table = new StandingTable(memory.table)
  const hash = new PairHash(memory.seed[0], memory.seed[1])
  return {
    standing(endpointId, name, nameOffset, nameLength, addresses, count, ttlSeconds, nowMs) {
      const until = expiryOf(nowMs, ttlSeconds, memory)
      hash.start(endpointId, name, nameOffset, nameLength)
      for (let i = 0; i < count; i++) {
        hash.address(addresses, i * ADDR16_BYTES)
        if (!table.raise(hash.lo, hash.hi, until)) return false
      }
      return true
    },
    submit(ticket, endpointId, name, nameOffset, nameLength, addresses, count, ttlSeconds) {
      if (!rings.push(ticket, endpointId, name, nameOffset, nameLength, addresses, count, ttlSeconds)) return false
      bell.ring()
      return true
    },
    completed: (tickets, statuses) => rings.take(tickets, statuses),
  }
}

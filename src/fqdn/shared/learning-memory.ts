import { clientRingsBytes } from './client-rings.ts'
import { DOORBELL_BYTES } from './doorbell.ts'
import { standingTableBytes } from './standing-table.ts'

/** Everything that the ledger and its clients share; made once by main and handed to each thread at its start. */
export interface LearningMemory {
  readonly bell: SharedArrayBuffer
  readonly table: SharedArrayBuffer
  /** One a client: dns workers first, the tcp thread last. */
  readonly clients: readonly SharedArrayBuffer[]
  /** Random per process; see PairHash. */
  readonly seed: readonly [number, number]
  readonly minTtlSeconds: number
  readonly graceSeconds: number
}

export interface LearningMemoryOptions {
  readonly clients: number
  /** Requests a client can have open (`dns.maxPending`). */
  readonly slotsPerClient: number
  /** `fqdn.maxEntries`. */
  readonly maxEntries: number
  readonly minTtlSeconds: number
  readonly graceSeconds: number
  /** Two random u32. */
  readonly seed: readonly [number, number]
}

export function createLearningMemory(options: LearningMemoryOptions): LearningMemory {
  // A power of two, because ring positions count on past 2^32.
  const slots = 1 << Math.ceil(Math.log2(Math.max(1, options.slotsPerClient)))
  return {
    bell: new SharedArrayBuffer(DOORBELL_BYTES),
    table: new SharedArrayBuffer(standingTableBytes(options.maxEntries)),
    clients: Array.from({ length: options.clients }, () => new SharedArrayBuffer(clientRingsBytes(slots))),
    seed: options.seed,
    minTtlSeconds: options.minTtlSeconds,
    graceSeconds: options.graceSeconds,
  }
}

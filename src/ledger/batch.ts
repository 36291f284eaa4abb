import { FQDN } from '../fqdn/counters.ts'
import { expiryOf, type LifetimeRules } from '../fqdn/lifetime.ts'
import type { NameState } from '../fqdn/name-state.ts'
import { type LedgerRings, MAX_ADDRESSES } from '../fqdn/shared/client-rings.ts'
import { IDENTITY } from '../identity/counters.ts'
import type { IpcacheWriter } from '../identity/ipcache-writer.ts'
import { isUnicast } from '../identity/unicast.ts'
import type { StateKeeper } from './state-keeper.ts'

const STATUS_STANDS = 0
const STATUS_REFUSED = 1
const STATUS_FAILED = 2

/** Requests of one batch: their map writes go to the kernel together. */
const MAX_REQUESTS = 64
/** Addresses of one batch; a request that goes beyond is the last of its batch. */
const MAX_BATCH_ADDRESSES = 2048

interface Taken {
  readonly client: number
  readonly slot: number
  status: number
  /** Its entries are `entries[from..to)`. */
  readonly from: number
  readonly to: number
}

/** Takes requests from the clients in turn, has them learned and written, and completes them in order. */
export class RequestBatch {
  readonly #clients: readonly LedgerRings[]
  readonly #wakes: (() => void)[]
  readonly #state: NameState
  readonly #writer: IpcacheWriter
  readonly #keeper: StateKeeper
  readonly #rules: LifetimeRules
  readonly #settle: () => void
  readonly #addresses = new Uint8Array(16 * MAX_ADDRESSES)
  readonly #entries: number[] = []
  readonly #born: number[] = []
  readonly #taken: Taken[] = []
  readonly #woken = new Set<number>()
  #turn = 0

  constructor(options: {
    clients: readonly LedgerRings[]
    wakes: (() => void)[]
    state: NameState
    writer: IpcacheWriter
    keeper: StateKeeper
    rules: LifetimeRules
    /** Brings every changed address to the kernel. */
    settle: () => void
  }) {
    this.#clients = options.clients
    this.#wakes = options.wakes
    this.#state = options.state
    this.#writer = options.writer
    this.#keeper = options.keeper
    this.#rules = options.rules
    this.#settle = options.settle
  }

  /** One batch; returns how many requests were completed. */
  run(nowMs: number): number {
    this.#entries.length = this.#born.length = this.#taken.length = 0
    this.#take(nowMs)
    if (this.#taken.length === 0) return 0
    this.#settle()
    this.#woken.clear()
    for (const request of this.#taken) {
      const status = this.#finish(request)
      this.#clients[request.client]?.complete(request.slot, status)
      this.#woken.add(request.client)
      this.#state.count([FQDN.completedOk, FQDN.completedRefused, FQDN.completedFailed][status] as number)
    }
    for (const client of this.#woken) this.#wakes[client]?.()
    return this.#taken.length
  }

  #take(nowMs: number): void {
    let idle = 0
    while (idle < this.#clients.length && this.#taken.length < MAX_REQUESTS) {
      const client = this.#turn
      this.#turn = (this.#turn + 1) % this.#clients.length
      const rings = this.#clients[client]
      if (rings?.next() !== true) {
        idle++
        continue
      }
      idle = 0
      this.#learn(client, rings, nowMs)
      if (this.#entries.length >= MAX_BATCH_ADDRESSES) return
    }
  }

  #learn(client: number, rings: LedgerRings, nowMs: number): void {
    const state = this.#state
    state.count(FQDN.requests)
    const { bytes, addressesOffset, nameOffset, nameLength, endpointId } = rings
    let count = 0
    for (let i = 0; i < rings.count; i++) {
      const at = addressesOffset + 16 * i
      if (!isUnicast(bytes, at)) state.count(IDENTITY.notUnicast)
      else this.#addresses.set(bytes.subarray(at, at + 16), 16 * count++)
    }
    const from = this.#entries.length
    const until = expiryOf(nowMs, rings.ttl, this.#rules)
    const status = state.learn(
      endpointId,
      bytes,
      nameOffset,
      nameLength,
      this.#addresses,
      0,
      count,
      until,
      this.#entries,
    )
    const to = this.#entries.length
    for (let i = from; i < to; i++) this.#born.push(state.entries.born[this.#entries[i] as number] as number)
    if (to > from) this.#keeper.learned(endpointId, bytes, nameOffset, nameLength, this.#addresses, count, until)
    this.#taken.push({ client, slot: rings.slot, status, from, to })
  }

  #finish(request: Taken): number {
    const { entries, addresses } = this.#state
    let status = request.status === 0 ? STATUS_STANDS : STATUS_REFUSED
    for (let i = request.from; i < request.to; i++) {
      const entry = this.#entries[i] as number
      if (!entries.used(entry) || entries.born[entry] !== this.#born[i]) {
        // A later answer of the same batch needed the room.
        status = STATUS_REFUSED
        continue
      }
      const address = entries.address[entry] as number
      if (this.#writer.stands(addresses.bytes, 16 * address, addresses.union[address] as number)) {
        this.#state.makeStanding(entry)
      } else if (status === STATUS_STANDS) status = STATUS_FAILED
    }
    return status
  }
}

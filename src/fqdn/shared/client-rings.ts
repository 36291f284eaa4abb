import { ADDR16_BYTES } from '../../core/ip.ts'

/**
 * Memory shared by the ledger and one client (a dns worker or the tcp thread). A client owns a fixed number of
 * slots and their free list; a request is a slot index in the request ring, an answer the same index in the
 * completion ring. Each ring has one producer and one consumer, so head and tail are all the synchronisation.
 *
 * Header of i32 words, each counter on a cache line of its own, then the two rings, then the slots.
 */
export const SLOT_BYTES = 16_384
const NAME_AT = 32
const ADDRESSES_AT = 32 + 256
export const MAX_ADDRESSES = (SLOT_BYTES - ADDRESSES_AT) / ADDR16_BYTES

const LINE = 16
const GENERATION = 0
const REQUEST_TAIL = LINE
const REQUEST_HEAD = 2 * LINE
const DONE_TAIL = 3 * LINE
const DONE_HEAD = 4 * LINE
/** Counted by the client, read by whoever makes metrics. */
export const COUNTER_FULL = 5 * LINE
export const COUNTER_TOO_LARGE = 5 * LINE + 1
const HEADER_WORDS = 6 * LINE

const TICKET = 0
const ENDPOINT = 1
const TTL = 2
const COUNT = 3
const NAME_LENGTH = 4
const STATUS = 5

export function clientRingsBytes(slots: number): number {
  return HEADER_WORDS * 4 + 2 * slots * 4 + slots * SLOT_BYTES
}

/** The fixed places of one client's memory; both sides make one over the same buffer. */
class Layout {
  readonly slots: number
  readonly header: Int32Array
  readonly requests: Int32Array
  readonly done: Int32Array
  readonly words: Int32Array
  readonly bytes: Uint8Array

  constructor(buffer: SharedArrayBuffer) {
    this.slots = (buffer.byteLength - HEADER_WORDS * 4) / (SLOT_BYTES + 8)
    this.header = new Int32Array(buffer, 0, HEADER_WORDS)
    this.requests = new Int32Array(buffer, HEADER_WORDS * 4, this.slots)
    this.done = new Int32Array(buffer, HEADER_WORDS * 4 + this.slots * 4, this.slots)
    const start = HEADER_WORDS * 4 + this.slots * 8
    this.words = new Int32Array(buffer, start, (this.slots * SLOT_BYTES) / 4)
    this.bytes = new Uint8Array(buffer, start, this.slots * SLOT_BYTES)
  }
}

/** The client's side. Made anew by each thread that takes the client's place; see `LedgerRings.reset`. */
export class ClientRings {
  readonly #layout: Layout
  readonly #free: Int32Array
  #freeCount: number

  constructor(buffer: SharedArrayBuffer) {
    this.#layout = new Layout(buffer)
    this.#freeCount = this.#layout.slots
    this.#free = new Int32Array(this.#layout.slots)
    for (let i = 0; i < this.#freeCount; i++) this.#free[i] = this.#freeCount - 1 - i
  }

  get generation(): number {
    return Atomics.load(this.#layout.header, GENERATION)
  }

  /** False (and counted) when every slot is in use or the answer does not fit. The caller rings the bell. */
  push(
    ticket: number,
    endpointId: number,
    name: Uint8Array,
    nameOffset: number,
    nameLength: number,
    addresses: Uint8Array,
    count: number,
    ttl: number,
  ): boolean {
    const { header, words, bytes, requests, slots } = this.#layout
    if (count > MAX_ADDRESSES || nameLength > 255) {
      Atomics.add(header, COUNTER_TOO_LARGE, 1)
      return false
    }
    if (this.#freeCount === 0) {
      Atomics.add(header, COUNTER_FULL, 1)
      return false
    }
    const slot = this.#free[--this.#freeCount] as number
    const word = (slot * SLOT_BYTES) / 4
    words[word + TICKET] = ticket
    words[word + ENDPOINT] = endpointId
    words[word + TTL] = ttl
    words[word + COUNT] = count
    words[word + NAME_LENGTH] = nameLength
    const base = slot * SLOT_BYTES
    for (let i = 0; i < nameLength; i++) bytes[base + NAME_AT + i] = name[nameOffset + i] as number
    const size = count * ADDR16_BYTES
    for (let i = 0; i < size; i++) bytes[base + ADDRESSES_AT + i] = addresses[i] as number
    const tail = Atomics.load(header, REQUEST_TAIL)
    requests[(tail >>> 0) % slots] = slot
    Atomics.store(header, REQUEST_TAIL, (tail + 1) | 0)
    return true
  }

  /** Finished tickets and their status, as many as fit; returns how many. */
  take(tickets: Uint32Array, statuses: Uint8Array): number {
    const { header, words, done, slots } = this.#layout
    // Asked each turn, and nearly always in vain. A look that is stale is made good next turn, and the ledger kicks.
    if (header[DONE_TAIL] === header[DONE_HEAD]) return 0
    const tail = Atomics.load(header, DONE_TAIL)
    let head = Atomics.load(header, DONE_HEAD)
    let n = 0
    const max = Math.min(tickets.length, statuses.length)
    while (head !== tail && n < max) {
      const slot = done[(head >>> 0) % slots] as number
      const word = (slot * SLOT_BYTES) / 4
      tickets[n] = words[word + TICKET] as number
      statuses[n] = words[word + STATUS] as number
      n++
      this.#free[this.#freeCount++] = slot
      head = (head + 1) | 0
    }
    Atomics.store(header, DONE_HEAD, head)
    return n
  }
}

/** The ledger's side: a cursor over requests. The fields describe the request last taken by `next`. */
export class LedgerRings {
  slot = 0
  ticket = 0
  endpointId = 0
  ttl = 0
  count = 0
  nameOffset = 0
  nameLength = 0
  /** Octet offset of the first addr16 in `bytes`. */
  addressesOffset = 0
  readonly #layout: Layout

  constructor(buffer: SharedArrayBuffer) {
    this.#layout = new Layout(buffer)
  }

  get bytes(): Uint8Array {
    return this.#layout.bytes
  }

  get waiting(): number {
    const { header } = this.#layout
    return (Atomics.load(header, REQUEST_TAIL) - Atomics.load(header, REQUEST_HEAD)) >>> 0
  }

  /** COUNTER_FULL or COUNTER_TOO_LARGE. */
  counter(word: number): number {
    return Atomics.load(this.#layout.header, word) >>> 0
  }

  next(): boolean {
    const { header, words, requests, slots } = this.#layout
    const head = Atomics.load(header, REQUEST_HEAD)
    if (head === Atomics.load(header, REQUEST_TAIL)) return false
    this.slot = requests[(head >>> 0) % slots] as number
    const word = (this.slot * SLOT_BYTES) / 4
    this.ticket = (words[word + TICKET] as number) >>> 0
    this.endpointId = words[word + ENDPOINT] as number
    this.ttl = (words[word + TTL] as number) >>> 0
    this.count = Math.min((words[word + COUNT] as number) >>> 0, MAX_ADDRESSES)
    this.nameLength = (words[word + NAME_LENGTH] as number) & 0xff
    this.nameOffset = this.slot * SLOT_BYTES + NAME_AT
    this.addressesOffset = this.slot * SLOT_BYTES + ADDRESSES_AT
    Atomics.store(header, REQUEST_HEAD, (head + 1) | 0)
    return true
  }

  /** Gives the slot back with its status, in the order of `next`. The caller wakes the client once a batch. */
  complete(slot: number, status: number): void {
    const { header, words, done, slots } = this.#layout
    words[(slot * SLOT_BYTES) / 4 + STATUS] = status
    const tail = Atomics.load(header, DONE_TAIL)
    done[(tail >>> 0) % slots] = slot
    Atomics.store(header, DONE_TAIL, (tail + 1) | 0)
  }

  /**
   * A ledger that takes the place of a dead one: requests that the dead one had taken and not completed are
   * completed with `status`. Requests are completed in the order they are taken, so these are the last ones taken.
   */
  recover(status: number): number {
    const { header, requests, slots } = this.#layout
    const head = Atomics.load(header, REQUEST_HEAD)
    let n = 0
    for (let at = Atomics.load(header, DONE_TAIL); at !== head; at = (at + 1) | 0) {
      this.complete(requests[(at >>> 0) % slots] as number, status)
      n++
    }
    return n
  }

  /**
   * Empties both rings for a client that died; the thread that takes its place starts after this. Requests of
   * the dead are forgotten (their clients time out and ask again). Returns the new generation.
   */
  reset(): number {
    const { header } = this.#layout
    Atomics.store(header, REQUEST_HEAD, 0)
    Atomics.store(header, REQUEST_TAIL, 0)
    Atomics.store(header, DONE_HEAD, 0)
    Atomics.store(header, DONE_TAIL, 0)
    return Atomics.add(header, GENERATION, 1) + 1
  }
}

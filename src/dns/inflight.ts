import { MAX_QUESTION_BYTES } from './message/constants.ts'
import { LinkedLists } from './linked-lists.ts'

export const STATE_FREE = 0
/** Forwarded, the server has not answered. */
export const STATE_WAITING = 1
/** Answered, the answer waits for the map. */
export const STATE_PENDING = 2
/** To be answered SERVFAIL as soon as there is room in a batch. */
export const STATE_FAILED = 3

export const OPTION_HAD_OPT = 1
export const OPTION_DNSSEC_OK = 2

const QUESTION_STRIDE = 260
const NONE = -1

/**
 * Queries in flight: a slab of typed arrays with a free list, found by (upstream socket, upstream id) and, for
 * retransmissions, by (client address, port, id). All entries of a state have the same time to live, so a list in
 * order of arrival is the deadline wheel: the head expires first.
 */
export class InFlight {
  readonly capacity: number
  readonly state: Uint8Array
  /** Changes whenever an entry is used again, so that a late reference is seen to be stale. */
  readonly sequence: Uint32Array
  /** addr16 as four words in memory order; `clientBytes` is the same memory. */
  readonly client: Uint32Array
  readonly clientBytes: Uint8Array
  readonly server: Uint32Array
  readonly serverBytes: Uint8Array
  readonly clientPort: Uint16Array
  readonly serverPort: Uint16Array
  readonly family: Uint8Array
  readonly clientId: Uint16Array
  readonly upstreamId: Uint16Array
  readonly tag: Uint32Array
  /** The client's header flags (octets 2 and 3). */
  readonly flags: Uint16Array
  readonly options: Uint8Array
  /** The question as it was sent, from `questionAt(entry)` on. */
  readonly question: Uint8Array
  readonly questionLength: Uint16Array
  readonly endpointId: Uint16Array
  readonly generation: Uint32Array
  /** CLOCK_MONOTONIC ms: when the query came, when it was last forwarded, when its answer began to wait. */
  readonly startMs: Float64Array
  readonly sentMs: Float64Array
  readonly pendingMs: Float64Array
  /** EDE of the SERVFAIL, for STATE_FAILED. */
  readonly why: Uint8Array
  readonly slot: Int32Array
  /** How many queries an endpoint has in flight. */
  readonly byEndpoint = new Uint16Array(65536)
  used = 0

  readonly #mask: number
  readonly #free: Int32Array
  readonly #idHead: Int32Array
  readonly #idNext: Int32Array
  readonly #clientHead: Int32Array
  readonly #clientNext: Int32Array
  readonly #order: LinkedLists
  readonly #bySocket: LinkedLists

  /** `capacity` is rounded up to a power of two; tags are 0 to `tags` - 1. */
  constructor(capacity: number, tags: number) {
    const size = 2 ** Math.ceil(Math.log2(Math.max(2, capacity)))
    this.capacity = size
    this.#mask = size * 2 - 1
    this.state = new Uint8Array(size)
    this.sequence = new Uint32Array(size)
    this.client = new Uint32Array(size * 4)
    this.clientBytes = new Uint8Array(this.client.buffer)
    this.server = new Uint32Array(size * 4)
    this.serverBytes = new Uint8Array(this.server.buffer)
    this.clientPort = new Uint16Array(size)
    this.serverPort = new Uint16Array(size)
    this.family = new Uint8Array(size)
    this.clientId = new Uint16Array(size)
    this.upstreamId = new Uint16Array(size)
    this.tag = new Uint32Array(size)
    this.flags = new Uint16Array(size)
    this.options = new Uint8Array(size)
    this.question = new Uint8Array(size * QUESTION_STRIDE)
    this.questionLength = new Uint16Array(size)
    this.endpointId = new Uint16Array(size)
    this.generation = new Uint32Array(size)
    this.startMs = new Float64Array(size)
    this.sentMs = new Float64Array(size)
    this.pendingMs = new Float64Array(size)
    this.why = new Uint8Array(size)
    this.slot = new Int32Array(size).fill(NONE)
    this.#free = Int32Array.from({ length: size }, (_, i) => size - 1 - i)
    this.#idHead = new Int32Array(size * 2).fill(NONE)
    this.#idNext = new Int32Array(size).fill(NONE)
    this.#clientHead = new Int32Array(size * 2).fill(NONE)
    this.#clientNext = new Int32Array(size).fill(NONE)
    this.#order = new LinkedLists(size, STATE_FAILED + 1)
    this.#bySocket = new LinkedLists(size, tags)
  }

  questionAt(entry: number): number {
    return entry * QUESTION_STRIDE
  }

  /** Oldest entry of a state, -1 when there is none. */
  oldest(state: number): number {
    return this.#order.head(state)
  }

  /** Oldest entry that waits on the socket, -1 when there is none. */
  oldestOf(tag: number): number {
    return this.#bySocket.head(tag)
  }

  /** A free entry, not yet linked; -1 when all are in use. */
  allocate(): number {
    if (this.used === this.capacity) return NONE
    const entry = this.#free[this.capacity - 1 - this.used]!
    this.used++
    return entry
  }

  /** Copies the question of the message: `length` octets at `at`. */
  setQuestion(entry: number, message: Uint8Array, at: number, length: number): void {
    if (length > MAX_QUESTION_BYTES) throw new RangeError('question too long')
    const to = entry * QUESTION_STRIDE
    for (let i = 0; i < length; i++) this.question[to + i] = message[at + i]!
    this.questionLength[entry] = length
  }

  /** Puts an entry whose client, id and tag fields are filled into the tables: from now on it waits for the server. */
  link(entry: number): void {
    this.state[entry] = STATE_WAITING
    this.#order.push(STATE_WAITING, entry)
    this.#bySocket.push(this.tag[entry]!, entry)
    const byId = this.#idBucket(this.tag[entry]!, this.upstreamId[entry]!)
    this.#idNext[entry] = this.#idHead[byId]!
    this.#idHead[byId] = entry
    const byClient = this.#clientBucket(this.client[entry * 4 + 3]!, this.clientPort[entry]!, this.clientId[entry]!)
    this.#clientNext[entry] = this.#clientHead[byClient]!
    this.#clientHead[byClient] = entry
    this.byEndpoint[this.endpointId[entry]!]! += 1
  }

  /** The entry that waits for this id on this socket, -1 when none does. */
  find(tag: number, upstreamId: number): number {
    let entry = this.#idHead[this.#idBucket(tag, upstreamId)]!
    while (entry !== NONE && (this.upstreamId[entry] !== upstreamId || this.tag[entry] !== tag)) {
      entry = this.#idNext[entry]!
    }
    return entry
  }

  /**
   * The entry of the very same query: client address and port, server address and port, id and question. Addresses
   * are four words each at `clientAt` and `serverAt` of `words`.
   */
  findSame(
    words: Uint32Array,
    clientAt: number,
    clientPort: number,
    serverAt: number,
    serverPort: number,
    clientId: number,
    message: Uint8Array,
    questionAt: number,
    questionLength: number,
  ): number {
    let entry = this.#clientHead[this.#clientBucket(words[clientAt + 3]!, clientPort, clientId)]!
    for (; entry !== NONE; entry = this.#clientNext[entry]!) {
      if (this.clientId[entry] !== clientId || this.clientPort[entry] !== clientPort) continue
      if (this.serverPort[entry] !== serverPort || this.questionLength[entry] !== questionLength) continue
      if (!this.#sameWords(this.client, entry, words, clientAt)) continue
      if (!this.#sameWords(this.server, entry, words, serverAt)) continue
      const at = entry * QUESTION_STRIDE
      let i = 0
      while (i < questionLength && this.question[at + i] === message[questionAt + i]) i++
      if (i === questionLength) return entry
    }
    return NONE
  }

  /** Takes the entry off its socket: no answer finds it any more. It goes on to `state`. */
  move(entry: number, state: number): void {
    const from = this.state[entry]!
    if (from === STATE_WAITING) this.#unlinkId(entry)
    this.#order.remove(from, entry)
    this.#order.push(state, entry)
    this.state[entry] = state
  }

  free(entry: number): void {
    const state = this.state[entry]!
    if (state === STATE_WAITING) this.#unlinkId(entry)
    if (state !== STATE_FREE) {
      this.#order.remove(state, entry)
      this.#unlinkClient(entry)
      this.byEndpoint[this.endpointId[entry]!]! -= 1
    }
    this.state[entry] = STATE_FREE
    this.sequence[entry]! += 1
    this.slot[entry] = NONE
    this.used--
    this.#free[this.capacity - 1 - this.used] = entry
  }

  #sameWords(table: Uint32Array, entry: number, words: Uint32Array, at: number): boolean {
    const base = entry * 4
    return (
      table[base] === words[at] &&
      table[base + 1] === words[at + 1] &&
      table[base + 2] === words[at + 2] &&
      table[base + 3] === words[at + 3]
    )
  }

  #idBucket(tag: number, upstreamId: number): number {
    return (upstreamId ^ Math.imul(tag, 0x9e3779b1)) & this.#mask
  }

  #clientBucket(lastWord: number, port: number, id: number): number {
    return (lastWord ^ (lastWord >>> 16) ^ Math.imul(port, 0x9e3779b1) ^ id) & this.#mask
  }

  #unlinkId(entry: number): void {
    this.#bySocket.remove(this.tag[entry]!, entry)
    const bucket = this.#idBucket(this.tag[entry]!, this.upstreamId[entry]!)
    let at = this.#idHead[bucket]!
    if (at === entry) {
      this.#idHead[bucket] = this.#idNext[entry]!
      return
    }
    while (this.#idNext[at] !== entry) at = this.#idNext[at]!
    this.#idNext[at] = this.#idNext[entry]!
  }

  #unlinkClient(entry: number): void {
    const bucket = this.#clientBucket(this.client[entry * 4 + 3]!, this.clientPort[entry]!, this.clientId[entry]!)
    let at = this.#clientHead[bucket]!
    if (at === entry) {
      this.#clientHead[bucket] = this.#clientNext[entry]!
      return
    }
    while (this.#clientNext[at] !== entry) at = this.#clientNext[at]!
    this.#clientNext[at] = this.#clientNext[entry]!
  }
}

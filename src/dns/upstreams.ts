import type { RandomPool } from './random-pool.ts'
import type { UpstreamSockets } from './ports.ts'
import { LinkedLists } from './linked-lists.ts'

/** Sockets a server; 1, 16 and 64 cost the same at low rates, 64 cost 8 % more at saturation. */
const POSITIONS = 16
/** A position has two places: the socket in use and the one before it, which drains. */
const PLACES = POSITIONS * 2
const SERVERS = 256
export const MAX_SERVERS = SERVERS
/** So many servers' places are kept free by closing those that were idle longest. */
const SPARE_SERVERS = 4
/** A socket, and with it its port, lasts for this many queries and up to twice as many. */
const USES = 2048
/** And for so long, ms: see `sweep`. One open a position and second is nothing beside what is asked of a busy server. */
const LIFE_MS = 1000
const BUCKETS = 512
const CLOSED = -1

/** Tags 0 to UPSTREAM_TAGS - 1 are upstream sockets. */
export const UPSTREAM_TAGS = SERVERS * PLACES
export const ACQUIRE_NO_SERVER = -1
export const ACQUIRE_NO_SOCKET = -2
export const ACQUIRE_NO_SHARE = -3

/**
 * Connected UDP sockets to the servers that are asked: up to 16 a server, opened when first drawn, drawn at random
 * for each query and renewed at random, so that neither id nor port of a query can be foretold (RFC 5452 section 9.2).
 * Sockets are closed only in `sweep`, so a tag never changes its socket within a turn.
 */
export class Upstreams {
  /** Sockets open now. */
  open = 0
  /** How often a socket could not be opened. */
  openErrors = 0

  readonly #sockets: UpstreamSockets
  readonly #random: RandomPool
  readonly #fds = new Int32Array(UPSTREAM_TAGS).fill(CLOSED)
  readonly #waiting = new Uint32Array(UPSTREAM_TAGS)
  readonly #usesLeft = new Int32Array(SERVERS * POSITIONS)
  readonly #active = new Uint8Array(SERVERS * POSITIONS)
  readonly #address = new Uint32Array(SERVERS * 4)
  readonly #addressBytes = new Uint8Array(this.#address.buffer)
  readonly #port = new Uint16Array(SERVERS)
  readonly #serverWaiting = new Uint32Array(SERVERS)
  readonly #head = new Int32Array(BUCKETS).fill(-1)
  readonly #next = new Int32Array(SERVERS).fill(-1)
  readonly #recent = new LinkedLists(SERVERS, 1)
  readonly #free = Int32Array.from({ length: SERVERS }, (_, i) => SERVERS - 1 - i)
  #freeCount = SERVERS
  /** Endpoint that asked a server first, and how many each has: none can keep all places. */
  readonly #owner = new Uint16Array(SERVERS)
  readonly #owned = new Uint16Array(65536)
  readonly #share: number
  /** An endpoint whose share is nearly used up, -1 none. */
  #crowded = -1
  #last = -1
  #agedAt = -1
  readonly #draining = new Uint32Array(UPSTREAM_TAGS)
  #drainingCount = 0
  readonly #address4 = new Uint8Array(4)
  readonly #address6 = new Uint8Array(16)

  /** `share`: servers of one endpoint. */
  constructor(sockets: UpstreamSockets, random: RandomPool, share = SERVERS) {
    this.#share = share
    this.#sockets = sockets
    this.#random = random
  }

  /**
   * Tag of a socket connected to the server (addr16 as four words at `at`, family 4 or 6), or ACQUIRE_NO_SERVER when
   * all places for servers are in use, ACQUIRE_NO_SHARE when those of the endpoint are, ACQUIRE_NO_SOCKET when none could
   * be opened.
   */
  acquire(words: Uint32Array, at: number, port: number, family: number, endpointId: number): number {
    const server = this.#serverOf(words, at, port, endpointId)
    if (server < 0) return server
    if (this.#last !== server) {
      this.#recent.remove(0, server)
      this.#recent.push(0, server)
      this.#last = server
    }
    const position = server * POSITIONS + (this.#random.next() & (POSITIONS - 1))
    const tag = position * 2 + this.#active[position]!
    if (this.#fds[tag] === CLOSED) return this.#openAt(tag, server, family) ? tag : this.#anyOpen(server)
    if (this.#usesLeft[position]! <= 0 && this.#fds[tag ^ 1] === CLOSED) {
      if (!this.#openAt(tag ^ 1, server, family)) return tag
      this.#active[position]! ^= 1
      this.#draining[this.#drainingCount++] = tag
      return tag ^ 1
    }
    return tag
  }

  /** A query was handed to the socket. */
  asked(tag: number): void {
    this.#waiting[tag]! += 1
    this.#serverWaiting[(tag / PLACES) | 0]! += 1
    this.#usesLeft[tag >> 1]! -= 1
  }

  /** The query waits no more. */
  settled(tag: number): void {
    this.#waiting[tag]! -= 1
    this.#serverWaiting[(tag / PLACES) | 0]! -= 1
  }

  isOpen(tag: number): boolean {
    return this.#fds[tag] !== CLOSED
  }

  /**
   * End of a turn: closes sockets that have drained, and idle servers while places are short. `now`: monotonic, ms.
   *
   * A connected socket keeps the source that its route had when it was opened. When the way to the server changes (its node
   * is reached through a tunnel from now on, ours has another address) nothing that it sends arrives any more, and nobody is
   * told: so each is renewed when it is next drawn after about a second.
   */
  sweep(now: number): void {
    if (this.#agedAt < 0) this.#agedAt = now
    else if (now - this.#agedAt >= LIFE_MS) {
      this.#agedAt = now
      this.#usesLeft.fill(0)
    }
    let kept = 0
    for (let i = 0; i < this.#drainingCount; i++) {
      const tag = this.#draining[i]!
      if (this.#fds[tag] === CLOSED) continue
      if (this.#waiting[tag] === 0) this.#closeAt(tag)
      else this.#draining[kept++] = tag
    }
    this.#drainingCount = kept
    if (this.#freeCount < SPARE_SERVERS) this.#evict(-1)
    else if (this.#crowded >= 0) this.#evict(this.#crowded)
    this.#crowded = -1
  }

  closeAll(): void {
    for (let tag = 0; tag < UPSTREAM_TAGS; tag++) if (this.#fds[tag] !== CLOSED) this.#closeAt(tag)
    this.#drainingCount = 0
  }

  #serverOf(words: Uint32Array, at: number, port: number, endpointId: number): number {
    const bucket = bucketOf(words[at + 2]! ^ words[at]!, words[at + 3]!, port)
    for (let server = this.#head[bucket]!; server >= 0; server = this.#next[server]!) {
      const base = server * 4
      if (
        this.#address[base] === words[at] &&
        this.#address[base + 1] === words[at + 1] &&
        this.#address[base + 2] === words[at + 2] &&
        this.#address[base + 3] === words[at + 3] &&
        this.#port[server] === port
      ) {
        return server
      }
    }
    if (this.#freeCount === 0) return ACQUIRE_NO_SERVER
    if (this.#owned[endpointId]! + SPARE_SERVERS >= this.#share) this.#crowded = endpointId
    if (this.#owned[endpointId]! >= this.#share) return ACQUIRE_NO_SHARE
    this.#owned[endpointId]! += 1
    const server = this.#free[--this.#freeCount]!
    for (let i = 0; i < 4; i++) this.#address[server * 4 + i] = words[at + i]!
    this.#port[server] = port
    this.#owner[server] = endpointId
    this.#next[server] = this.#head[bucket]!
    this.#head[bucket] = server
    this.#recent.push(0, server)
    return server
  }

  #openAt(tag: number, server: number, family: number): boolean {
    const address = family === 4 ? this.#address4 : this.#address6
    const from = server * 16 + 16 - address.length
    for (let i = 0; i < address.length; i++) address[i] = this.#addressBytes[from + i]!
    try {
      const fd = this.#sockets.open(address, this.#port[server]!)
      try {
        this.#sockets.add(fd, tag)
      } catch (error) {
        this.#sockets.close(fd)
        throw error
      }
      this.#fds[tag] = fd
    } catch {
      this.openErrors++
      return false
    }
    this.#usesLeft[tag >> 1] = USES + (this.#random.next() & (USES - 1))
    this.open++
    return true
  }

  /** No new socket could be had: one that is open will do. */
  #anyOpen(server: number): number {
    const start = this.#random.next()
    for (let i = 0; i < POSITIONS; i++) {
      const position = server * POSITIONS + ((start + i) & (POSITIONS - 1))
      const tag = position * 2 + this.#active[position]!
      if (this.#fds[tag] !== CLOSED) return tag
    }
    return ACQUIRE_NO_SOCKET
  }

  #closeAt(tag: number): void {
    const fd = this.#fds[tag]!
    this.#fds[tag] = CLOSED
    this.open--
    this.#sockets.remove(tag)
    this.#sockets.close(fd)
  }

  /** Frees the place of the server that was asked longest ago and waits for nothing; of one endpoint's, or -1 of all. */
  #evict(endpointId: number): void {
    let server = this.#recent.head(0)
    while (server >= 0 && !this.#idle(server, endpointId)) server = this.#recent.next(server)
    if (server < 0) return
    this.#owned[this.#owner[server]!]! -= 1
    for (let tag = server * PLACES; tag < (server + 1) * PLACES; tag++) {
      if (this.#fds[tag] !== CLOSED) this.#closeAt(tag)
    }
    this.#recent.remove(0, server)
    if (this.#last === server) this.#last = -1
    const base = server * 4
    const bucket = bucketOf(
      this.#address[base + 2]! ^ this.#address[base]!,
      this.#address[base + 3]!,
      this.#port[server]!,
    )
    if (this.#head[bucket] === server) this.#head[bucket] = this.#next[server]!
    else {
      let at = this.#head[bucket]!
      while (this.#next[at] !== server) at = this.#next[at]!
      this.#next[at] = this.#next[server]!
    }
    this.#free[this.#freeCount++] = server
  }

  #idle(server: number, endpointId: number): boolean {
    return this.#serverWaiting[server] === 0 && (endpointId < 0 || this.#owner[server] === endpointId)
  }
}

function bucketOf(high: number, low: number, port: number): number {
  const mixed = Math.imul(high ^ low ^ port, 0x9e3779b1)
  return (mixed >>> 16) & (BUCKETS - 1)
}

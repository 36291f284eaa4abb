import type { Socket } from 'node:net'
import { writeId } from './message/reply.ts'
import type { RandomPool } from './random-pool.ts'
import { frame, FrameReader } from './tcp-frames.ts'
import type { TcpQuery } from './tcp-ports.ts'

const ID_ATTEMPTS = 32

export interface TcpUpstreamEvents {
  /** A message with the id of a query in flight. False: it does not answer that query, which goes on waiting. */
  answer(query: TcpQuery, message: Uint8Array): boolean
  unknown(message: Uint8Array): void
  /** The connection is over; these were not answered. */
  closed(unanswered: readonly TcpQuery[], failed: boolean): void
}

/** One TCP connection to a server, for one client connection and no longer than it. */
export class TcpUpstream {
  readonly #socket: Socket
  readonly #random: RandomPool
  readonly #events: TcpUpstreamEvents
  readonly #frames = new FrameReader()
  /** In order of asking, so the first times out first. */
  readonly #waiting = new Map<number, TcpQuery>()
  #failed = false
  #over = false

  constructor(socket: Socket, random: RandomPool, events: TcpUpstreamEvents) {
    this.#socket = socket
    this.#random = random
    this.#events = events
    socket.setNoDelay(true)
    socket.on('data', (chunk: Uint8Array) => this.#onData(chunk))
    socket.on('error', () => (this.#failed = true))
    // The server ends its side: what is not answered by now never will be.
    socket.on('end', () => this.#finish())
    socket.on('close', () => this.#finish())
  }

  /** Still connecting, and nobody is left who waits for it. */
  get stuck(): boolean {
    return this.#waiting.size === 0 && this.#socket.connecting
  }

  /** Sends the client's own bytes with an id of this connection. False when none could be found. */
  ask(query: TcpQuery, message: Uint8Array): boolean {
    for (let i = 0; i < ID_ATTEMPTS; i++) {
      const id = this.#random.next()
      if (this.#waiting.has(id)) continue
      const bytes = frame(message)
      writeId(bytes, 2, id)
      this.#waiting.set(id, query)
      this.#socket.write(bytes)
      return true
    }
    return false
  }

  /** Queries asked before `before` (ms) are given up; each is handed to `expired`. */
  expire(before: number, expired: (query: TcpQuery) => void): void {
    for (const [id, query] of this.#waiting) {
      if (query.startMs > before) return
      this.#waiting.delete(id)
      expired(query)
    }
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  /** Closes without telling: the client is gone. */
  drop(): void {
    this.#over = true
    this.#waiting.clear()
    this.#socket.destroy()
  }

  #onData(chunk: Uint8Array): void {
    this.#frames.push(chunk)
    for (let message; !this.#over && (message = this.#frames.next()) !== undefined;) {
      const id = message.length < 2 ? -1 : (message[0]! << 8) | message[1]!
      const query = this.#waiting.get(id)
      if (query === undefined) this.#events.unknown(message)
      else if (this.#events.answer(query, message)) this.#waiting.delete(id)
    }
  }

  #finish(): void {
    if (this.#over) return
    this.#over = true
    const unanswered = [...this.#waiting.values()]
    this.#waiting.clear()
    this.#socket.destroy()
    this.#events.closed(unanswered, this.#failed)
  }
}

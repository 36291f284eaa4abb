import type { Socket } from 'node:net'
import * as C from './counters.ts'
import {
  EDE_NETWORK_ERROR,
  EDE_NO_REACHABLE_AUTHORITY,
  HEADER_BYTES,
  MAX_OWN_REPLY_BYTES,
  RCODE_SERVFAIL,
} from './message/constants.ts'
import { REASON } from './message/reasons.ts'
import { writeId, writeReply } from './message/reply.ts'
import { frame, FrameReader } from './tcp-frames.ts'
import type { RandomPool } from './random-pool.ts'
import type { TcpGateConfig, TcpQuery } from './tcp-ports.ts'
import { TcpUpstream } from './tcp-upstream.ts'

/** Queries of one connection in flight; the client's next ones wait in its socket. */
const MAX_PIPELINED = 64
/** Octets of answers the client has not taken, beyond which nothing more is read for it. */
const HIGH_WATER = 256 * 1024
/** A message has to be whole after this, however slowly its octets come (ms). */
const PARTIAL_MS = 5000

/** Who speaks with whom, as the kernel says it: addr16 and ports. */
export interface TcpPeers {
  readonly client: Uint8Array
  readonly server: Uint8Array
  readonly serverPort: number
  readonly family: 4 | 6
}

/** What a session asks of the gate that owns it. */
export interface TcpSessionOwner {
  readonly config: TcpGateConfig
  readonly counters: C.Counters
  readonly random: RandomPool
  readonly now: () => number
  connect(peers: TcpPeers): Socket
  /** False: the stream cannot be trusted any more and has to be closed. */
  onQuery(session: TcpSession, message: Uint8Array): boolean
  /** False: the message does not answer the query. */
  onAnswer(session: TcpSession, query: TcpQuery, message: Uint8Array): boolean
  onSessionClosed(session: TcpSession, reason: number): void
  reject(reason: number): void
  overload(what: number): void
  countOwn(rcode: number): void
  countReply(rcode: number, startMs: number): void
}

/** One client connection: pipelined queries, answers in any order, one upstream connection (RFC 7766). */
export class TcpSession {
  readonly peers: TcpPeers
  readonly #gate: TcpSessionOwner
  readonly #socket: Socket
  readonly #frames = new FrameReader()
  #upstream: TcpUpstream | undefined
  #outstanding = 0
  #queries = 0
  #lastMs: number
  #partialMs = 0
  #stalledMs = 0
  /** The client has closed its half; what came before is still answered. */
  #inputEnded = false
  /** Nothing more is taken. */
  #noMore = false
  #working = false
  #reason = C.CONNECTION_CLIENT
  #closed = false

  constructor(gate: TcpSessionOwner, socket: Socket, peers: TcpPeers) {
    this.#gate = gate
    this.#socket = socket
    this.peers = peers
    this.#lastMs = gate.now()
    socket.setNoDelay(true)
    socket.on('data', (chunk: Uint8Array) => this.#onData(chunk))
    socket.on('end', () => {
      this.#inputEnded = true
      this.#endWhenDone()
    })
    socket.on('drain', () => {
      this.#stalledMs = 0
      this.#upstream?.resume()
      this.#work()
    })
    socket.on('error', () => (this.#reason = C.CONNECTION_ERROR))
    socket.on('close', () => this.#onClose())
  }

  get outstanding(): number {
    return this.#outstanding
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Takes no further query; the connection ends when the last answer is out. */
  finish(reason: number): void {
    if (this.#noMore) return
    this.#noMore = true
    this.#reason = reason
    this.#socket.pause()
    this.#endWhenDone()
  }

  abort(reason: number): void {
    if (this.#closed) return
    this.#reason = reason
    this.#socket.destroy()
  }

  /** Looks at the deadlines. */
  tick(nowMs: number): void {
    const { idleTimeoutMs, upstreamTimeoutMs } = this.#gate.config
    this.#upstream?.expire(nowMs - upstreamTimeoutMs, (query) => {
      this.#gate.counters.add(C.C_UPSTREAM + C.UPSTREAM_EVENTS.length + C.UPSTREAM_TIMEOUT, 1)
      this.fail(query, EDE_NO_REACHABLE_AUTHORITY)
    })
    if (this.#upstream?.stuck === true) {
      this.#upstream.drop()
      this.#upstream = undefined
    }
    if (this.#socket.writableLength === 0) this.#stalledMs = 0
    else if (this.#stalledMs === 0) this.#stalledMs = nowMs
    if (this.#stalledMs !== 0 && nowMs - this.#stalledMs > idleTimeoutMs) this.abort(C.CONNECTION_STALLED)
    else if (this.#partialMs !== 0 && nowMs - this.#partialMs > Math.min(PARTIAL_MS, idleTimeoutMs)) {
      this.abort(C.CONNECTION_SLOW)
    } else if (this.#outstanding === 0 && nowMs - this.#lastMs > idleTimeoutMs) {
      this.#reason = C.CONNECTION_IDLE
      this.#socket.destroySoon()
    }
  }

  /** The client's own bytes to the server, over this connection's connection. */
  forward(query: TcpQuery, message: Uint8Array): void {
    this.#outstanding++
    try {
      this.#upstream ??= new TcpUpstream(this.#gate.connect(this.peers), this.#gate.random, {
        answer: (asked, answer) => this.#onAnswer(asked, answer),
        unknown: () => this.#gate.reject(REASON.answer_unknown_id),
        closed: (unanswered, failed) => this.#onUpstreamClosed(unanswered, failed),
      })
    } catch {
      this.#gate.counters.add(C.C_UPSTREAM + C.UPSTREAM_EVENTS.length + C.UPSTREAM_OPEN_ERROR, 1)
      this.fail(query, EDE_NETWORK_ERROR)
      return
    }
    if (!this.#upstream.ask(query, message)) {
      this.#gate.overload(C.OVERLOAD_IDS)
      this.fail(query, EDE_NETWORK_ERROR)
    }
  }

  /** The server's own bytes with the client's id, in answer to a query that was forwarded. */
  pass(query: TcpQuery, message: Uint8Array): void {
    const bytes = frame(message)
    writeId(bytes, 2, query.clientId)
    this.#gate.countReply(message[3]! & 0x0f, query.startMs)
    this.#settle(bytes)
  }

  /** SERVFAIL in answer to a query that was forwarded. */
  fail(query: TcpQuery, ede: number): void {
    this.answerOwn(query, RCODE_SERVFAIL, ede)
  }

  /** A reply of our own to a query that was forwarded. */
  answerOwn(query: TcpQuery, rcode: number, ede: number): void {
    this.#gate.countOwn(rcode)
    this.#settle(ownReply(query.clientId, query.flags, query.question, rcode, query.hadOpt, query.dnssecOk, ede))
  }

  /** A reply of our own to a query that goes no further. */
  refuse(
    id: number,
    flags: number,
    question: Uint8Array,
    rcode: number,
    withOpt: boolean,
    dnssecOk: boolean,
    ede: number,
  ): void {
    this.#gate.countOwn(rcode)
    this.#write(ownReply(id, flags, question, rcode, withOpt, dnssecOk, ede))
  }

  #onData(chunk: Uint8Array): void {
    if (this.#noMore || this.#closed) return
    this.#frames.push(chunk)
    this.#work()
  }

  /** Takes messages while there is room for them. Not re-entered: a failure answers within the call that made it. */
  #work(): void {
    if (this.#working) return
    this.#working = true
    const took = this.#takeMessages()
    this.#working = false
    const now = this.#gate.now()
    if (took) this.#lastMs = now
    if (this.#closed) return
    if (this.#noMore || this.#inputEnded) {
      this.#endWhenDone()
      return
    }
    if (this.#full()) {
      // Whole messages wait here; they are not slow.
      this.#partialMs = 0
      this.#socket.pause()
      return
    }
    if (!this.#frames.partial) this.#partialMs = 0
    else if (took || this.#partialMs === 0) this.#partialMs = now
    this.#socket.resume()
  }

  #takeMessages(): boolean {
    const limit = this.#gate.config.maxQueriesPerConnection
    let took = false
    while (!this.#noMore && !this.#closed && !this.#full()) {
      const message = this.#frames.next()
      if (message === undefined) break
      took = true
      this.#queries++
      if (!this.#judge(message)) {
        this.#noMore = true
        this.abort(C.CONNECTION_ERROR)
      } else if (limit > 0 && this.#queries >= limit) {
        this.#noMore = true
        this.#reason = C.CONNECTION_QUERIES
        this.#socket.pause()
      }
    }
    return took
  }

  #judge(message: Uint8Array): boolean {
    try {
      return this.#gate.onQuery(this, message)
    } catch {
      this.#gate.reject(REASON.exception)
      return false
    }
  }

  #onAnswer(query: TcpQuery, message: Uint8Array): boolean {
    try {
      return this.#gate.onAnswer(this, query, message)
    } catch {
      this.#gate.reject(REASON.exception)
      return false
    }
  }

  #full(): boolean {
    return this.#outstanding >= MAX_PIPELINED || this.#socket.writableLength > HIGH_WATER
  }

  #onUpstreamClosed(unanswered: readonly TcpQuery[], failed: boolean): void {
    this.#upstream = undefined
    if (failed) this.#gate.counters.add(C.C_UPSTREAM + C.UPSTREAM_EVENTS.length + C.UPSTREAM_SOCKET_ERROR, 1)
    for (const query of unanswered) this.fail(query, EDE_NETWORK_ERROR)
  }

  #settle(bytes: Uint8Array): void {
    this.#outstanding--
    if (this.#closed) return
    this.#write(bytes)
    this.#lastMs = this.#gate.now()
    this.#work()
  }

  #write(bytes: Uint8Array): void {
    if (this.#closed || this.#socket.writableEnded) return
    this.#socket.write(bytes)
    if (this.#socket.writableLength > HIGH_WATER) this.#upstream?.pause()
  }

  #endWhenDone(): void {
    if (this.#outstanding > 0 || this.#working) return
    if (this.#noMore) this.#socket.destroySoon()
    else if (this.#inputEnded) this.#socket.end()
  }

  #onClose(): void {
    if (this.#closed) return
    this.#closed = true
    this.#upstream?.drop()
    this.#upstream = undefined
    this.#gate.onSessionClosed(this, this.#reason)
  }
}

/** A framed reply of our own. */
function ownReply(
  id: number,
  flags: number,
  question: Uint8Array,
  rcode: number,
  withOpt: boolean,
  dnssecOk: boolean,
  ede: number,
): Uint8Array {
  const bytes = new Uint8Array(2 + MAX_OWN_REPLY_BYTES)
  writeId(bytes, 2, id)
  bytes[4] = flags >> 8
  bytes[5] = flags & 0xff
  bytes.set(question, 2 + HEADER_BYTES)
  const end = question.length === 0 ? 0 : 2 + HEADER_BYTES + question.length
  const size = writeReply(bytes, 2, end, rcode, false, withOpt, dnssecOk, ede)
  bytes[0] = size >> 8
  bytes[1] = size & 0xff
  return bytes.subarray(0, size + 2)
}

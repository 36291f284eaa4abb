import type { Socket } from 'node:net'
import { tryParseIp, writeAddr16 } from '../core/ip.ts'
import * as C from './counters.ts'
import { Denial } from './denial.ts'
import { GATE_RELEASE, mapBeforeAnswer } from './gate.ts'
import type { AnswerGate } from './gate.ts'
import { AnswerReader } from './message/answer.ts'
import {
  EDE_BLOCKED,
  EDE_INVALID_DATA,
  EDE_NONE,
  EDE_OTHER,
  EDE_PROHIBITED,
  HEADER_BYTES,
  RCODE_BADVERS,
  RCODE_FORMERR,
  RCODE_NOTIMP,
  RCODE_REFUSED,
} from './message/constants.ts'
import { QueryReader } from './message/query.ts'
import { REASON, REASON_NAMES } from './message/reasons.ts'
import { LEARNED, VERDICT_ALLOWED, VERDICT_DENIED } from './ports.ts'
import type { PolicyView } from './ports.ts'
import { RandomPool } from './random-pool.ts'
import type { TcpGateConfig, TcpGateDeps, TcpQuery } from './tcp-ports.ts'
import { TcpSession } from './tcp-session.ts'
import type { TcpPeers, TcpSessionOwner } from './tcp-session.ts'

const PROTOCOL_TCP = 6
/** 65535 octets hold no more A records than this: 16 octets each at least. */
const MAX_ADDRESSES = 4096
const NO_QUESTION = new Uint8Array(0)
const MAX_TICKETS = 2 ** 32

interface Held {
  readonly session: TcpSession
  readonly query: TcpQuery
  readonly message: Uint8Array
  readonly sinceMs: number
}

const at = (base: number, size: number, offset: number): number => base + C.TRANSPORT_TCP * size + offset

/**
 * DNS over TCP: the same order as on UDP (policy before forward, map before answer), on an ordinary event loop.
 * Everything hostile ends in a reply of our own or a closed connection.
 */
export class TcpGate implements TcpSessionOwner {
  readonly config: TcpGateConfig
  readonly counters: C.Counters
  readonly random: RandomPool
  readonly now: () => number
  readonly #deps: TcpGateDeps
  readonly #gate: AnswerGate
  readonly #denial: Denial
  readonly #query = new QueryReader()
  readonly #answer = new AnswerReader(MAX_ADDRESSES)
  readonly #sessions = new Set<TcpSession>()
  readonly #perEndpoint = new Map<number, number>()
  readonly #endpointOf = new WeakMap<TcpSession, number>()
  readonly #held = new Map<number, Held>()
  readonly #heldBy = new Map<number, number>()
  readonly #tickets = new Uint32Array(256)
  readonly #statuses = new Uint8Array(256)
  #ticket = 0
  #policy: PolicyView
  #stopping = false

  constructor(deps: TcpGateDeps, config: TcpGateConfig) {
    this.config = config
    this.counters = deps.counters
    this.random = new RandomPool(deps.random)
    this.now = deps.now
    this.#deps = deps
    this.#gate = deps.gate ?? mapBeforeAnswer
    this.#denial = new Denial(config.denyResponse, config.searchDomains)
    this.#policy = deps.policy
    this.setPolicy(deps.policy)
  }

  setPolicy(policy: PolicyView): void {
    this.#policy = policy
    this.counters.set(C.C_GAUGES + C.GAUGE_GENERATION, policy.generation)
  }

  get connections(): number {
    return this.#sessions.size
  }

  /** Nothing is open and nothing waits: no deadline to look at. */
  get idle(): boolean {
    return this.#sessions.size === 0 && this.#held.size === 0
  }

  /** A client connected; its local address is the server it means. */
  accept(socket: Socket): void {
    const peers = peersOf(socket)
    const endpoint = peers === undefined ? -1 : this.#policy.endpointByAddress(peers.client, 0)
    // All who are no endpoint share one allowance: they are only ever refused.
    const key = endpoint < 0 ? 0 : this.#policy.endpointId(endpoint)
    const open = this.#perEndpoint.get(key) ?? 0
    const { maxConnections, maxConnectionsPerEndpoint } = this.config
    if (peers === undefined || this.#stopping) {
      socket.destroy()
      return
    }
    if (this.#sessions.size >= maxConnections || open >= maxConnectionsPerEndpoint) {
      this.overload(C.OVERLOAD_CONNECTIONS)
      socket.on('error', () => {})
      socket.destroy()
      return
    }
    const session = new TcpSession(this, socket, peers)
    this.#sessions.add(session)
    this.#perEndpoint.set(key, open + 1)
    this.#endpointOf.set(session, key)
  }

  onSessionClosed(session: TcpSession, reason: number): void {
    if (!this.#sessions.delete(session)) return
    const key = this.#endpointOf.get(session) ?? 0
    const open = (this.#perEndpoint.get(key) ?? 1) - 1
    if (open === 0) this.#perEndpoint.delete(key)
    else this.#perEndpoint.set(key, open)
    this.counters.add(C.C_CONNECTION_ENDS + reason, 1)
  }

  connect(peers: TcpPeers): Socket {
    return this.#deps.connect(peers.server, peers.serverPort)
  }

  /** False: the stream cannot be trusted any more and has to be closed. */
  onQuery(session: TcpSession, message: Uint8Array): boolean {
    const query = this.#query
    const { peers } = session
    this.counters.add(at(C.C_QUERIES, C.FAMILIES.length, peers.family === 4 ? 0 : 1), 1)
    const reason = query.read(message, 0, message.length)
    if (reason === REASON.short) {
      this.reject(reason)
      return false
    }
    const question = query.questionEnd === 0 ? NO_QUESTION : message.slice(HEADER_BYTES, query.questionEnd)
    const refuse = (rcode: number, ede: number, opt = query.hasOpt): void =>
      session.refuse(query.id, query.flags, question, rcode, opt, query.dnssecOk, ede)
    if (reason !== REASON.ok) {
      this.reject(reason)
      if (reason === REASON.response) return true
      if (reason === REASON.edns_version) refuse(RCODE_BADVERS, EDE_NONE)
      else refuse(reason === REASON.opcode ? RCODE_NOTIMP : RCODE_FORMERR, EDE_NONE, false)
      return true
    }
    const policy = this.#policy
    const { client, server, serverPort } = peers
    const endpoint = policy.endpointByAddress(client, 0)
    if (endpoint < 0) {
      this.#verdict(C.VERDICT_COUNT_ENDPOINT)
      refuse(RCODE_REFUSED, EDE_PROHIBITED)
      return true
    }
    const { name, nameLength } = query
    const verdict = policy.verdict(endpoint, server, 0, PROTOCOL_TCP, serverPort, name, 0)
    if (verdict === VERDICT_DENIED) {
      this.#verdict(C.VERDICT_COUNT_NAME)
      refuse(this.#denial.rcode(policy, endpoint, server, 0, PROTOCOL_TCP, serverPort, name, nameLength), EDE_BLOCKED)
      return true
    }
    if (verdict !== VERDICT_ALLOWED) {
      this.#verdict(C.VERDICT_COUNT_SERVER)
      refuse(RCODE_REFUSED, EDE_PROHIBITED)
      return true
    }
    this.#verdict(C.VERDICT_COUNT_ALLOWED)
    session.forward(
      {
        clientId: query.id,
        flags: query.flags,
        hadOpt: query.hasOpt,
        dnssecOk: query.dnssecOk,
        question,
        endpointId: policy.endpointId(endpoint),
        generation: policy.generation,
        startMs: this.now(),
      },
      message,
    )
    return true
  }

  /** A message with the id of `query`. False when it does not answer it. */
  onAnswer(session: TcpSession, query: TcpQuery, message: Uint8Array): boolean {
    const answer = this.#answer
    const { question } = query
    const match = answer.match(message, 0, message.length, question, 0, question.length)
    if (match !== REASON.ok) {
      this.reject(match)
      return false
    }
    const reason = answer.read(message, 0, message.length, question.length)
    if (reason !== REASON.ok) {
      this.reject(reason)
      session.fail(query, EDE_INVALID_DATA)
      return true
    }
    if (answer.strayed > 0) this.counters.add(C.C_SINGLES + C.SINGLE_STRAYED, answer.strayed)
    if (answer.unlearnable > 0) this.counters.add(C.C_SINGLES + C.SINGLE_UNLEARNABLE, answer.unlearnable)
    if (query.generation !== this.#policy.generation && !this.#stillAllowed(session, query)) {
      this.counters.add(C.C_SINGLES + C.SINGLE_POLICY_CHANGED, 1)
      session.answerOwn(query, RCODE_REFUSED, EDE_BLOCKED)
      return true
    }
    if (answer.count === 0) {
      this.#learnPath(C.LEARN_NONE)
      session.pass(query, message)
      return true
    }
    const { name, nameLength, addresses, count, ttl } = answer
    const now = this.now()
    if (
      this.#gate(this.#deps.learner, query.endpointId, name, nameLength, addresses, count, ttl, now) === GATE_RELEASE
    ) {
      this.#learnPath(C.LEARN_FAST)
      session.pass(query, message)
      return true
    }
    this.#learnPath(C.LEARN_SLOW)
    this.#hold(session, query, message)
    return true
  }

  /** Drains what the ledger has finished. */
  completed(): void {
    for (;;) {
      const done = this.#deps.learner.completed(this.#tickets, this.#statuses)
      for (let i = 0; i < done; i++) {
        const ticket = this.#tickets[i]!
        const held = this.#held.get(ticket)
        if (held === undefined) {
          this.#learnResult(C.LEARN_LATE)
          continue
        }
        this.#release(ticket, held)
        const status = this.#statuses[i]!
        this.#learnResult(Math.min(status, 2))
        const waited = C.microseconds(this.now() - held.sinceMs)
        this.counters.observe(C.C_MAP_WAIT_SECONDS, C.MAP_WAIT_BUCKETS, waited)
        if (status === LEARNED) held.session.pass(held.query, held.message)
        else held.session.fail(held.query, EDE_OTHER)
      }
      if (done < this.#tickets.length) return
    }
  }

  /** Deadlines; to be called a few times a second while not `idle`. */
  tick(): void {
    this.completed()
    const now = this.now()
    for (const [ticket, held] of this.#held) {
      if (now - held.sinceMs < this.config.ledgerTimeoutMs) break
      this.#release(ticket, held)
      this.#learnResult(C.LEARN_TIMEOUT)
      held.session.fail(held.query, EDE_OTHER)
    }
    for (const session of this.#sessions) session.tick(now)
    this.#gauges()
  }

  /** Takes no query any more; connections end with their last answer. */
  finish(): void {
    this.#stopping = true
    for (const session of this.#sessions) session.finish(C.CONNECTION_STOP)
  }

  abort(): void {
    for (const session of this.#sessions) session.abort(C.CONNECTION_STOP)
  }

  reject(reason: number): void {
    this.counters.add(at(C.C_REJECTS, REASON_NAMES.length, reason), 1)
  }

  overload(what: number): void {
    this.counters.add(at(C.C_OVERLOAD, C.OVERLOADS.length, what), 1)
  }

  countOwn(rcode: number): void {
    const offset = C.rcodeClass(rcode)
    this.counters.add(at(C.C_REPLIES, C.RCODES.length, offset), 1)
    this.counters.add(at(C.C_OWN_REPLIES, C.RCODES.length, offset), 1)
  }

  countReply(rcode: number, startMs: number): void {
    this.counters.add(at(C.C_REPLIES, C.RCODES.length, C.rcodeClass(rcode)), 1)
    this.counters.observe(C.C_QUERY_SECONDS, C.QUERY_BUCKETS, C.microseconds(this.now() - startMs))
  }

  #hold(session: TcpSession, query: TcpQuery, message: Uint8Array): void {
    const { name, nameLength, addresses, count, ttl } = this.#answer
    const own = this.#heldBy.get(query.endpointId) ?? 0
    const full = this.#held.size >= this.config.maxPending
    if (full || own >= this.config.maxPendingPerEndpoint) {
      this.overload(full ? C.OVERLOAD_PENDING : C.OVERLOAD_ENDPOINT)
      session.fail(query, EDE_OTHER)
      return
    }
    this.#ticket = (this.#ticket + 1) % MAX_TICKETS
    const ticket = this.#ticket
    if (!this.#deps.learner.submit(ticket, query.endpointId, name, 0, nameLength, addresses, count, ttl)) {
      this.overload(C.OVERLOAD_LEDGER)
      session.fail(query, EDE_OTHER)
      return
    }
    this.#held.set(ticket, { session, query, message, sinceMs: this.now() })
    this.#heldBy.set(query.endpointId, own + 1)
  }

  #release(ticket: number, { query }: Held): void {
    this.#held.delete(ticket)
    const left = (this.#heldBy.get(query.endpointId) ?? 1) - 1
    if (left === 0) this.#heldBy.delete(query.endpointId)
    else this.#heldBy.set(query.endpointId, left)
  }

  #stillAllowed(session: TcpSession, query: TcpQuery): boolean {
    const policy = this.#policy
    const { client, server, serverPort } = session.peers
    const endpoint = policy.endpointByAddress(client, 0)
    if (endpoint < 0 || policy.endpointId(endpoint) !== query.endpointId) return false
    return policy.verdict(endpoint, server, 0, PROTOCOL_TCP, serverPort, this.#answer.name, 0) === VERDICT_ALLOWED
  }

  #verdict(offset: number): void {
    this.counters.add(at(C.C_VERDICTS, C.VERDICTS.length, offset), 1)
  }

  #learnPath(offset: number): void {
    this.counters.add(at(C.C_LEARN_PATH, C.LEARN_PATHS.length, offset), 1)
  }

  #learnResult(offset: number): void {
    this.counters.add(at(C.C_LEARN_RESULT, C.LEARN_RESULTS.length, offset), 1)
  }

  #gauges(): void {
    let inFlight = 0
    for (const session of this.#sessions) inFlight += session.outstanding
    this.counters.set(C.C_GAUGES + C.GAUGE_CONNECTIONS, this.#sessions.size)
    this.counters.set(C.C_GAUGES + C.GAUGE_IN_FLIGHT, inFlight)
    this.counters.set(C.C_GAUGES + C.GAUGE_PENDING, this.#held.size)
  }
}

function peersOf(socket: Socket): TcpPeers | undefined {
  const client = tryParseIp(socket.remoteAddress ?? '')
  const server = tryParseIp(socket.localAddress ?? '')
  if (client === undefined || server === undefined || socket.localPort === undefined) return undefined
  const peers = {
    client: new Uint8Array(16),
    server: new Uint8Array(16),
    serverPort: socket.localPort,
    family: server.family,
  }
  writeAddr16(client, peers.client, 0)
  writeAddr16(server, peers.server, 0)
  return peers
}

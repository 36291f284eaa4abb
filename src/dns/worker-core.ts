import {
  HEADER_SEND_ERRORS,
  RX_DESTINATION,
  RX_DESTINATION_PORT,
  RX_FAMILY,
  RX_FLAG_ERROR,
  RX_FLAG_NO_DESTINATION,
  RX_FLAG_TRUNCATED,
  RX_FLAGS,
  RX_LENGTH,
  RX_OFFSET,
  RX_SOURCE,
  RX_SOURCE_PORT,
  RX_TAG,
  RX_WORDS,
} from '../native/binding.ts'
import * as C from './counters.ts'
import { Denial } from './denial.ts'
import type { DenyResponse } from './denial.ts'
import type { Fqdn } from '../core/fqdn.ts'
import { GATE_RELEASE, mapBeforeAnswer } from './gate.ts'
import type { AnswerGate } from './gate.ts'
import { InFlight, OPTION_DNSSEC_OK, OPTION_HAD_OPT, STATE_FAILED, STATE_PENDING, STATE_WAITING } from './inflight.ts'
import { AnswerReader } from './message/answer.ts'
import {
  EDE_BLOCKED,
  EDE_INVALID_DATA,
  EDE_NETWORK_ERROR,
  EDE_NO_REACHABLE_AUTHORITY,
  EDE_NONE,
  EDE_OTHER,
  EDE_PROHIBITED,
  FLAG_QR,
  HEADER_BYTES,
  RCODE_BADVERS,
  RCODE_FORMERR,
  RCODE_NOERROR,
  RCODE_NOTIMP,
  RCODE_REFUSED,
  RCODE_SERVFAIL,
} from './message/constants.ts'
import { QueryReader } from './message/query.ts'
import { REASON, REASON_NAMES } from './message/reasons.ts'
import { Outbox } from './outbox.ts'
import { PendingSlots, TAKE_NO_SHARE } from './pending.ts'
import { LEARNED, VERDICT_ALLOWED, VERDICT_DENIED } from './ports.ts'
import type { Learner, PolicyView, RandomFill, UpstreamSockets } from './ports.ts'
import { RandomPool } from './random-pool.ts'
import { ACQUIRE_NO_SERVER, ACQUIRE_NO_SHARE, UPSTREAM_TAGS, Upstreams } from './upstreams.ts'
import type { WorkerMemory } from './worker-memory.ts'

const PROTOCOL_UDP = 17
/** A query that is asked again sooner than this is not forwarded again. */
const RETRANSMIT_MS = 900
const ID_ATTEMPTS = 16

export interface WorkerCoreConfig {
  readonly denyResponse: DenyResponse
  /** Wire form. */
  readonly searchDomains: readonly Fqdn[]
  readonly upstreamTimeoutMs: number
  /** How long an answer may wait for the map before it becomes SERVFAIL. */
  readonly ledgerTimeoutMs: number
  readonly maxInFlight: number
  readonly maxInFlightPerEndpoint: number
  readonly maxPending: number
  readonly maxPendingPerEndpoint: number
  /** Places for servers that one endpoint may take. */
  readonly maxServersPerEndpoint: number
}

export interface WorkerCoreDeps {
  readonly memory: WorkerMemory
  readonly sockets: UpstreamSockets
  readonly policy: PolicyView
  readonly learner: Learner
  readonly counters: C.Counters
  readonly random: RandomFill
  /** Only tests hand in another. */
  readonly gate?: AnswerGate
}

/**
 * The path of UDP queries on one thread: synchronous, and without an allocation a query. `process` takes the `n`
 * records the pump received and leaves what is to be sent in the out records.
 *
 * The order is the product: endpoint, verdict, only then forward; answer checked, addresses in the map, only then reply.
 */
export class WorkerCore {
  readonly #memory: WorkerMemory
  readonly #buffer: Uint8Array
  readonly #rx: Uint32Array
  readonly #rxBytes: Uint8Array
  readonly #outbox: Outbox
  readonly #clock = new Float64Array(1)
  readonly #config: WorkerCoreConfig
  readonly #learner: Learner
  readonly #gate: AnswerGate
  readonly #counters: C.Counters
  readonly #random: RandomPool
  readonly #upstreams: Upstreams
  readonly #inFlight: InFlight
  readonly #pending: PendingSlots
  readonly #query = new QueryReader()
  readonly #answer: AnswerReader
  readonly #denial: Denial
  readonly #tickets: Uint32Array
  readonly #statuses: Uint8Array
  #policy: PolicyView

  constructor(deps: WorkerCoreDeps, config: WorkerCoreConfig) {
    const memory = deps.memory
    this.#memory = memory
    this.#buffer = memory.buffer
    this.#rx = memory.rx
    this.#rxBytes = new Uint8Array(memory.rx.buffer, memory.rx.byteOffset, memory.rx.byteLength)
    this.#config = config
    this.#learner = deps.learner
    this.#gate = deps.gate ?? mapBeforeAnswer
    this.#counters = deps.counters
    this.#random = new RandomPool(deps.random)
    this.#upstreams = new Upstreams(deps.sockets, this.#random, config.maxServersPerEndpoint)
    this.#inFlight = new InFlight(config.maxInFlight, UPSTREAM_TAGS)
    this.#outbox = new Outbox(memory, this.#inFlight, deps.counters, this.#clock)
    this.#pending = new PendingSlots(config.maxPending, memory.pendingAt, memory.stride, config.maxPendingPerEndpoint)
    this.#answer = new AnswerReader(memory.stride / 16)
    this.#denial = new Denial(config.denyResponse, config.searchDomains)
    // What a turn has room for whatever arrives.
    this.#tickets = new Uint32Array(memory.maxOut - memory.slots)
    this.#statuses = new Uint8Array(memory.maxOut - memory.slots)
    this.#policy = deps.policy
  }

  /** Queries that are not answered yet. */
  get inFlight(): number {
    return this.#inFlight.used
  }

  /** From the next datagram on the verdicts are this snapshot's. */
  setPolicy(policy: PolicyView): void {
    this.#policy = policy
  }

  closeUpstreams(): void {
    this.#upstreams.closeAll()
  }

  /**
   * One turn. `n` receive records are there, the out records of the turn before have been sent; `nowMs` is
   * CLOCK_MONOTONIC. Returns how many out records are to be sent. Never throws.
   */
  process(n: number, nowMs: number): number {
    this.#clock[0] = nowMs
    try {
      this.#settleSent()
      this.#complete(this.#memory.maxOut - n)
      this.#expire(this.#memory.maxOut - n)
    } catch {
      this.#reject(REASON.exception)
    }
    for (let i = 0; i < n; i++) {
      const before = this.#outbox.count
      try {
        this.#datagram(i * RX_WORDS)
      } catch {
        // A bug, and no reason for the others to go without: nothing of this datagram goes out.
        this.#outbox.count = before
        this.#reject(REASON.exception)
      }
    }
    try {
      this.#upstreams.sweep(nowMs)
    } catch {
      this.#reject(REASON.exception)
    }
    const gauges = this.#counters
    gauges.set(C.C_GAUGES + C.GAUGE_IN_FLIGHT, this.#inFlight.used)
    gauges.set(C.C_GAUGES + C.GAUGE_PENDING, this.#pending.used)
    gauges.set(C.C_GAUGES + C.GAUGE_UPSTREAM_SOCKETS, this.#upstreams.open)
    gauges.set(C.C_GAUGES + C.GAUGE_GENERATION, this.#policy.generation)
    gauges.set(C.C_UPSTREAM + C.UPSTREAM_OPEN_ERROR, this.#upstreams.openErrors)
    return this.#outbox.count
  }

  /** The last batch has gone: its pending slots are free, and what the kernel refused is known. */
  #settleSent(): void {
    this.#pending.reclaim()
    const sent = this.#outbox.count
    this.#outbox.count = 0
    if (this.#memory.header[HEADER_SEND_ERRORS] === 0) return
    for (let record = 0; record < sent; record++) {
      if (this.#outbox.errno(record) === 0) continue
      if (this.#outbox.isReply(record)) {
        this.#counters.add(C.C_SINGLES + C.SINGLE_REPLY_SEND_ERRORS, 1)
        continue
      }
      this.#counters.add(C.C_UPSTREAM + C.UPSTREAM_SEND_ERROR, 1)
      const entry = this.#outbox.entryOf(record)
      if (entry >= 0 && this.#inFlight.state[entry] === STATE_WAITING) this.#fail(entry, EDE_NETWORK_ERROR)
    }
  }

  /** Answers whose mapping stands now, or will not. */
  #complete(room: number): void {
    const inFlight = this.#inFlight
    while (this.#outbox.count + this.#tickets.length <= room) {
      const done = this.#learner.completed(this.#tickets, this.#statuses)
      for (let i = 0; i < done; i++) {
        const slot = this.#pending.resolve(this.#tickets[i]!)
        if (slot < 0) {
          this.#counters.add(C.C_LEARN_RESULT + C.LEARN_LATE, 1)
          continue
        }
        const status = this.#statuses[i]!
        const entry = this.#pending.entry(slot)
        const waited = this.#clock[0]! - inFlight.pendingMs[entry]!
        this.#counters.add(C.C_LEARN_RESULT + (status <= 2 ? status : 2), 1)
        this.#counters.observe(C.C_MAP_WAIT_SECONDS, C.MAP_WAIT_BUCKETS, C.microseconds(waited))
        if (status === LEARNED) {
          this.#pending.send(slot)
          this.#pass(entry, this.#pending.offset(slot), this.#pending.length(slot))
        } else {
          this.#pending.drop(slot)
          this.#giveUp(entry, EDE_OTHER)
        }
      }
      if (done < this.#tickets.length) return
    }
  }

  #expire(room: number): void {
    const inFlight = this.#inFlight
    for (let entry; this.#outbox.count < room && (entry = inFlight.oldest(STATE_FAILED)) >= 0;) {
      this.#giveUp(entry, inFlight.why[entry]!)
    }
    const upstream = this.#clock[0]! - this.#config.upstreamTimeoutMs
    for (let entry; this.#outbox.count < room && (entry = inFlight.oldest(STATE_WAITING)) >= 0;) {
      if (inFlight.startMs[entry]! > upstream) break
      this.#counters.add(C.C_UPSTREAM + C.UPSTREAM_TIMEOUT, 1)
      this.#upstreams.settled(inFlight.tag[entry]!)
      this.#giveUp(entry, EDE_NO_REACHABLE_AUTHORITY)
    }
    const ledger = this.#clock[0]! - this.#config.ledgerTimeoutMs
    for (let entry; this.#outbox.count < room && (entry = inFlight.oldest(STATE_PENDING)) >= 0;) {
      if (inFlight.pendingMs[entry]! > ledger) break
      this.#counters.add(C.C_LEARN_RESULT + C.LEARN_TIMEOUT, 1)
      this.#pending.drop(inFlight.slot[entry]!)
      this.#giveUp(entry, EDE_OTHER)
    }
  }

  #datagram(r: number): void {
    const rx = this.#rx
    const tag = rx[r + RX_TAG]!
    const flags = rx[r + RX_FLAGS]!
    if (tag >= UPSTREAM_TAGS) {
      if ((flags & RX_FLAG_ERROR) === 0) this.#onQuery(r, flags)
    } else if ((flags & RX_FLAG_ERROR) !== 0) this.#onSocketError(tag)
    else this.#onAnswer(tag, rx[r + RX_OFFSET]!, rx[r + RX_LENGTH]!, flags)
  }

  #onQuery(r: number, flags: number): void {
    const rx = this.#rx
    const start = rx[r + RX_OFFSET]!
    const length = rx[r + RX_LENGTH]!
    this.#counters.add(C.C_QUERIES + (rx[r + RX_FAMILY] === 4 ? 0 : 1), 1)
    if ((flags & RX_FLAG_NO_DESTINATION) !== 0) {
      this.#reject(REASON.no_destination)
      return
    }
    const query = this.#query
    const reason = (flags & RX_FLAG_TRUNCATED) !== 0 ? REASON.oversized : query.read(this.#buffer, start, length)
    if (reason !== REASON.ok) {
      this.#onBadQuery(r, start, length, reason)
      return
    }
    const policy = this.#policy
    const endpoint = policy.endpointByAddress(this.#rxBytes, (r + RX_SOURCE) * 4)
    if (endpoint < 0) {
      this.#counters.add(C.C_VERDICTS + C.VERDICT_COUNT_ENDPOINT, 1)
      this.#outbox.refuse(r, this.#query, RCODE_REFUSED, EDE_PROHIBITED)
      return
    }
    const server = (r + RX_DESTINATION) * 4
    const port = rx[r + RX_DESTINATION_PORT]!
    const verdict = policy.verdict(endpoint, this.#rxBytes, server, PROTOCOL_UDP, port, query.name, 0)
    if (verdict === VERDICT_ALLOWED) {
      this.#counters.add(C.C_VERDICTS + C.VERDICT_COUNT_ALLOWED, 1)
      this.#forward(r, start, length, policy.endpointId(endpoint))
      return
    }
    if (verdict !== VERDICT_DENIED) {
      this.#counters.add(C.C_VERDICTS + C.VERDICT_COUNT_SERVER, 1)
      this.#outbox.refuse(r, this.#query, RCODE_REFUSED, EDE_PROHIBITED)
      return
    }
    this.#counters.add(C.C_VERDICTS + C.VERDICT_COUNT_NAME, 1)
    const rcode = this.#denial.rcode(
      policy,
      endpoint,
      this.#rxBytes,
      server,
      PROTOCOL_UDP,
      port,
      query.name,
      query.nameLength,
    )
    this.#outbox.refuse(r, this.#query, rcode, EDE_BLOCKED)
  }

  /** Not to be judged: silence where an answer would be wrong, else the rcode the RFCs ask for. */
  #onBadQuery(r: number, start: number, length: number, reason: number): void {
    this.#reject(reason)
    const query = this.#query
    if (reason === REASON.short || reason === REASON.response) return
    if (reason === REASON.oversized) {
      if (length < HEADER_BYTES || (this.#buffer[start + 2]! & FLAG_QR) !== 0) return
      query.questionEnd = 0
      query.hasOpt = false
    }
    if (reason === REASON.edns_version) this.#outbox.refuse(r, this.#query, RCODE_BADVERS, EDE_NONE)
    else {
      query.hasOpt = false
      this.#outbox.refuse(r, this.#query, reason === REASON.opcode ? RCODE_NOTIMP : RCODE_FORMERR, EDE_NONE)
    }
  }

  #forward(r: number, start: number, length: number, endpointId: number): void {
    const rx = this.#rx
    const inFlight = this.#inFlight
    const query = this.#query
    const clientPort = rx[r + RX_SOURCE_PORT]!
    const serverPort = rx[r + RX_DESTINATION_PORT]!
    const question = start + HEADER_BYTES
    const questionLength = query.questionEnd - question
    const same = inFlight.findSame(
      rx,
      r + RX_SOURCE,
      clientPort,
      r + RX_DESTINATION,
      serverPort,
      query.id,
      this.#buffer,
      question,
      questionLength,
    )
    if (same >= 0) {
      this.#onDuplicate(same, start, length)
      return
    }
    if (inFlight.byEndpoint[endpointId]! >= this.#config.maxInFlightPerEndpoint) {
      this.#overload(r, C.OVERLOAD_ENDPOINT)
      return
    }
    if (inFlight.used >= this.#config.maxInFlight) {
      this.#overload(r, C.OVERLOAD_IN_FLIGHT)
      return
    }
    const tag = this.#upstreams.acquire(rx, r + RX_DESTINATION, serverPort, rx[r + RX_FAMILY]!, endpointId)
    if (tag < 0) {
      if (tag === ACQUIRE_NO_SERVER) this.#overload(r, C.OVERLOAD_SERVERS)
      else if (tag === ACQUIRE_NO_SHARE) this.#overload(r, C.OVERLOAD_ENDPOINT)
      else this.#outbox.refuse(r, this.#query, RCODE_SERVFAIL, EDE_NETWORK_ERROR)
      return
    }
    const id = this.#freshId(tag)
    if (id < 0) {
      this.#overload(r, C.OVERLOAD_IDS)
      return
    }
    const entry = inFlight.allocate()
    if (entry < 0) {
      this.#overload(r, C.OVERLOAD_IN_FLIGHT)
      return
    }
    for (let i = 0; i < 4; i++) {
      inFlight.client[entry * 4 + i] = rx[r + RX_SOURCE + i]!
      inFlight.server[entry * 4 + i] = rx[r + RX_DESTINATION + i]!
    }
    inFlight.clientPort[entry] = clientPort
    inFlight.serverPort[entry] = serverPort
    inFlight.family[entry] = rx[r + RX_FAMILY]!
    inFlight.clientId[entry] = query.id
    inFlight.upstreamId[entry] = id
    inFlight.tag[entry] = tag
    inFlight.flags[entry] = query.flags
    inFlight.options[entry] = (query.hasOpt ? OPTION_HAD_OPT : 0) | (query.dnssecOk ? OPTION_DNSSEC_OK : 0)
    inFlight.endpointId[entry] = endpointId
    inFlight.generation[entry] = this.#policy.generation
    inFlight.startMs[entry] = this.#clock[0]!
    inFlight.sentMs[entry] = this.#clock[0]!
    inFlight.setQuestion(entry, this.#buffer, question, questionLength)
    inFlight.link(entry)
    this.#upstreams.asked(tag)
    this.#outbox.ask(entry, start, length)
  }

  /** A random id that no query in flight on the socket has; -1 when the dice are against it. */
  #freshId(tag: number): number {
    for (let i = 0; i < ID_ATTEMPTS; i++) {
      const id = this.#random.next()
      if (this.#inFlight.find(tag, id) < 0) return id
    }
    return -1
  }

  /** The client asks again while its query is in flight: once in a while the server is asked again, by the same id. */
  #onDuplicate(entry: number, start: number, length: number): void {
    const inFlight = this.#inFlight
    const again = inFlight.state[entry] === STATE_WAITING && this.#clock[0]! - inFlight.sentMs[entry]! >= RETRANSMIT_MS
    if (!again || !this.#upstreams.isOpen(inFlight.tag[entry]!)) {
      this.#counters.add(C.C_SINGLES + C.SINGLE_DUPLICATES, 1)
      return
    }
    this.#counters.add(C.C_UPSTREAM + C.UPSTREAM_RETRANSMITTED, 1)
    inFlight.sentMs[entry] = this.#clock[0]!
    this.#outbox.ask(entry, start, length)
  }

  #onSocketError(tag: number): void {
    this.#counters.add(C.C_UPSTREAM + C.UPSTREAM_SOCKET_ERROR, 1)
    for (let entry; (entry = this.#inFlight.oldestOf(tag)) >= 0;) this.#fail(entry, EDE_NETWORK_ERROR)
  }

  #onAnswer(tag: number, start: number, length: number, flags: number): void {
    const buffer = this.#buffer
    const inFlight = this.#inFlight
    const answer = this.#answer
    if (length < HEADER_BYTES) {
      this.#reject(REASON.answer_short)
      return
    }
    const entry = inFlight.find(tag, (buffer[start]! << 8) | buffer[start + 1]!)
    if (entry < 0) {
      this.#reject(REASON.answer_unknown_id)
      return
    }
    const questionLength = inFlight.questionLength[entry]!
    const match = answer.match(buffer, start, length, inFlight.question, inFlight.questionAt(entry), questionLength)
    if (match !== REASON.ok) {
      this.#reject(match)
      return
    }
    const reason =
      (flags & RX_FLAG_TRUNCATED) !== 0 ? REASON.answer_oversized : answer.read(buffer, start, length, questionLength)
    this.#upstreams.settled(inFlight.tag[entry]!)
    if (reason !== REASON.ok) {
      this.#reject(reason)
      // Cut short and saying so: without its records it only sends the client to TCP.
      if (reason === REASON.answer_oversized || answer.truncated) {
        this.#outbox.own(entry, RCODE_NOERROR, true, EDE_NONE)
        inFlight.free(entry)
      } else this.#giveUp(entry, EDE_INVALID_DATA)
      return
    }
    this.#onGoodAnswer(entry, start, length)
  }

  #onGoodAnswer(entry: number, start: number, length: number): void {
    const inFlight = this.#inFlight
    const answer = this.#answer
    if (answer.strayed > 0) this.#counters.add(C.C_SINGLES + C.SINGLE_STRAYED, answer.strayed)
    if (answer.unlearnable > 0) this.#counters.add(C.C_SINGLES + C.SINGLE_UNLEARNABLE, answer.unlearnable)
    if (inFlight.generation[entry] !== this.#policy.generation && !this.#stillAllowed(entry)) {
      this.#counters.add(C.C_SINGLES + C.SINGLE_POLICY_CHANGED, 1)
      this.#outbox.own(entry, RCODE_REFUSED, false, EDE_BLOCKED)
      inFlight.free(entry)
      return
    }
    if (answer.count === 0) {
      this.#counters.add(C.C_LEARN_PATH + C.LEARN_NONE, 1)
      this.#pass(entry, start, length)
      return
    }
    const gate = this.#gate(
      this.#learner,
      inFlight.endpointId[entry]!,
      answer.name,
      answer.nameLength,
      answer.addresses,
      answer.count,
      answer.ttl,
      // Whole, so that it is no boxed double.
      Math.floor(this.#clock[0]!),
    )
    if (gate === GATE_RELEASE) {
      this.#counters.add(C.C_LEARN_PATH + C.LEARN_FAST, 1)
      this.#pass(entry, start, length)
      return
    }
    this.#counters.add(C.C_LEARN_PATH + C.LEARN_SLOW, 1)
    this.#hold(entry, start, length)
  }

  /** The policy changed while the server was being asked: is the query allowed by the one in force now? */
  #stillAllowed(entry: number): boolean {
    const inFlight = this.#inFlight
    const policy = this.#policy
    const endpoint = policy.endpointByAddress(inFlight.clientBytes, entry * 16)
    if (endpoint < 0 || policy.endpointId(endpoint) !== inFlight.endpointId[entry]) return false
    const port = inFlight.serverPort[entry]!
    return (
      policy.verdict(endpoint, inFlight.serverBytes, entry * 16, PROTOCOL_UDP, port, this.#answer.name, 0) ===
      VERDICT_ALLOWED
    )
  }

  /** Keeps the answer until the ledger says that its mapping stands. */
  #hold(entry: number, start: number, length: number): void {
    const inFlight = this.#inFlight
    const answer = this.#answer
    const slot = this.#pending.take(entry, length, inFlight.endpointId[entry]!)
    if (slot < 0) {
      this.#counters.add(C.C_OVERLOAD + (slot === TAKE_NO_SHARE ? C.OVERLOAD_ENDPOINT : C.OVERLOAD_PENDING), 1)
      this.#giveUp(entry, EDE_OTHER)
      return
    }
    const taken = this.#learner.submit(
      this.#pending.ticket(slot),
      inFlight.endpointId[entry]!,
      answer.name,
      0,
      answer.nameLength,
      answer.addresses,
      answer.count,
      answer.ttl,
    )
    if (!taken) {
      this.#pending.drop(slot)
      this.#counters.add(C.C_OVERLOAD + C.OVERLOAD_LEDGER, 1)
      this.#giveUp(entry, EDE_OTHER)
      return
    }
    this.#buffer.copyWithin(this.#pending.offset(slot), start, start + length)
    inFlight.slot[entry] = slot
    inFlight.pendingMs[entry] = this.#clock[0]!
    inFlight.move(entry, STATE_PENDING)
  }

  /** Takes the query off its socket; it becomes SERVFAIL with the next batch. */
  #fail(entry: number, ede: number): void {
    this.#upstreams.settled(this.#inFlight.tag[entry]!)
    this.#inFlight.why[entry] = ede
    this.#inFlight.move(entry, STATE_FAILED)
  }

  #giveUp(entry: number, ede: number): void {
    this.#outbox.own(entry, RCODE_SERVFAIL, false, ede)
    this.#inFlight.free(entry)
  }

  #pass(entry: number, start: number, length: number): void {
    this.#outbox.pass(entry, start, length)
    this.#inFlight.free(entry)
  }

  #overload(r: number, what: number): void {
    this.#counters.add(C.C_OVERLOAD + what, 1)
    this.#outbox.refuse(r, this.#query, RCODE_SERVFAIL, EDE_OTHER)
  }

  #reject(reason: number): void {
    this.#counters.add(C.C_REJECTS + (reason < REASON_NAMES.length ? reason : REASON.exception), 1)
  }
}

import { createHash } from 'node:crypto'
import { formatFqdn, parseFqdn } from '../../src/core/fqdn.ts'
import { formatIp, parseIp, readAddr16, writeAddr16 } from '../../src/core/ip.ts'
import * as C from '../../src/dns/counters.ts'
import type { DenyResponse } from '../../src/dns/denial.ts'
import type { AnswerGate } from '../../src/dns/gate.ts'
import { REASON } from '../../src/dns/message/reasons.ts'
import type { Learner, PolicyView } from '../../src/dns/ports.ts'
import { UPSTREAM_TAGS } from '../../src/dns/upstreams.ts'
import { WorkerCore } from '../../src/dns/worker-core.ts'
import { makeWorkerMemory } from '../../src/dns/worker-memory.ts'
import * as B from '../../src/native/binding.ts'

/** Patterns by endpoint address and server: an exact name, or `*.` before it for one label more. */
export interface FakeRule {
  readonly from: string
  readonly server: string
  readonly port?: number
  readonly protocol?: number
  readonly names: readonly string[]
}

export class FakePolicy implements PolicyView {
  generation = 1
  rules: FakeRule[]
  readonly asked: string[] = []
  #endpoints: string[]

  constructor(rules: readonly FakeRule[], endpoints: readonly string[] = []) {
    this.rules = [...rules]
    this.#endpoints = [...new Set([...rules.map((rule) => rule.from), ...endpoints])]
  }

  endpointByAddress(addr16: Uint8Array, offset: number): number {
    return this.#endpoints.indexOf(formatIp(readAddr16(addr16, offset)))
  }

  endpointId(index: number): number {
    return 100 + index
  }

  verdict(
    index: number,
    server: Uint8Array,
    serverOffset: number,
    protocol: number,
    port: number,
    name: Uint8Array,
    nameOffset: number,
  ): number {
    const text = formatFqdn(name, nameOffset)
    this.asked.push(text)
    const at = formatIp(readAddr16(server, serverOffset))
    const rules = this.rules.filter(
      (rule) =>
        rule.from === this.#endpoints[index] &&
        rule.server === at &&
        (rule.port ?? 53) === port &&
        (rule.protocol ?? protocol) === protocol,
    )
    if (rules.length === 0) return 0
    return rules.some((rule) => rule.names.some((pattern) => matches(pattern, text))) ? 2 : 1
  }
}

function matches(pattern: string, name: string): boolean {
  if (pattern === '*') return true
  if (!pattern.startsWith('*.')) return formatFqdn(parseFqdn(pattern)) === name
  const rest = formatFqdn(parseFqdn(pattern.slice(2)))
  return name.endsWith(`.${rest}`) && !name.slice(0, -rest.length - 1).includes('.')
}

export interface Submitted {
  readonly ticket: number
  readonly endpointId: number
  readonly name: string
  readonly addresses: readonly string[]
  readonly ttl: number
}

export class FakeLearner implements Learner {
  /** "endpoint name address" that stand in the map. */
  readonly map = new Set<string>()
  readonly submitted: Submitted[] = []
  full = false
  #done: { ticket: number; status: number }[] = []

  standing(
    endpointId: number,
    name: Uint8Array,
    nameOffset: number,
    _nameLength: number,
    addresses: Uint8Array,
    count: number,
  ): boolean {
    const text = formatFqdn(name, nameOffset)
    return list(addresses, count).every((address) => this.map.has(`${endpointId} ${text} ${address}`))
  }

  submit(
    ticket: number,
    endpointId: number,
    name: Uint8Array,
    nameOffset: number,
    nameLength: number,
    addresses: Uint8Array,
    count: number,
    ttl: number,
  ): boolean {
    if (this.full) return false
    const text = formatFqdn(name, nameOffset)
    if (nameLength !== parseFqdn(text).length) throw new Error('name length')
    this.submitted.push({ ticket, endpointId, name: text, addresses: list(addresses, count), ttl })
    return true
  }

  /** The ledger finishes a request. */
  finish(request: Submitted, status = 0): void {
    if (status === 0) for (const at of request.addresses) this.map.add(`${request.endpointId} ${request.name} ${at}`)
    this.#done.push({ ticket: request.ticket, status })
  }

  completed(tickets: Uint32Array, statuses: Uint8Array): number {
    const now = this.#done.splice(0, tickets.length)
    now.forEach((one, i) => {
      tickets[i] = one.ticket
      statuses[i] = one.status
    })
    return now.length
  }
}

const list = (addresses: Uint8Array, count: number): string[] =>
  Array.from({ length: count }, (_, i) => formatIp(readAddr16(addresses, 16 * i)))

/** Random words that are the same in every run. */
export function seededRandom(seed: string): (words: Uint16Array) => void {
  let turn = 0
  return (words) => {
    for (let i = 0; i < words.length; i += 16) {
      const digest = createHash('sha256').update(`${seed}-${turn++}`).digest()
      for (let k = 0; k < 16 && i + k < words.length; k++) words[i + k] = digest.readUInt16LE(2 * k)
    }
  }
}

export class FakeSockets {
  readonly open = (server: Uint8Array, port: number): number => {
    if (this.failing) throw new Error('EMFILE')
    const fd = this.#next++
    const family = server.length === 4 ? (4 as const) : (6 as const)
    this.servers.set(fd, `${formatIp({ family, bytes: server.slice() })}#${port}`)
    return fd
  }
  readonly add = (fd: number, tag: number): void => {
    if (this.tags.has(tag)) throw new Error(`tag ${tag} in use`)
    this.tags.set(tag, fd)
  }
  readonly remove = (tag: number): void => {
    if (!this.tags.delete(tag)) throw new Error(`tag ${tag} not in use`)
  }
  readonly close = (fd: number): void => {
    if (!this.servers.delete(fd)) throw new Error(`fd ${fd} not open`)
  }
  failing = false
  readonly servers = new Map<number, string>()
  readonly tags = new Map<number, number>()
  opened = (): number => this.#next - 1000
  #next = 1000
}

export interface Sent {
  readonly kind: 'ask' | 'reply'
  readonly tag: number
  readonly bytes: Uint8Array
  /** Where a reply goes, and from where: "address#port". */
  readonly to: string
  readonly from: string
}

export interface WorldOptions {
  readonly rules?: readonly FakeRule[]
  readonly endpoints?: readonly string[]
  readonly denyResponse?: DenyResponse
  readonly searchDomains?: readonly string[]
  readonly maxInFlight?: number
  readonly maxInFlightPerEndpoint?: number
  readonly maxPending?: number
  readonly maxPendingPerEndpoint?: number
  readonly maxServersPerEndpoint?: number
  readonly gate?: AnswerGate
  readonly slots?: number
  readonly random?: (words: Uint16Array) => void
}

export const POD = '10.0.0.5'
export const SERVER = '10.9.9.9'
export const RULES: readonly FakeRule[] = [
  { from: POD, server: SERVER, names: ['www.example.com', '*.wild.example'] },
  { from: 'fd00::5', server: 'fd00::53', names: ['www.example.com'] },
]

/** A worker core with everything around it made of memory; time stands still unless it is moved. */
export class World {
  readonly memory
  readonly policy: FakePolicy
  readonly learner = new FakeLearner()
  readonly sockets = new FakeSockets()
  readonly counters = C.makeCounters()
  readonly core: WorkerCore
  now = 1_000_000
  #received = 0
  #outgoing = 0

  constructor(options: WorldOptions = {}) {
    this.memory = makeWorkerMemory(options.maxPending ?? 8, options.slots ?? 32)
    this.policy = new FakePolicy(options.rules ?? RULES, options.endpoints)
    this.core = new WorkerCore(
      {
        memory: this.memory,
        sockets: this.sockets,
        policy: this.policy,
        learner: this.learner,
        counters: this.counters,
        random: options.random ?? seededRandom('world'),
        ...(options.gate === undefined ? {} : { gate: options.gate }),
      },
      {
        denyResponse: options.denyResponse ?? 'auto',
        searchDomains: (options.searchDomains ?? ['svc.cluster.local', 'cluster.local']).map((name) => parseFqdn(name)),
        upstreamTimeoutMs: 4500,
        ledgerTimeoutMs: 1000,
        maxInFlight: options.maxInFlight ?? 64,
        maxInFlightPerEndpoint: options.maxInFlightPerEndpoint ?? 1000,
        maxPending: options.maxPending ?? 8,
        maxPendingPerEndpoint: options.maxPendingPerEndpoint ?? 1000,
        maxServersPerEndpoint: options.maxServersPerEndpoint ?? 64,
      },
    )
  }

  #record(tag: number, bytes: Uint8Array, flags: number): number {
    const { rx, buffer, stride } = this.memory
    const i = this.#received++
    const r = i * B.RX_WORDS
    rx.fill(0, r, r + B.RX_WORDS)
    const kept = Math.min(bytes.length, stride)
    buffer.fill(0xee, i * stride, i * stride + Math.min(stride, kept + 512))
    buffer.set(bytes.subarray(0, kept), i * stride)
    rx[r + B.RX_TAG] = tag
    rx[r + B.RX_LENGTH] = kept
    rx[r + B.RX_FLAGS] = flags | (kept < bytes.length ? B.RX_FLAG_TRUNCATED : 0)
    rx[r + B.RX_OFFSET] = i * stride
    return r
  }

  /** A query arrives. */
  query(bytes: Uint8Array, from = `${POD}#4000`, to = `${SERVER}#53`, flags = 0): void {
    const { rx } = this.memory
    const r = this.#record(UPSTREAM_TAGS, bytes, flags)
    const [source = '', sourcePort] = from.split('#')
    const [destination = '', destinationPort] = to.split('#')
    const octets = new Uint8Array(rx.buffer, rx.byteOffset, rx.byteLength)
    writeAddr16(parseIp(source), octets, (r + B.RX_SOURCE) * 4)
    writeAddr16(parseIp(destination), octets, (r + B.RX_DESTINATION) * 4)
    rx[r + B.RX_FAMILY] = parseIp(source).family
    rx[r + B.RX_SOURCE_PORT] = Number(sourcePort)
    rx[r + B.RX_DESTINATION_PORT] = Number(destinationPort)
  }

  /** A datagram arrives on an upstream socket. */
  answer(tag: number, bytes: Uint8Array, flags = 0): void {
    this.#record(tag, bytes, flags)
  }

  socketError(tag: number, errno = 111): void {
    const r = this.#record(tag, new Uint8Array(0), B.RX_FLAG_ERROR)
    this.memory.rx[r + B.RX_LENGTH] = errno
  }

  /** The kernel refused record `i` of the last batch. */
  refuseSend(i: number, errno: number): void {
    this.memory.out[i * B.OUT_WORDS + B.OUT_ERRNO] = errno
    this.memory.header[B.HEADER_SEND_ERRORS] = 1
  }

  /** One turn over what has arrived; returns what goes out. */
  turn(): Sent[] {
    this.#outgoing = this.core.process(this.#received, this.now)
    this.#received = 0
    this.memory.header[B.HEADER_SEND_ERRORS] = 0
    return Array.from({ length: this.#outgoing }, (_, i) => this.#sent(i))
  }

  #sent(i: number): Sent {
    const { out, buffer } = this.memory
    const o = i * B.OUT_WORDS
    const octets = new Uint8Array(out.buffer, out.byteOffset, out.byteLength)
    const start = out[o + B.OUT_OFFSET] ?? 0
    const bytes = buffer.slice(start, start + (out[o + B.OUT_LENGTH] ?? 0))
    if (out[o + B.OUT_KIND] === B.OUT_CONNECTED) {
      const tag = out[o + B.OUT_TAG] ?? -1
      const fd = this.sockets.tags.get(tag) ?? -1
      return { kind: 'ask', tag, bytes, to: this.sockets.servers.get(fd) ?? 'closed socket', from: '' }
    }
    const text = (word: number, port: number): string =>
      `${formatIp(readAddr16(octets, (o + word) * 4))}#${out[o + port] ?? 0}`
    return {
      kind: 'reply',
      tag: out[o + B.OUT_TAG] ?? 0,
      bytes,
      to: text(B.OUT_DESTINATION, B.OUT_DESTINATION_PORT),
      from: text(B.OUT_SOURCE, B.OUT_SOURCE_PORT),
    }
  }

  /** A query comes and is forwarded; what went to the server. */
  ask(bytes: Uint8Array, from?: string, to?: string): Sent {
    this.query(bytes, from, to)
    const [sent] = this.turn()
    if (sent?.kind !== 'ask') throw new Error('not forwarded')
    return sent
  }

  rejected(reason: keyof typeof REASON): number {
    return this.counters.values[C.C_REJECTS + REASON[reason]] ?? 0
  }

  count(at: number): number {
    return this.counters.values[at] ?? 0
  }
}

export const rcodeOf = (bytes: Uint8Array): number => (bytes[3] ?? 0) & 0x0f
export const idOf = (bytes: Uint8Array): number => ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0)
/** The message with another id. */
export const withId = (bytes: Uint8Array, id: number): Uint8Array => {
  const copy = bytes.slice()
  copy[0] = id >> 8
  copy[1] = id & 0xff
  return copy
}

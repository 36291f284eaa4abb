import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseIp, writeAddr16 } from '../../src/core/ip.ts'
import { createLearner, type SharedLearner } from '../../src/fqdn/shared/learner.ts'
import { createLearningMemory, type LearningMemory } from '../../src/fqdn/shared/learning-memory.ts'
import { STATS_LENGTH } from '../../src/identity/counters.ts'
import { SNAPSHOT_FILE } from '../../src/identity/journal-file.ts'
import type { LedgerMessage } from '../../src/identity/ledger-protocol.ts'
import { LedgerCore, type LedgerOptions } from '../../src/ledger/core.ts'
import { FakeConntrack, FakeIpcache, FakePolicyMaps, type KernelEvent } from './fake-maps.ts'
import { type FakePolicy, fakeView, wire } from './fake-view.ts'

export interface WorldOptions {
  readonly limits?: Partial<LedgerOptions['limits']>
  readonly nodeAddresses?: readonly string[]
  readonly timing?: LedgerOptions['timing']
  /** Milliseconds the clock moves at each look: slices end, requests come in between. */
  readonly clockStep?: number
  readonly minTtlSeconds?: number
  readonly graceSeconds?: number
}

export const packAddresses = (addresses: readonly string[]): Uint8Array => {
  const out = new Uint8Array(16 * addresses.length)
  addresses.forEach((address, i) => writeAddr16(parseIp(address), out, 16 * i))
  return out
}

const BOOT = new Uint8Array(16).fill(7)

/** A ledger on fake maps and a clock of its own, with one client. */
export class LedgerWorld {
  readonly log: KernelEvent[] = []
  readonly ipcache = new FakeIpcache(this.log)
  readonly policyMaps = new FakePolicyMaps(this.log)
  readonly conntrack = new FakeConntrack()
  readonly messages: LedgerMessage[] = []
  readonly directory = mkdtempSync(join(tmpdir(), 'sekisho-ledger-'))
  stats = new Float64Array(STATS_LENGTH)
  learning: LearningMemory
  learner: SharedLearner
  core: LedgerCore
  now = 1_000_000
  onComplete: () => void = () => undefined
  bootId = BOOT
  #generation = 0
  #ticket = 0
  readonly #policies = new Map<SharedArrayBuffer, FakePolicy>()
  readonly #options: WorldOptions
  readonly #tickets = new Uint32Array(256)
  readonly #statuses = new Uint8Array(256)

  constructor(options: WorldOptions = {}) {
    this.#options = options
    this.learning = this.#memory()
    this.learner = createLearner(this.learning, 0)
    this.core = this.#start(false)
  }

  get limits(): LedgerOptions['limits'] {
    return {
      maxAddressesPerName: 1000,
      maxNamesPerEndpoint: 10_000,
      maxEntriesPerEndpoint: 5000,
      maxEntries: 5000,
      ...this.#options.limits,
    }
  }

  #memory(): LearningMemory {
    return createLearningMemory({
      clients: 1,
      slotsPerClient: 64,
      maxEntries: this.limits.maxEntries,
      minTtlSeconds: this.#options.minTtlSeconds ?? 0,
      graceSeconds: this.#options.graceSeconds ?? 0,
      seed: [11, 22],
    })
  }

  #start(restarted: boolean): LedgerCore {
    return new LedgerCore({
      learning: this.learning,
      ipcache: this.ipcache,
      policyMaps: this.policyMaps,
      conntrack: this.conntrack,
      openView: (buffer) => {
        const policy = this.#policies.get(buffer)
        if (policy === undefined) throw new Error('damaged snapshot')
        return fakeView(policy)
      },
      makeWake: () => () => {
        this.log.push({ what: 'complete' })
        this.onComplete()
      },
      wakes: [null],
      post: (message) => this.messages.push(message),
      nowMs: () => (this.now += this.#options.clockStep ?? 0),
      stats: this.stats,
      limits: this.limits,
      ipcacheEntries: 10_000,
      nodeAddresses: this.#options.nodeAddresses ?? [],
      stateDir: this.directory,
      bootId: this.bootId,
      snapshotIntervalMs: 5000,
      conntrackIntervalMs: 10_000,
      restarted,
      timing: { identityIdleMs: 0, ...this.#options.timing },
    })
  }

  /** As after kill -9 of the whole agent: memory is gone, maps and the state directory are there. */
  restart(): void {
    this.stats = new Float64Array(STATS_LENGTH)
    this.learning = this.#memory()
    this.learner = createLearner(this.learning, 0)
    this.core = this.#start(false)
  }

  /** Only the ledger thread died: the shared memory and the client live on. */
  restartThread(): void {
    this.core = this.#start(true)
  }

  /** Hands over a policy without letting the ledger work on it. */
  offer(policy: Omit<FakePolicy, 'generation'>): number {
    const generation = ++this.#generation
    const buffer = new SharedArrayBuffer(8)
    this.#policies.set(buffer, { ...policy, generation })
    this.core.request({ type: 'snapshot', buffer, generation })
    return generation
  }

  /** Applies a policy and has the old one cleaned away. */
  apply(policy: Omit<FakePolicy, 'generation'>): void {
    const generation = this.offer(policy)
    this.work()
    this.core.request({ type: 'settled', generation })
    this.work()
  }

  /** Lets the ledger work until nothing is to be done at this moment of the clock. */
  work(): void {
    for (let i = 0; i < 100_000; i++) {
      const drained = this.core.drain()
      if (this.core.slice() >= 100 && drained === 0) return
    }
    throw new Error('the ledger does not come to rest')
  }

  /** Moves the clock second by second, as an agent lives through it. */
  pass(seconds: number): void {
    for (let i = 0; i < seconds; i++) {
      this.now += 1000
      this.work()
    }
  }

  submit(endpoint: number, name: string, addresses: readonly string[], ttl = 60): number {
    const ticket = ++this.#ticket
    const octets = wire(name)
    const accepted = this.learner.submit(
      ticket,
      endpoint,
      octets,
      0,
      octets.length,
      packAddresses(addresses),
      addresses.length,
      ttl,
    )
    if (!accepted) throw new Error('no slot')
    return ticket
  }

  standing(endpoint: number, name: string, addresses: readonly string[], ttl = 60): boolean {
    const octets = wire(name)
    const packed = packAddresses(addresses)
    return this.learner.standing(endpoint, octets, 0, octets.length, packed, addresses.length, ttl, this.now)
  }

  completed(): Map<number, number> {
    const n = this.learner.completed(this.#tickets, this.#statuses)
    return new Map(Array.from({ length: n }, (_, i) => [this.#tickets[i] as number, this.#statuses[i] as number]))
  }

  /** One answer, all the way; its status. */
  learn(endpoint: number, name: string, addresses: readonly string[], ttl = 60): number {
    const ticket = this.submit(endpoint, name, addresses, ttl)
    this.work()
    const status = this.completed().get(ticket)
    if (status === undefined) throw new Error('not completed')
    return status
  }

  /** What the program would decide: undefined when no row covers it. */
  verdict(endpoint: number, address: string, port: number): string | undefined {
    const identity = this.ipcache.lookup(parseIp(address))
    return this.policyMaps.byEndpoint.get(endpoint)?.verdict(identity, 6, port)
  }

  identityOf(address: string): number {
    return this.ipcache.lookup(parseIp(address))
  }

  /** Main's part: puts the last whole state snapshot on disk. */
  writeState(): void {
    const parts = this.messages.filter((message) => message.type === 'state')
    const sequence = parts.at(-1)?.sequence ?? 0
    const chunks = parts.filter((part) => part.sequence === sequence).map((part) => Buffer.from(part.chunk))
    writeFileSync(join(this.directory, SNAPSHOT_FILE), Buffer.concat(chunks))
    this.core.request({ type: 'stateWritten', sequence, ok: true })
  }

  close(): void {
    rmSync(this.directory, { recursive: true, force: true })
  }
}

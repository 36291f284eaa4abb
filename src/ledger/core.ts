import { type Cidr, parseIp, writeAddr16 } from '../core/ip.ts'
import { isLocalIdentity } from '../core/identity.ts'
import { NameState } from '../fqdn/name-state.ts'
import { LedgerRings } from '../fqdn/shared/client-rings.ts'
import type { LearningMemory } from '../fqdn/shared/learning-memory.ts'
import { StandingTable } from '../fqdn/shared/standing-table.ts'
import { type ApplyResult, PolicyApplier, type PolicyWorld } from '../identity/apply.ts'
import { IDENTITY } from '../identity/counters.ts'
import { Desired } from '../identity/desired.ts'
import { IdentityTable } from '../identity/identity-table.ts'
import { IpcacheMirror } from '../identity/ipcache-mirror.ts'
import { IpcacheWriter } from '../identity/ipcache-writer.ts'
import { LabelSets } from '../identity/label-sets.ts'
import type { ClientWake, LedgerMessage, LedgerRequest } from '../identity/ledger-protocol.ts'
import type { ConntrackMap, IpcacheMap, PolicyMaps, SelectorView } from '../identity/ports.ts'
import { reconcileIpcache } from '../identity/reconcile.ts'
import { repairRows } from '../identity/reconcile-rows.ts'
import { Shapes } from '../identity/shapes.ts'
import { RequestBatch } from './batch.ts'
import { answerQuery } from './queries.ts'
import { StateKeeper } from './state-keeper.ts'

export interface LedgerOptions {
  readonly learning: LearningMemory
  readonly ipcache: IpcacheMap
  readonly policyMaps: PolicyMaps
  readonly conntrack: ConntrackMap
  readonly openView: (buffer: SharedArrayBuffer) => SelectorView
  readonly makeWake: (wake: ClientWake | null) => () => void
  readonly wakes: readonly (ClientWake | null)[]
  readonly post: (message: LedgerMessage, transfer?: readonly ArrayBuffer[]) => void
  /** CLOCK_MONOTONIC, ms. */
  readonly nowMs: () => number
  readonly stats: Float64Array
  readonly limits: {
    readonly maxAddressesPerName: number
    readonly maxNamesPerEndpoint: number
    readonly maxEntriesPerEndpoint: number
    readonly maxEntries: number
  }
  readonly ipcacheEntries: number
  readonly nodeAddresses: readonly string[]
  readonly stateDir: string
  readonly bootId: Uint8Array
  readonly snapshotIntervalMs: number
  readonly conntrackIntervalMs: number
  readonly restarted: boolean
  readonly timing?: { readonly [K in keyof typeof TIMING]?: number }
}

export const TIMING = {
  /** What a restart restores lives at least this long. */
  restoreGraceSeconds: 60,
  /** An address in the kernel whose name is not known any more. */
  restoredTtlSeconds: 600,
  /** An identity nobody uses keeps its number and rows this long. */
  identityIdleMs: 5000,
  reconcileMs: 60_000,
  /** Without `settled`, what only the old policy needed goes after this. */
  settleMs: 10_000,
  retryMs: 1000,
  sliceMs: 2,
} as const satisfies Record<string, number>

const ITEMS = 128
const CONNTRACK_ITEMS = 256
const IDLE_MS = 250
const PROBLEM_PAUSE_MS = 10_000
/** A dump stops everything for its time; it may take this share. */
const RECONCILE_SHARE = 0.001

type Job = Generator<void>

/** The ledger without its thread: everything happens in calls of the loop (src/ledger.ts). */
export class LedgerCore {
  readonly state: NameState
  readonly sets = new LabelSets()
  readonly identities: IdentityTable
  readonly shapes: Shapes
  readonly writer: IpcacheWriter
  readonly desired: Desired
  readonly applier: PolicyApplier
  readonly #options: LedgerOptions
  readonly #timing: { readonly [K in keyof typeof TIMING]: number }
  readonly #keeper: StateKeeper
  readonly #batch: RequestBatch
  readonly #clients: readonly LedgerRings[]
  readonly #wakes: (() => void)[]
  readonly #problems = new Map<string, number>()
  #newest: Extract<LedgerRequest, { type: 'snapshot' }> | null = null
  #policyJob: Job | null = null
  /** The generation whose clean-up waits for `settled`, and until when. */
  #unsettled = -1
  #settleBy = 0
  #settled = -1
  #failedEndpoints: readonly number[] = []
  #chore: Job | null = null
  #nextConntrack = 0
  #nextReconcile: number
  #nextRetry = 0
  #pass = 0

  constructor(options: LedgerOptions) {
    this.#options = options
    this.#timing = { ...TIMING, ...options.timing }
    const { learning, stats, limits, nowMs } = options
    const table = new StandingTable(learning.table)
    this.#clients = learning.clients.map((buffer) => new LedgerRings(buffer))
    this.#wakes = options.wakes.map((wake) => options.makeWake(wake))
    this.identities = new IdentityTable(this.sets, {
      created: (identity) => {
        this.#keeper.identity(identity)
        this.shapes.addIdentity(identity, this.desired.generations)
      },
      freed: (identity) => this.shapes.removeIdentity(identity),
    })
    this.shapes = new Shapes(options.policyMaps, {
      rowWrites: (rows) => this.#count(IDENTITY.rowWrites, rows),
      rowErrors: () => {
        this.#count(IDENTITY.rowErrors)
        this.#problem('kernel', 'a policy map cannot be written')
      },
    })
    this.state = new NameState({
      limits,
      sets: this.sets,
      table,
      seed: learning.seed,
      nowSeconds: Math.floor(nowMs() / 1000),
      stats,
    })
    // Room for what the kernel has and we do not want, until it is removed.
    const mirror = new IpcacheMirror(limits.maxEntries + options.ipcacheEntries + 1024, learning.seed[0] | 0)
    this.writer = new IpcacheWriter(
      options.ipcache,
      mirror,
      this.identities,
      {
        beforeWrite: () => this.#keeper.flush(),
        rowsPresent: (identity) => this.shapes.retry(identity),
        failed: (addr16, offset, bits) => {
          this.#count(IDENTITY.ipcacheErrors)
          this.#problem('kernel', 'the ipcache cannot be written')
          const row = bits === 128 ? this.state.addresses.find(addr16, offset) : -1
          if (row >= 0) this.state.unstand(row)
        },
        updated: (entries) => this.#count(IDENTITY.ipcacheUpdates, entries),
        deleted: (entries) => this.#count(IDENTITY.ipcacheDeletes, entries),
      },
      nowMs,
    )
    const nodes = options.nodeAddresses.map(parseIp)
    this.desired = new Desired(this.sets, this.identities, this.writer, (a, o) => this.state.labelsOf(a, o), nodes, {
      covered: () => this.#count(IDENTITY.coveredByStronger),
      exhausted: () => {
        this.#count(IDENTITY.exhausted)
        this.#problem('kernel', 'no identity number is left')
      },
    })
    this.#keeper = new StateKeeper({
      directory: options.stateDir,
      bootId: options.bootId,
      snapshotIntervalMs: options.snapshotIntervalMs,
      restoreGraceSeconds: this.#timing.restoreGraceSeconds,
      state: this.state,
      identities: this.identities,
      sets: this.sets,
      nowMs,
      post: options.post,
      problem: (what, message) => this.#problem(what, message),
    })
    this.applier = new PolicyApplier(this.#world())
    this.#batch = new RequestBatch({
      clients: this.#clients,
      wakes: this.#wakes,
      state: this.state,
      writer: this.writer,
      keeper: this.#keeper,
      rules: learning,
      settle: () => this.#settleNow(),
    })
    this.#nextReconcile = nowMs() + this.#timing.reconcileMs
    if (options.restarted) this.#takeOver(table)
  }

  /** The ledger before this one died: nothing of what it held in its hands is known. */
  #takeOver(table: StandingTable): void {
    table.clear()
    this.#clients.forEach((rings, i) => {
      if (rings.recover(2) > 0) this.#wakes[i]?.()
    })
  }

  #count(counter: number, by = 1): void {
    this.#options.stats[counter] = (this.#options.stats[counter] as number) + by
  }

  #problem(what: 'state' | 'journal' | 'kernel' | 'internal', message: string): void {
    const now = this.#options.nowMs()
    if ((this.#problems.get(what) ?? -Infinity) > now - PROBLEM_PAUSE_MS) return
    this.#problems.set(what, now)
    this.#options.post({ type: 'problem', what, message })
  }

  #world(): PolicyWorld {
    const { identities, sets, shapes, writer, desired } = this
    return {
      identities,
      sets,
      shapes,
      writer,
      desired,
      names: this.#names(),
      nowMs: () => this.#options.nowMs(),
      settleAddresses: () => this.#settleAddresses(),
      restoreNumbers: () => this.#restoreNumbers(),
      restoreNames: () => this.#restoreNames(),
      sweep: () => this.#sweep(),
    }
  }

  /** The state as a policy change sees it; new endpoints are noted in the journal. */
  #names(): PolicyWorld['names'] {
    const { state } = this
    return {
      get matcher() {
        return state.matcher
      },
      set matcher(matcher) {
        state.matcher = matcher
      },
      get endpoints() {
        return state.endpoints
      },
      reevaluate: (from, max) => state.reevaluate(from, max),
      labelsOf: (addr16, offset) => state.labelsOf(addr16, offset),
      touchAddresses: (from, max) => state.touchAddresses(from, max),
      addEndpoint: (id, key) => {
        if (state.endpoint(id) === undefined) this.#keeper.endpoint(id, key)
        state.addEndpoint(id, key)
      },
      dropEndpoint: (id, nowSeconds, max) => {
        const gone = state.dropEndpoint(id, nowSeconds, max)
        if (gone) this.#keeper.endpoint(id, '')
        return gone
      },
      adopt: (addr16, offset, set, until) => state.adopt(addr16, offset, set, until),
    }
  }

  readonly #look = (_row: number, bytes: Uint8Array, offset: number, labels: number): void =>
    this.desired.address(bytes, offset, labels)

  #settleNow(): void {
    while (this.state.addresses.changed.length > 0) this.state.addresses.drain(ITEMS, this.#look)
    this.#keeper.flush()
    this.writer.flush()
  }

  *#settleAddresses(): Job {
    while (this.state.addresses.changed.length > 0) {
      this.state.addresses.drain(ITEMS, this.#look)
      this.writer.flush()
      yield
    }
    this.writer.flush()
  }

  /** Numbers of the state directory, then the kernel's entries; every number that is found is taken. */
  *#restoreNumbers(): Job {
    yield* this.#keeper.restoreNumbers()
    const { identities, writer } = this
    const addr16 = new Uint8Array(16)
    let n = 0
    for (const { cidr, identity } of this.#options.ipcache.dump()) {
      const record = identities.byNumber(identity)
      if (record !== undefined) identities.retain(record)
      else if (!identities.local.claim(identity)) identities.cluster.claim(identity)
      if (record === undefined && isLocalIdentity(identity)) this.#count(IDENTITY.unknownRemoved)
      else this.#count(IDENTITY.adopted)
      writer.adopt(addr16, 0, this.#key(cidr, addr16), identity)
      if (++n % ITEMS === 0) yield
    }
  }

  #key(cidr: Cidr, addr16: Uint8Array): number {
    writeAddr16(cidr.ip, addr16, 0)
    return cidr.bits + (cidr.ip.family === 4 ? 96 : 0)
  }

  /** Names of the state directory; then addresses in the kernel that have a name's labels and no name. */
  *#restoreNames(): Job {
    yield* this.#keeper.restoreNames()
    const { mirror } = this.writer
    const until = Math.floor(this.#options.nowMs() / 1000) + this.#timing.restoredTtlSeconds
    for (let row = 0; row < mirror.high; row++) {
      if (row % ITEMS === ITEMS - 1) yield
      const record = this.identities.byNumber(mirror.written[row] as number)
      if (record === undefined || mirror.bits[row] !== 128) continue
      if (this.state.addresses.find(mirror.bytes, row * 16) >= 0) continue
      const labels = this.sets.labels(record.set).filter((label) => label.startsWith('fqdn:'))
      if (labels.length === 0) continue
      const set = this.sets.of(labels)
      this.state.adopt(mirror.bytes, row * 16, set, until)
      this.sets.release(set)
    }
  }

  *#sweep(): Job {
    const { mirror } = this.writer
    for (let row = 0; row < mirror.high; row++) {
      if (row % ITEMS === ITEMS - 1) {
        this.writer.flush()
        yield
      }
      if (mirror.written[row] === 0) continue
      const bits = mirror.bits[row] as number
      const at = row * 16
      if (this.desired.isStatic(mirror.bytes, at, bits)) continue
      if (bits === 128) this.desired.address(mirror.bytes, at, this.state.labelsOf(mirror.bytes, at))
      else this.writer.want(mirror.bytes, at, bits, 0)
    }
    this.writer.flush()
    this.#keeper.releaseHeld()
  }

  /** The first policy is in the kernel: requests are taken from now on. */
  get ready(): boolean {
    return this.applier.current !== null
  }

  request(message: LedgerRequest): void {
    switch (message.type) {
      case 'snapshot':
        this.#newest = message
        return
      case 'settled':
        this.#settled = Math.max(this.#settled, message.generation)
        return
      case 'resetClient': {
        const ringGeneration = this.#clients[message.client]?.reset() ?? 0
        this.#wakes[message.client] = this.#options.makeWake(message.wake)
        this.#options.post({ type: 'clientReset', client: message.client, ringGeneration })
        return
      }
      case 'stateWritten':
        this.#keeper.written(message.sequence, message.ok)
        return
      case 'nodes':
        this.desired.setNodes(message.addresses.map(parseIp))
        this.#unsettled = Math.max(this.#unsettled, 0)
        return
      case 'query': {
        const world = { state: this.state, mirror: this.writer.mirror, identities: this.identities, sets: this.sets }
        const answer = answerQuery(world, message.query, Math.floor(this.#options.nowMs() / 1000))
        this.#options.post({ type: 'answer', id: message.id, answer })
        return
      }
    }
  }

  /** One batch of requests; how many were completed. */
  drain(): number {
    if (!this.ready) return 0
    const start = this.#options.nowMs()
    const n = this.#batch.run(start)
    if (n > 0) this.#measure(start)
    return n
  }

  #measure(start: number): void {
    const took = this.#options.nowMs() - start
    if (took > (this.#options.stats[IDENTITY.longestSliceMs] as number))
      this.#options.stats[IDENTITY.longestSliceMs] = took
  }

  /** At most one slice of everything else. Returns how long the loop may sleep, ms. */
  slice(): number {
    const start = this.#options.nowMs()
    const end = start + this.#timing.sliceMs
    let busy = true
    while (busy && this.#options.nowMs() < end) busy = this.#step()
    this.#gauge()
    this.#measure(start)
    if (this.#policyJob !== null) return 0
    return busy || this.#chore !== null ? 1 : IDLE_MS
  }

  /** A piece of work of well under a millisecond; false when there is nothing to do now. */
  #step(): boolean {
    const now = this.#options.nowMs()
    const { state } = this
    let more = !state.advance(Math.floor(now / 1000), ITEMS)
    if (this.#policyStep(now)) return true
    if (!this.ready) return more
    if (state.addresses.changed.length > 0) {
      state.addresses.drain(ITEMS, this.#look)
      this.writer.flush()
      more = true
    }
    if (this.identities.unused > 0 && !this.identities.collect(now - this.#timing.identityIdleMs, 64)) more = true
    this.#chore ??= this.#nextChore(now)
    if (this.#chore === null) return more
    this.#chore = this.#advance(this.#chore)
    return true
  }

  /** The job, or null when it is over. */
  #advance(job: Job): Job | null {
    try {
      return job.next().done === true ? null : job
    } catch (error) {
      this.#problem('internal', error instanceof Error ? (error.stack ?? error.message) : String(error))
      return null
    }
  }

  #policyStep(now: number): boolean {
    if (this.#policyJob !== null) {
      this.#policyJob = this.#advance(this.#policyJob)
      return true
    }
    if (this.#newest !== null) {
      const { buffer, generation } = this.#newest
      this.#newest = null
      this.#policyJob = this.#apply(buffer, generation)
      return true
    }
    const due = this.#unsettled >= 0 && (this.#settled >= this.#unsettled || now >= this.#settleBy)
    if (!due || !this.ready) return false
    this.#unsettled = -1
    this.#policyJob = this.#clean()
    return true
  }

  /** A clean-up gives way to a newer policy, whose own clean-up does the rest. */
  *#clean(): Job {
    for (const _ of this.applier.clean()) {
      if (this.#newest !== null) return
      yield
    }
  }

  *#apply(buffer: SharedArrayBuffer, generation: number): Job {
    const start = this.#options.nowMs()
    let result: ApplyResult
    try {
      result = yield* this.applier.apply(this.#options.openView(buffer))
    } catch (error) {
      this.applier.abort()
      this.#unsettled = 0
      this.#settleBy = 0
      const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
      this.#options.post({ type: 'refused', generation, message })
      return
    }
    this.#keeper.flush()
    const ms = this.#options.nowMs() - start
    this.#options.stats[IDENTITY.applyMs] = ms
    this.#options.stats[IDENTITY.generation] = generation
    this.#unsettled = generation
    this.#settleBy = this.#options.nowMs() + this.#timing.settleMs
    this.#failedEndpoints = result.failedEndpoints
    this.#options.post({ type: 'ack', generation, failedEndpoints: result.failedEndpoints, ms })
  }

  #nextChore(now: number): Job | null {
    const { state, writer } = this
    if (now >= this.#nextRetry && (writer.failing > 0 || this.#failedEndpoints.length > 0)) {
      this.#nextRetry = now + this.#timing.retryMs
      return this.#retry()
    }
    if (now >= this.#nextConntrack && (state.wheel.limboCount > 0 || state.pressed)) return this.#conntrack()
    if (this.#keeper.due()) return this.#keeper.encode()
    if (now >= this.#nextReconcile) return this.#reconcile()
    return null
  }

  *#retry(): Job {
    this.#count(IDENTITY.retries, this.writer.retry())
    this.writer.flush()
    if (this.#failedEndpoints.length === 0) return
    const failed = yield* this.applier.retry()
    const better = failed.length < this.#failedEndpoints.length
    this.#failedEndpoints = failed
    const generation = this.applier.current?.view.generation
    if (better && generation !== undefined)
      this.#options.post({ type: 'ack', generation, failedEndpoints: failed, ms: 0 })
  }

  *#conntrack(): Job {
    const { state } = this
    const { conntrack, nowMs } = this.#options
    state.beginPass()
    const live = (_endpoint: Uint8Array, remote: Uint8Array): void => state.markLive(remote, 0)
    try {
      while (conntrack.scan(CONNTRACK_ITEMS, Math.floor(nowMs() / 1000), live)) yield
    } catch (error) {
      state.abandonPass()
      this.#nextConntrack = nowMs() + this.#options.conntrackIntervalMs
      this.#problem('kernel', `conntrack cannot be read: ${String(error)}`)
      return
    }
    state.endPass()
    while (!state.reap(Math.floor(nowMs() / 1000), ITEMS)) {
      yield* this.#settleAddresses()
      yield
    }
    yield* this.#settleAddresses()
    this.#nextConntrack = nowMs() + this.#options.conntrackIntervalMs
  }

  *#reconcile(): Job {
    const { nowMs, ipcache } = this.#options
    const start = nowMs()
    const job = reconcileIpcache(ipcache, this.writer, ++this.#pass)
    let step = job.next()
    const dump = nowMs() - start
    while (step.done !== true) {
      yield
      step = job.next()
    }
    const { foreign, changed, missing } = step.value
    this.#count(IDENTITY.foreign, foreign)
    this.#count(IDENTITY.changed, changed)
    this.#count(IDENTITY.missing, missing)
    this.writer.flush()
    this.#count(IDENTITY.policyRepairs, this.shapes.repair())
    yield* this.#reconcileRows()
    this.#count(IDENTITY.reconciles)
    this.#nextReconcile = nowMs() + Math.max(this.#timing.reconcileMs, dump / RECONCILE_SHARE)
  }

  *#reconcileRows(): Job {
    for (const shape of this.shapes.live) {
      yield
      const generation = this.applier.current
      // A policy change is under way: what it writes is not judged in the middle of it.
      if (generation === null || this.#policyJob !== null) return
      if (!this.shapes.isLive(shape)) continue
      const { foreign, changed, missing } = repairRows(shape, generation, this.identities)
      this.#count(IDENTITY.rowsForeign, foreign)
      this.#count(IDENTITY.rowsChanged, changed)
      this.#count(IDENTITY.rowsMissing, missing)
    }
  }

  #gauge(): void {
    const { stats } = this.#options
    this.state.gauge()
    stats[IDENTITY.identities] = this.identities.size
    stats[IDENTITY.shapes] = this.shapes.size
    stats[IDENTITY.ipcacheEntries] = this.writer.mirror.count
  }

  /** Answers what still waits and hands the whole state to main. */
  stop(): void {
    while (this.drain() > 0) continue
    // Without a first policy nothing was restored: what is on disk is better than nothing.
    if (this.ready) this.#keeper.finish()
    this.#options.post({ type: 'stopped' })
  }
}

import { adopt } from './adopt.ts'
import { CallTimes } from './call-times.ts'
import type { NodeRecord } from './directory/record.ts'
import { InOrder } from './drivers/in-order.ts'
import { peersByKey } from './engine/by-key.ts'
import { endsWithin, sleep } from './engine/clock.ts'
import { DirectoryFeed } from './engine/directory-feed.ts'
import { Effects } from './engine/effects.ts'
import { Excuses } from './engine/excuses.ts'
import { Executor } from './engine/executor.ts'
import { sessionProven } from './engine/facts.ts'
import { Faults } from './engine/faults.ts'
import { KeyLog } from './engine/key-log.ts'
import { Leftovers } from './engine/leftovers.ts'
import { Legacy } from './engine/legacy.ts'
import { Members } from './engine/members.ts'
import { Peers } from './engine/peers.ts'
import { Poller } from './engine/poller.ts'
import { ASK_MS, Probing } from './engine/probing.ts'
import { Publisher } from './engine/publisher.ts'
import { RotationLog, tickDelay } from './engine/rotation-log.ts'
import { RouteKeeper } from './engine/route-keeper.ts'
import { SlotJobs } from './engine/slot-jobs.ts'
import { peerCounts } from './engine/status.ts'
import {
  DEFAULT_TUNING,
  type Engine,
  type EngineOptions,
  type EngineParts,
  type EngineTuning,
  type SelfAddresses,
} from './engine/types.ts'
import { Timers } from './engine/timers.ts'
import { EngineView } from './engine/view.ts'
import type { Target } from './activation.ts'
import { yields } from './first-handshake.ts'
import { announcementFor, step } from './machine.ts'
import type { WgEvent, WgState } from './machine-types.ts'
import type { Announcement } from './pair.ts'
import type { WgDeviceOptions } from './ports.ts'
import type { WgCounters, WgPeerReport, WgReport } from './report.ts'
import type { KeyEvent, ProbeResult } from './seams.ts'
import { SLOTS, type Slot } from './slots.ts'

export type * from './engine/types.ts'
export { cleanupEngine } from './engine/cleanup.ts'
export { engineClock } from './engine/clock.ts'
export { probeAddresses } from './engine/wanted.ts'

const START_TRIES = 5
/** Errors that another try does not mend. */
const FATAL: ReadonlySet<unknown> = new Set(['SEKISHO_WG_UNSUPPORTED', 'SEKISHO_WG_DEVICE'])
const READY_SHARE = 0.95
/** The end does not wait longer for what runs. */
const STOP_MS = 20_000

export const createEngine = (options: EngineOptions, parts: EngineParts): Engine => new SealEngine(options, parts)

/** Runs the machine: what happens becomes events, and effects become calls. Decides nothing itself. */
class SealEngine implements Engine {
  readonly #options: EngineOptions
  readonly #parts: EngineParts
  readonly #tuning: EngineTuning
  readonly #faults: Faults
  readonly #calls = new CallTimes()
  readonly #keyLog: KeyLog
  readonly #feedOfDirectory: DirectoryFeed
  readonly #publisher: Publisher
  readonly #peers: Peers
  readonly #routes: RouteKeeper
  readonly #executor: Executor
  readonly #jobs: SlotJobs
  readonly #poller: Poller
  readonly #probing: Probing
  readonly #excuses: Excuses
  readonly #rotations = new RotationLog()
  readonly #timers: Timers
  readonly #legacy = new Legacy()
  readonly #leftovers: Leftovers
  readonly #members: Members
  readonly #effects: Effects
  readonly #view: EngineView
  #self: SelfAddresses
  #target: Target
  #state: WgState | undefined
  #startedAt: number | undefined
  #ready = false
  #stopped = false

  constructor(options: EngineOptions, parts: EngineParts) {
    this.#options = options
    this.#parts = { ...parts, driver: this.#calls.timed(parts.driver) }
    this.#tuning = { ...DEFAULT_TUNING, ...options.tuning }
    this.#self = { endpoints: options.endpoints, prefixes: options.prefixes, nodeIPs: options.nodeIPs }
    this.#target = options.target
    const { driver, routing, guard, clock, log } = this.#parts
    const tuning = this.#tuning
    const state = (): WgState => this.#now()
    const feed = (event: WgEvent): void => {
      this.#feed(event)
    }
    const faults = new Faults(log, clock)
    this.#faults = faults
    this.#timers = new Timers(clock, faults)
    this.#keyLog = new KeyLog(parts.keyLog)
    this.#probing = new Probing(tuning)
    this.#excuses = new Excuses(options.excuseAfterMs)
    const lane = new InOrder()
    const self = (): SelfAddresses => this.#self
    this.#feedOfDirectory = new DirectoryFeed(
      parts.directory,
      {
        domain: options.domain,
        name: options.node,
        uid: options.uid,
        get prefixes() {
          return self().prefixes
        },
        ...(options.accept === undefined ? {} : { accept: options.accept }),
        keys: () => this.#state?.slots.map(({ publicKey }) => publicKey) ?? [],
        proven: (record, prefixes) => sessionProven(this.#poller.dumps, record, prefixes),
      },
      clock,
      faults,
    )
    this.#publisher = new Publisher({
      directory: parts.directory,
      options,
      self,
      clock,
      faults,
      timeoutMs: tuning.publishTimeoutMs,
      published: ({ revision, slots }) => {
        this.#keyLog.published(slots, clock.wallMs())
        feed({ kind: 'published', revision })
        this.#feedOfDirectory.expect(revision)
      },
    })
    this.#peers = new Peers(options, this.#self, state, (record, prefixes) =>
      sessionProven(this.#poller.dumps, record, prefixes),
    )
    this.#routes = new RouteKeeper(routing, guard, () => clock.monotonicMs())
    const { retryMs } = tuning
    const common = { driver, devices: options.devices, state, clock, faults, retryMs }
    this.#executor = new Executor({
      ...common,
      peers: this.#peers,
      routes: this.#routes,
      dump: (slot) => this.#poller.dumps[slot],
    })
    this.#jobs = new SlotJobs({
      ...common,
      routing,
      lane,
      prober: parts.prober,
      counter: parts.counter,
      executor: this.#executor,
      options: (slot) => this.#deviceOptions(slot),
      feed,
    })
    this.#poller = new Poller({
      ...{ driver, options, routing, guard, calls: this.#calls, lane, state, feed, clock, faults, tuning },
      executor: this.#executor,
      jobs: this.#jobs,
      peers: this.#peers,
      seen: (slot, dump) => {
        this.#probing.traffic(this.#now(), slot, peersByKey(dump), clock.monotonicMs())
      },
      transitional: () => this.#probing.transitional(this.#now(), clock.monotonicMs()),
      removable: (slot, key) => this.#leftovers.removable(slot, key),
      tick: () => {
        this.#tick()
      },
    })
    const legacy = this.#legacy
    this.#leftovers = new Leftovers({
      feed: this.#feedOfDirectory,
      legacy,
      routes: this.#routes,
      clock,
      faults,
      tuning,
    })
    this.#members = new Members({
      encryptNodes: options.encryptNodes,
      view: this.#feedOfDirectory.view,
      ...{ peers: this.#peers, routes: this.#routes, executor: this.#executor, poller: this.#poller },
      ...{ probing: this.#probing, excuses: this.#excuses, legacy, prober: parts.prober, timers: this.#timers },
      ...{ clock, state, feed },
    })
    this.#effects = new Effects({
      ...{ publisher: this.#publisher, jobs: this.#jobs, executor: this.#executor, keyLog: this.#keyLog },
      ...{ state, clock },
    })
    this.#view = new EngineView({
      options,
      parts,
      state: () => this.#state,
      target: () => this.#target,
      feed: this.#feedOfDirectory,
      peers: this.#peers,
      members: this.#members,
      poller: this.#poller,
      probing: this.#probing,
      jobs: this.#jobs,
      rotations: this.#rotations,
      publisher: this.#publisher,
      calls: this.#calls,
      faults,
      failovers: () => this.#effects.failovers,
    })
  }

  async start(): Promise<void> {
    const { driver, routing, guard, counter, prober, clock } = this.#parts
    const keys: string[] = []
    const found: boolean[] = []
    for (const slot of SLOTS) {
      const made = await this.#try('making a device', () =>
        driver.create(this.#options.devices[slot], this.#deviceOptions(slot)),
      )
      keys.push(made.publicKey)
      found.push(!made.created)
    }
    const routed = await this.#try('starting the routes', () => routing.start())
    const guarded = await this.#try('starting the guard', () => guard.start())
    this.#legacy.adopt(routed.egress, guarded)
    for (const slot of SLOTS) await this.#try('starting the counter', () => counter.slotReplaced(slot))
    await this.#try('starting the probes', () =>
      prober.start({
        result: (result) => {
          this.#probed(result)
        },
        announce: (uid, slot) => this.#announcement(uid, slot),
      }),
    )
    for (const slot of SLOTS) {
      const dump = await this.#try('reading a device', () => driver.read(this.#options.devices[slot]))
      this.#poller.dumps[slot] = dump
      this.#leftovers.found(slot, dump)
    }
    this.#feedOfDirectory.open()
    await endsWithin(clock, this.#tuning.startWaitMs, this.#feedOfDirectory.complete)
    if (!this.#stopped) await this.#begin([keys[0] ?? '', keys[1] ?? ''], [found[0] === true, found[1] === true])
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#timers.stop()
    const { clock, prober, counter, routing, guard } = this.#parts
    const work = Promise.all([this.#poller.stop(), this.#executor.stop(), this.#jobs.stop()])
    if (!(await endsWithin(clock, STOP_MS, work))) this.#faults.tell('ending the work in hand', new Error('it hangs'))
    await this.#publisher.stop(this.#tuning.publishTimeoutMs)
    const ends = [prober, counter, this.#feedOfDirectory, routing, guard]
    for (const part of ends) {
      try {
        await part.stop()
      } catch (error) {
        this.#faults.tell('stopping a part', error)
      }
    }
  }

  ready(): boolean {
    if (this.#ready || this.#state === undefined || this.#startedAt === undefined) return this.#ready
    const now = this.#parts.clock.monotonicMs()
    const { expected, unproven } = peerCounts(this.#state, now)
    const most = this.#feedOfDirectory.view.complete && expected - unproven >= expected * READY_SHARE
    this.#ready = most || now - this.#startedAt >= this.#tuning.readyAfterMs
    return this.#ready
  }

  setTarget(target: Target): void {
    this.#target = target
    this.#feed({ kind: 'target', target })
  }

  changed(self: SelfAddresses): void {
    const before = this.#publisher.addresses()
    this.#self = self
    if (JSON.stringify(before) === JSON.stringify(this.#publisher.addresses())) return
    this.#peers.setSelf(self)
    this.#feed({ kind: 'republish' })
  }

  rotate(compromised: boolean): void {
    const wallMs = this.#parts.clock.wallMs()
    this.#feed({ kind: 'rotate', reason: compromised ? 'Compromise' : 'Rotate', wallMs })
    this.#tick()
  }

  report(): WgReport {
    return this.#view.report()
  }

  peers(): readonly WgPeerReport[] {
    return this.#view.peers()
  }

  peer(name: string): WgPeerReport | undefined {
    const all = this.peers()
    return all.find((peer) => peer.name === name) ?? all.find((peer) => peer.uid === name)
  }

  keyEvents(): readonly KeyEvent[] {
    return this.#keyLog.events
  }

  counters(): WgCounters {
    return this.#view.counters()
  }

  #now(): WgState {
    if (this.#state === undefined) throw new Error('the engine has not started')
    return this.#state
  }

  #deviceOptions(slot: Slot): WgDeviceOptions {
    return { listenPort: this.#options.ports[slot], fwmark: this.#options.fwmark, mtu: this.#parts.routing.mtu }
  }

  async #try<T>(what: string, act: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await act()
      } catch (error) {
        if (tries >= START_TRIES || this.#stopped || FATAL.has((error as { code?: unknown }).code)) throw error
        this.#faults.tell(what, error)
        await sleep(this.#parts.clock, this.#tuning.retryMs * tries)
      }
    }
  }

  /** The machine begins with what kernel and directory say. */
  async #begin(keys: readonly [string, string], found: readonly [boolean, boolean]): Promise<void> {
    const { clock } = this.#parts
    const now = clock.monotonicMs()
    const { own, view } = this.#feedOfDirectory
    const { uid, bootId, machine: config } = this.#options
    const { state, effects } = adopt(
      { uid, bootId, config, keys, found, own, target: this.#target, wallMs: clock.wallMs() },
      now,
    )
    this.#state = state
    this.#keyLog.adopt(state)
    this.#startedAt = now
    this.#rotations.phaseSince = now
    this.#publisher.created = own?.created
    this.#effects.do(effects, now)
    if (own !== undefined && !this.#says(own)) this.#feed({ kind: 'republish' })
    this.#feedOfDirectory.attach({
      peer: (record) => {
        this.#members.peer(record)
      },
      gone: (gone) => {
        this.#members.gone(gone)
      },
      own: (record) => {
        this.#own(record)
      },
      complete: () => {
        this.#publisher.setOpen()
      },
    })
    await this.#members.takeAll(() => this.#stopped)
    if (this.#stopped) return
    if (own !== undefined || view.complete) this.#publisher.setOpen()
    this.#poller.start()
    this.#timers.every('ask', ASK_MS, () => {
      this.#probing.askDue(this.#now(), this.#parts.prober, clock.monotonicMs())
    })
    this.#tick()
  }

  /** The addresses in our record are those that we have. */
  #says(own: NodeRecord): boolean {
    const { endpoints, prefixes, nodeIPs } = this.#publisher.addresses()
    return JSON.stringify([endpoints, prefixes, nodeIPs]) === JSON.stringify([own.endpoints, own.prefixes, own.nodeIPs])
  }

  #feed(event: WgEvent): void {
    const before = this.#state
    if (this.#stopped || before === undefined) return
    const now = this.#parts.clock.monotonicMs()
    const { state, effects } = step(before, event, now)
    this.#state = state
    this.#rotations.take(before.rotation, state.rotation, now)
    this.#effects.do(effects, now)
  }

  #probed(result: ProbeResult): void {
    if (this.#state === undefined || this.#stopped) return
    const { uid, slot, answered } = result
    if (!this.#probing.result(result, this.#state, this.#parts.clock.monotonicMs())) return
    this.#feed({ kind: 'probe', uid, slot, answered })
    if (!result.answered) return
    this.#feed({ kind: 'announced', uid, announcement: result.announcement })
    // There is a session, then: its handshake is looked for at once.
    if (this.#now().peers.get(uid)?.tunnels[slot].handshaken === false) this.#poller.hint(true)
  }

  /**
   * What is done, and not what is only decided: on the word that we send through the tunnel the peer drops what is still in
   * clear text, and on the word that we take clear text it sends some.
   */
  #announcement(uid: string, slot: Slot): Announcement | undefined {
    if (this.#state === undefined || this.#keepsSilent(uid, slot)) return undefined
    // Whole milliseconds, rounded down: what is said within one counts as said at its beginning.
    const said = announcementFor(this.#state, uid, Math.floor(this.#parts.clock.monotonicMs()))
    if (said === undefined) return undefined
    const mode = this.#routes.mode(uid) ?? 'off'
    return { ...said, mode, egress: this.#routes.egress(uid) ?? said.egress }
  }

  /**
   * Whoever asks through a tunnel that we leave the first handshake of has a session: a new one, which a look at the device shows,
   * or one that our old key had, and then the answer would begin a handshake.
   */
  #keepsSilent(uid: string, slot: Slot): boolean {
    const { peers, slots } = this.#now()
    const tunnel = peers.get(uid)?.tunnels[slot]
    if (tunnel === undefined || !yields(slots[slot], tunnel, this.#parts.clock.monotonicMs())) return false
    this.#poller.hint(true)
    // A peer that is new in the device has had no session with an old key.
    return tunnel.provesAfter > 0
  }

  #own(record: NodeRecord): void {
    const state = this.#now()
    const late = !this.#publisher.open
    this.#publisher.created = record.created
    if (late || record.revision > state.revision) {
      this.#feed({ kind: 'own', record, wallMs: this.#parts.clock.wallMs() })
    }
    this.#publisher.setOpen()
    this.#feedOfDirectory.expect(this.#now().acknowledged)
  }

  #tick(): void {
    try {
      this.#turn()
    } finally {
      this.#timers.after('tick', tickDelay(this.#state, this.#tuning), () => {
        this.#tick()
      })
    }
  }

  #turn(): void {
    if (this.#state === undefined || this.#stopped) return
    const { clock, counter } = this.#parts
    const wallMs = clock.wallMs()
    const { rotation } = this.#state
    if (rotation.phase === 'draining') {
      try {
        const packets = counter.packets(rotation.slot)
        this.#feed({ kind: 'traffic', slot: rotation.slot, packets })
      } catch (error) {
        this.#faults.tell('counting packets', error)
      }
    }
    this.#feed({ kind: 'tick', wallMs })
    const now = clock.monotonicMs()
    for (const { uid, excused } of this.#excuses.review(this.#state, now)) this.#feed({ kind: 'excused', uid, excused })
    this.#keyLog.review(this.#state, now, wallMs)
    const broken = this.#probing.broken(this.#state, now)
    if (broken !== undefined) {
      this.#parts.log.warn({ slot: broken }, 'a slot receives nothing although its handshakes work; it is made again')
      this.#feed({ kind: 'broken', slot: broken, gone: false, wallMs })
    }
    this.#feedOfDirectory.review(now)
    if (this.#feedOfDirectory.overrun(this.#state.acknowledged, now)) this.#feed({ kind: 'republish' })
    this.#leftovers.open()
  }
}

import type { CallTimes } from '../call-times.ts'
import type { InOrder } from '../drivers/in-order.ts'
import type { WgEvent, WgState } from '../machine-types.ts'
import { slotState } from '../pair.ts'
import type { WgDevice, WgDriver, WgEndpoint } from '../ports.ts'
import type { Guard, Routing } from '../seams.ts'
import { PROBES_LOST, SLOTS, type Slot } from '../slots.ts'
import type { Executor } from './executor.ts'
import { Finder, stampsOf } from './by-key.ts'
import type { Faults } from './faults.ts'
import type { Peers } from './peers.ts'
import { diffPeers, DiffMemory, endpointText } from './reconcile.ts'
import type { SlotJobs } from './slot-jobs.ts'
import type { EngineClock, EngineOptions, EngineTuning } from './types.ts'
import type { WantedPeer } from './wanted.ts'
import { noRepairs } from '../zero-report.ts'

/** A dump costs at most this part of the time; and this while something is waited for that only a dump shows. */
const SHARE = 20
const BUSY_SHARE = 5
/** What a dump can cost, ms, and each peer in it. Whatever takes longer waited for a processor, and would not wait less later. */
const DUMP_MS = 10
const PEER_MS = 0.1
/** After a hint that something changed, ms: what changes together is looked at once. */
const HINT_MS = 20
const HINT_GAP_MS = 100

export interface PollerParts {
  readonly driver: WgDriver
  readonly options: Pick<EngineOptions, 'devices' | 'ports' | 'fwmark'>
  readonly routing: Routing
  readonly guard: Guard
  readonly calls: CallTimes
  readonly lane: InOrder
  readonly executor: Executor
  readonly jobs: SlotJobs
  readonly peers: Peers
  readonly state: () => WgState
  readonly feed: (event: WgEvent) => void
  /** Told with each dump, before it is compared. */
  readonly seen: (slot: Slot, dump: WgDevice) => void
  readonly transitional: () => boolean
  /** A key that no tunnel has: true when it may be taken out. */
  readonly removable: (slot: Slot, key: string) => boolean
  readonly tick: () => void
  readonly clock: EngineClock
  readonly faults: Faults
  readonly tuning: EngineTuning
}

/** Looks at devices, routes and guard again and again, and mends what is not as the state says. */
export class Poller {
  readonly repairs = noRepairs()
  readonly dumps: [WgDevice | undefined, WgDevice | undefined] = [undefined, undefined]
  interrupted = 0
  readonly #stamps = [new Finder(), new Finder()] as const
  readonly #diffs = [new DiffMemory(), new DiffMemory()] as const
  readonly #p: PollerParts
  readonly #missing: [boolean, boolean] = [false, false]
  /** Endpoints that came back after we had set a published one: the peer's own packets come from there. */
  readonly #overruled = new Map<string, string>()
  #cancel: () => void = () => undefined
  #running: Promise<void> | undefined
  #dueAt = 0
  #endedAt = Number.NEGATIVE_INFINITY
  #costMs = 0
  #stopped = false

  constructor(parts: PollerParts) {
    this.#p = parts
  }

  start(): void {
    this.#schedule(this.#periodMs())
    this.#p.routing.watch(() => {
      this.hint()
    })
  }

  /** Something changed that may be of ours. `awaited`: for certain, and something waits for it. */
  hint(awaited = false): void {
    const now = this.#p.clock.monotonicMs()
    const share = awaited ? BUSY_SHARE : SHARE
    const gap = Math.min(Math.max(HINT_GAP_MS, this.#costMs * share), this.#periodMs())
    const at = Math.max(now + HINT_MS, this.#endedAt + gap)
    if (at < this.#dueAt) this.#schedule(at - now)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#cancel()
    await this.#running
  }

  forgetEndpoint(uid: string): void {
    for (const slot of SLOTS) this.#overruled.delete(`${slot} ${uid}`)
  }

  /** From the begin of a look to that of the next. */
  #periodMs(): number {
    const { pollMs, busyPollMs } = this.#p.tuning
    return this.#p.transitional()
      ? Math.max(busyPollMs, this.#costMs * BUSY_SHARE)
      : Math.max(pollMs, this.#costMs * SHARE)
  }

  /** Between two looks lies half a period, however slow the machine. */
  #restMs(tookMs: number): number {
    const period = this.#periodMs()
    return Math.max(period - tookMs, period / 2)
  }

  #schedule(ms: number): void {
    this.#cancel()
    if (this.#stopped) return
    this.#dueAt = this.#p.clock.monotonicMs() + ms
    this.#cancel = this.#p.clock.setTimer(() => {
      // A look that still runs counts for the one that is due; what it missed the next one sees.
      if (this.#running !== undefined) {
        this.#schedule(HINT_GAP_MS)
        return
      }
      const begun = this.#p.clock.monotonicMs()
      this.#dueAt = Number.POSITIVE_INFINITY
      this.#running = this.#look().finally(() => {
        this.#running = undefined
        const hinted = Number.isFinite(this.#dueAt)
        if (!hinted) this.#schedule(this.#restMs(this.#p.clock.monotonicMs() - begun))
      })
    }, ms)
  }

  async #look(): Promise<void> {
    const { clock, faults, lane, routing, guard, jobs } = this.#p
    const begun = clock.monotonicMs()
    for (const slot of SLOTS) {
      try {
        await this.#lookAt(slot)
      } catch (error) {
        if ((error as { code?: unknown }).code === 'SEKISHO_NETLINK_INTERRUPTED') this.interrupted++
        faults.tell('reading a device', error, { slot })
      }
    }
    const peers = SLOTS.reduce<number>((all, slot) => all + (this.dumps[slot]?.peers.length ?? 0), 0)
    this.#costMs = Math.min(clock.monotonicMs() - begun, DUMP_MS + PEER_MS * peers)
    this.#endedAt = clock.monotonicMs()
    try {
      // In the middle of a change of a device the routes of the slot are nobody's fault.
      if (!SLOTS.some((slot) => jobs.busy(slot))) {
        for (const repair of await this.#p.calls.time(
          'routes',
          lane.run(() => routing.check()),
        ))
          this.repairs[repair]++
      }
    } catch (error) {
      faults.tell('checking routes', error)
    }
    try {
      this.repairs.guard += await guard.check()
    } catch (error) {
      faults.tell('checking the guard', error)
    }
    this.#endedAt = clock.monotonicMs()
  }

  async #lookAt(slot: Slot): Promise<void> {
    const { driver, options, jobs, executor, clock, feed } = this.#p
    if (jobs.busy(slot)) return
    const [changes, mark] = [jobs.changes(slot), executor.mark]
    const dump = await driver.read(options.devices[slot])
    if (this.#stopped || jobs.changes(slot) !== changes) return
    if (dump === undefined) {
      this.#gone(slot)
      return
    }
    this.#missing[slot] = false
    this.dumps[slot] = dump
    this.#p.seen(slot, dump)
    await this.#ownSettings(slot, dump)
    feed({ kind: 'dump', slot, stamps: stampsOf(dump, this.#stamps[slot]), wallMs: clock.wallMs() })
    this.#compare(slot, dump, mark)
  }

  /** Nothing passes there any more: egress leaves now, and the device is made again. */
  #gone(slot: Slot): void {
    const { state, feed, clock, tick } = this.#p
    this.dumps[slot] = undefined
    if (!this.#missing[slot]) {
      this.#missing[slot] = true
      this.repairs.device++
    }
    for (const { uid, tunnels } of state().peers) {
      if (tunnels[slot].key === undefined) continue
      for (let lost = tunnels[slot].lost; lost < PROBES_LOST; lost++) {
        feed({ kind: 'probe', uid, slot, answered: false })
      }
    }
    feed({ kind: 'broken', slot, gone: true, wallMs: clock.wallMs() })
    tick()
  }

  async #ownSettings(slot: Slot, dump: WgDevice): Promise<void> {
    const { driver, options, state, feed, clock, jobs } = this.#p
    const [name, listenPort] = [options.devices[slot], options.ports[slot]]
    const { fwmark } = options
    if (dump.listenPort !== listenPort || dump.fwmark !== fwmark) {
      await driver.configure(name, { listenPort, fwmark })
      this.repairs.device++
    }
    // A change that has to be tried again tells of its key when all of it is done.
    if (jobs.changesKey(slot) || dump.publicKey === state().slots[slot].publicKey) return
    // Somebody set another key, or took it away. What is there now is ours, and must be told.
    const publicKey = dump.publicKey ?? (await driver.rotateKey(name))
    this.repairs.key++
    feed({ kind: 'keyMade', slot, publicKey, wallMs: clock.wallMs() })
  }

  #compare(slot: Slot, dump: WgDevice, mark: number): void {
    const { peers, executor, state, clock } = this.#p
    const roamed = (peer: WantedPeer, endpoint: WgEndpoint): boolean => {
      const [key, text] = [`${slot} ${peer.uid}`, endpointText(endpoint)]
      const pair = state().peers.get(peer.uid)
      const works = pair !== undefined && slotState(pair, slot, clock.monotonicMs()) === 'proven'
      if (works && this.#overruled.get(key) === text) return true
      this.#overruled.set(key, text)
      return false
    }
    const skip = (uid: string): boolean => executor.unsettled(uid, mark) || executor.silent(uid, slot)
    const { fixes, strangers } = diffPeers(peers.allWanted(slot), dump, { roamed, skip }, this.#diffs[slot])
    for (const { uid, endpoint, extra } of fixes) {
      this.repairs.peer++
      executor.markProgram(uid, slot, { endpoint, extra })
    }
    for (const key of strangers) {
      if (executor.unsettledKey(slot, key, mark) || !this.#p.removable(slot, key)) continue
      this.repairs.peer++
      executor.markDrop(slot, key)
    }
  }
}

import { formatCidr, type Cidr } from '../../core/ip.ts'
import type { WgState } from '../machine-types.ts'
import type { WgDevice, WgDriver, WgPeer, WgPeerSet } from '../ports.ts'
import { SLOTS, type Slot } from '../slots.ts'
import { peersByKey, type PeersByKey } from './by-key.ts'
import type { Faults } from './faults.ts'
import { Pace } from './pace.ts'
import type { Peers } from './peers.ts'
import { isPublished } from './reconcile.ts'
import type { RouteKeeper } from './route-keeper.ts'
import { Silent } from './silent.ts'
import type { EngineClock } from './types.ts'
import type { WantedPeer } from './wanted.ts'

/** Peers in one call: one message of the kernel's and one lock. Those that a key is taken from cost more than it: 16. */
const TOGETHER = 64
const REPLACED_TOGETHER = 16
/** Peers whose routes change at once: routing makes one plan of them. */
const ROUTED_TOGETHER = 256
/** A new key waits this long for the route of its peer to leave the tunnel. */
const UNMOVED_MS = 10_000
const MAX_BACKOFF = 8
/** Handshakes that had to wait go on in groups of so many milliseconds. */
const PACE_MS = 100
/** Keys that were taken out lately. */
const MAX_REMEMBERED = 10_000

interface Todo {
  /** Keys that the peer had here: taken out in the message that sets the new one. */
  replaces: ReadonlySet<string>
  extra: ReadonlyMap<string, Cidr>
  endpoint: boolean
}

/** Most have neither. */
const NO_KEYS: ReadonlySet<string> = new Set()
const NO_ADDRESSES: ReadonlyMap<string, Cidr> = new Map()

interface Current {
  readonly of: WgState['peers']
  readonly keys: ReadonlySet<string>
}

const NOTHING: Pick<PeersByKey, 'get'> = new Map<string, WgPeer>()

export interface ExecutorParts {
  readonly driver: WgDriver
  readonly devices: readonly [string, string]
  readonly peers: Peers
  readonly routes: RouteKeeper
  readonly state: () => WgState
  readonly dump: (slot: Slot) => WgDevice | undefined
  readonly clock: EngineClock
  readonly faults: Faults
  readonly retryMs: number
}

/**
 * Brings devices and routes to what the machine's state says, of those peers that are marked. Every pass goes: addresses are
 * added under keys that stay; routes move; keys are replaced and addresses taken away; handshakes are kicked. A mark says only
 * where to look, so a pass that failed is done again with what is right by then.
 */
export class Executor {
  readonly #p: ExecutorParts
  readonly #grow = new Set<string>()
  readonly #route = new Set<string>()
  readonly #gone = new Set<string>()
  readonly #program: readonly [Map<string, Todo>, Map<string, Todo>] = [new Map(), new Map()]
  readonly #drop: readonly [Set<string>, Set<string>] = [new Set(), new Set()]
  readonly #kick: readonly [Set<string>, Set<string>] = [new Set(), new Set()]
  readonly #paused: [boolean, boolean] = [false, false]
  /** Per peer: the pass that last touched it. */
  readonly #touched = new Map<string, number>()
  readonly #unmovedSince = new Map<string, number>()
  /** Keys that are on their way out, and those that are out: by which pass. */
  readonly #outgoing: readonly [Set<string>, Set<string>] = [new Set(), new Set()]
  readonly #removed: readonly [Map<string, number>, Map<string, number>] = [new Map(), new Map()]
  readonly #current: [Current | undefined, Current | undefined] = [undefined, undefined]
  readonly #pace = new Pace()
  readonly #silent: Silent
  #paced: (() => void) | undefined
  #held: (() => void)[] = []
  #backoff = 1
  #pass = 0
  #running: Promise<void> | undefined
  #stopped = false

  constructor(parts: ExecutorParts) {
    this.#p = parts
    this.#silent = new Silent(parts.state, parts.clock, (uid, slot) => {
      this.markKick(uid, slot)
    })
  }

  /** Taken before a dump is asked for, and given to `unsettled` with the answer. */
  get mark(): number {
    return this.#running === undefined ? this.#pass + 1 : this.#pass
  }

  /** The peer was changed since, or is about to be: a dump does not tell what it is. */
  unsettled(uid: string, mark: number): boolean {
    if (this.#pass < mark && this.#untouched()) return false
    return (
      (this.#touched.get(uid) ?? -1) >= mark ||
      this.#grow.has(uid) ||
      this.#unmovedSince.has(uid) ||
      SLOTS.some((slot) => this.#program[slot].has(uid) || this.#kick[slot].has(uid))
    )
  }

  /** Nothing waits: told without looking for each of thousands of peers. */
  #untouched(): boolean {
    const waiting = SLOTS.some((slot) => this.#program[slot].size + this.#kick[slot].size > 0)
    return !waiting && this.#grow.size + this.#unmovedSince.size === 0
  }

  /** The peer has no keepalive there yet, as the other end begins the handshake. */
  silent(uid: string, slot: Slot): boolean {
    return this.#silent.has(uid, slot)
  }

  /** The same of a key that is to go. */
  unsettledKey(slot: Slot, key: string, mark: number): boolean {
    return this.#outgoing[slot].has(key) || (this.#removed[slot].get(key) ?? -1) >= mark
  }

  /** Nothing waits and nothing runs. */
  get idle(): boolean {
    return (
      this.#running === undefined &&
      !this.#hasWork() &&
      !this.#waitsForPace() &&
      this.#held.length + this.#silent.size === 0
    )
  }

  /** Packets of a peer still leave by this slot although the machine has moved them. */
  leaving(slot: Slot): boolean {
    for (const { uid, egress } of this.#p.state().peers) {
      if (egress !== slot && this.#p.routes.egress(uid) === slot) return true
    }
    return false
  }

  markRoute(uid: string): void {
    this.#route.add(uid)
    this.#start()
  }

  /** Addresses of the peer changed: `extra` was its before. */
  markAddresses(uid: string, extra: readonly Cidr[]): void {
    this.#grow.add(uid)
    this.#route.add(uid)
    for (const slot of SLOTS) this.markProgram(uid, slot, { extra, endpoint: true })
  }

  markProgram(
    uid: string,
    slot: Slot,
    what: { replaces?: string | undefined; extra?: readonly Cidr[]; endpoint?: boolean } = {},
  ): void {
    const todo = this.#program[slot].get(uid) ?? { replaces: NO_KEYS, extra: NO_ADDRESSES, endpoint: false }
    if (what.replaces !== undefined) {
      todo.replaces = new Set(todo.replaces).add(what.replaces)
      this.#outgoing[slot].add(what.replaces)
    }
    const extra = what.extra ?? []
    if (extra.length > 0) {
      todo.extra = new Map([...todo.extra, ...extra.map((cidr) => [formatCidr(cidr), cidr] as const)])
    }
    todo.endpoint ||= what.endpoint ?? false
    this.#program[slot].set(uid, todo)
    this.#start()
  }

  markDrop(slot: Slot, key: string): void {
    this.#drop[slot].add(key)
    this.#outgoing[slot].add(key)
    this.#start()
  }

  markKick(uid: string, slot: Slot): void {
    this.#kick[slot].add(uid)
    this.#start()
  }

  markGone(uid: string): void {
    this.#gone.add(uid)
    this.#route.delete(uid)
    this.#start()
  }

  /** While a device is made again nothing is put into it. */
  pause(slot: Slot, paused: boolean): void {
    this.#paused[slot] = paused
    if (!paused) this.#start()
  }

  /** Puts every peer into a device that is new; passes over `pause`. */
  async programAll(slot: Slot): Promise<void> {
    const uids = [...this.#p.state().peers].map(({ uid }) => uid)
    await inTwos(batches(uids), async (batch) => {
      // The key is another, and nobody knows it: the machine neither, until all of them are in.
      const set = this.#stopped ? [] : batch.flatMap((uid) => this.#setOf(uid, slot, undefined, true))
      if (set.length > 0) await this.#p.driver.setPeers(this.#p.devices[slot], { set })
    })
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#paced?.()
    this.#silent.stop()
    await this.#running
  }

  #start(): void {
    if (this.#stopped || this.#running !== undefined) return
    this.#running = this.#run().finally(() => {
      this.#running = undefined
      if (this.#hasWork()) this.#start()
      else if (this.#waitsForPace()) this.#resume()
    })
  }

  #hasWork(): boolean {
    return (
      this.#grow.size + this.#route.size + this.#gone.size > 0 ||
      SLOTS.some((slot) => !this.#paused[slot] && this.#drop[slot].size > 0) ||
      (this.#waitsForPace() && this.#paceMs() === 0)
    )
  }

  /** Until a handshake may begin. */
  #paceMs(): number {
    const { peers, state, clock } = this.#p
    return peers.keepalive === 0 ? 0 : this.#pace.waitMs(state().peers.size, clock.monotonicMs())
  }

  /** There is something that begins handshakes. */
  #waitsForPace(): boolean {
    return SLOTS.some((slot) => !this.#paused[slot] && this.#program[slot].size + this.#kick[slot].size > 0)
  }

  #resume(): void {
    if (this.#stopped || this.#paced !== undefined) return
    this.#paced = this.#p.clock.setTimer(
      () => {
        this.#paced = undefined
        this.#start()
      },
      Math.max(PACE_MS, this.#paceMs()),
    )
  }

  /** As many of `marked` as may begin handshakes now; without keepalive none of them does. */
  #allowed(marked: number): number {
    if (this.#p.peers.keepalive === 0) return marked
    return this.#pace.take(marked, this.#p.state().peers.size, this.#p.clock.monotonicMs())
  }

  /** What is programmed now: those that begin a handshake as their pace allows. */
  #affordable(slot: Slot): [string, Todo][] {
    const todos = [...this.#program[slot]]
    const quiet = todos.filter(([uid]) => this.#silent.yields(uid, slot))
    if (quiet.length === 0) return todos.slice(0, this.#allowed(todos.length))
    const loud = todos.filter(([uid]) => !this.#silent.yields(uid, slot))
    return [...quiet, ...loud.slice(0, this.#allowed(loud.length))]
  }

  async #run(): Promise<void> {
    // Marks that are made together are looked at together.
    await Promise.resolve()
    while (!this.#stopped && this.#hasWork()) {
      this.#pass++
      const failures = this.#p.faults.count
      await this.#growAll()
      await this.#routeAll()
      for (const slot of SLOTS) await this.#programSlot(slot)
      for (const slot of SLOTS) await this.#kickSlot(slot)
      if (this.#p.faults.count === failures) this.#backoff = 1
    }
  }

  /** Does it again later. Nothing else waits for it. */
  #again(what: string, error: unknown, mark: () => void): void {
    this.#p.faults.tell(what, error)
    this.#hold(mark)
  }

  #hold(mark: () => void): void {
    if (this.#held.length === 0) {
      this.#p.clock.setTimer(() => {
        const held = this.#held
        this.#held = []
        if (this.#stopped) return
        for (const act of held) act()
      }, this.#p.retryMs * this.#backoff)
      this.#backoff = Math.min(this.#backoff * 2, MAX_BACKOFF)
    }
    this.#held.push(mark)
  }

  /** Addresses that are new go in before anything is routed to them, under keys that stay. */
  async #growAll(): Promise<void> {
    const uids = take(this.#grow)
    for (const slot of SLOTS) {
      if (this.#paused[slot]) continue
      const stays = uids.filter((uid) => (this.#program[slot].get(uid)?.replaces.size ?? 0) === 0)
      for (const batch of batches(stays)) {
        const set = batch.flatMap((uid) => {
          this.#touched.set(uid, this.#pass)
          const wanted = this.#p.peers.wanted(uid, slot)
          if (wanted === undefined) return []
          return [{ publicKey: wanted.publicKey, addAllowedIps: wanted.allowedIps, updateOnly: true }]
        })
        if (set.length === 0) continue
        try {
          await this.#p.driver.setPeers(this.#p.devices[slot], { set })
        } catch (error) {
          // The peers are programmed again below, and reconciled after that.
          this.#p.faults.tell('adding addresses to peers', error)
        }
      }
    }
  }

  /** What is marked while this runs is done in it: a peer that fails over does not wait for thousands of programs. */
  async #routeAll(): Promise<void> {
    while (!this.#stopped && this.#gone.size + this.#route.size > 0) {
      const gone = take(this.#gone).filter((uid) => this.#p.state().peers.get(uid) === undefined)
      const moved = take(this.#route, ROUTED_TOGETHER)
      // Who takes a prefix over claims it before it is given up: between the two its packets would go in clear text.
      await Promise.all(moved.map((uid) => this.#routePeer(uid)))
      await Promise.all(gone.map((uid) => this.#unroute(uid)))
    }
  }

  async #unroute(uid: string): Promise<void> {
    try {
      await this.#p.routes.remove(uid)
    } catch (error) {
      this.#again('removing the routes of a peer', error, () => {
        this.markGone(uid)
      })
    }
  }

  async #routePeer(uid: string): Promise<void> {
    const routes = this.#p.peers.routes(uid)
    if (routes === undefined) return
    try {
      await this.#p.routes.set(routes, this.#p.peers.get(uid)?.prefixes ?? [])
      this.#unmovedSince.delete(uid)
    } catch (error) {
      this.#again('routing a peer', error, () => {
        this.markRoute(uid)
      })
    }
  }

  async #programSlot(slot: Slot): Promise<void> {
    if (this.#paused[slot]) return
    const program = this.#program[slot]
    const todos = this.#affordable(slot)
    for (const [uid] of todos) program.delete(uid)
    const drops = take(this.#drop[slot])
    const replacing = todos.filter(([, { replaces }]) => replaces.size > 0)
    const others = todos.filter(([, { replaces }]) => replaces.size === 0)
    for (const batch of batches(replacing, REPLACED_TOGETHER)) {
      const ready = batch.filter(([uid, todo]) => !this.#waits(uid, slot, todo))
      await this.#programBatch(slot, ready)
      // A peer that must leave a tunnel does so before the next keys are replaced.
      if (this.#route.size > 0) await this.#routeAll()
    }
    const route = async (): Promise<void> => {
      if (this.#route.size > 0) await this.#routeAll()
    }
    await inTwos(batches(others), (batch) => this.#programBatch(slot, batch), route)
    const current = this.#currentKeys(slot)
    for (const key of drops) if (current.has(key)) this.#outgoing[slot].delete(key)
    for (const remove of batches(
      drops.filter((key) => !current.has(key)),
      REPLACED_TOGETHER,
    )) {
      try {
        await this.#p.driver.setPeers(this.#p.devices[slot], { remove })
        this.#out(slot, remove)
      } catch (error) {
        this.#again('removing peers', error, () => {
          for (const key of remove) this.markDrop(slot, key)
        })
      }
    }
  }

  /** The key is not replaced while packets still leave by it and could leave by the other slot. */
  #waits(uid: string, slot: Slot, todo: Todo): boolean {
    const pair = this.#p.state().peers.get(uid)
    if (todo.replaces.size === 0 || pair === undefined) return false
    if (pair.egress === slot || this.#p.routes.egress(uid) !== slot) return false
    const now = this.#p.clock.monotonicMs()
    const since = this.#unmovedSince.get(uid) ?? now
    this.#unmovedSince.set(uid, since)
    if (now - since >= UNMOVED_MS) return false
    this.#hold(() => {
      this.#restore(uid, slot, todo)
    })
    return true
  }

  #restore(uid: string, slot: Slot, todo: Todo): void {
    this.markProgram(uid, slot, { extra: [...todo.extra.values()], endpoint: todo.endpoint })
    for (const replaces of todo.replaces) this.markProgram(uid, slot, { replaces })
  }

  async #programBatch(slot: Slot, batch: readonly (readonly [string, Todo])[]): Promise<void> {
    for (const [uid] of batch) this.#touched.set(uid, this.#pass)
    const set = batch.flatMap(([uid, todo]) => this.#setOf(uid, slot, todo, this.#silent.yields(uid, slot)))
    const replaced = batch.flatMap(([, { replaces }]) => [...replaces])
    const remove = replaced.length === 0 ? [] : replaced.filter((key) => !this.#currentKeys(slot).has(key))
    if (set.length + remove.length === 0) return
    try {
      await this.#p.driver.setPeers(this.#p.devices[slot], { set, remove })
      this.#out(slot, replaced)
    } catch (error) {
      this.#again('programming peers', error, () => {
        for (const [uid, todo] of batch) this.#restore(uid, slot, todo)
      })
    }
  }

  #out(slot: Slot, keys: readonly string[]): void {
    const removed = this.#removed[slot]
    for (const key of keys) {
      this.#outgoing[slot].delete(key)
      removed.delete(key)
      removed.set(key, this.#pass)
    }
    for (const key of removed.keys()) {
      if (removed.size <= MAX_REMEMBERED) break
      removed.delete(key)
    }
  }

  /**
   * Everything the device must have of the peer, but keepalive when it is to be silent. Its endpoint is left alone where the device
   * knows a better one.
   */
  #setOf(uid: string, slot: Slot, todo: Todo | undefined, silent: boolean): WgPeerSet[] {
    const wanted = this.#p.peers.wanted(uid, slot)
    if (wanted === undefined) return []
    const { publicKey, allowedIps, endpoints } = wanted
    const keepalive = silent ? 0 : wanted.keepalive
    this.#silent.set(uid, slot, silent && wanted.keepalive > 0)
    const device = this.#inDevice(slot)
    const found = device.get(publicKey)
    const extra = extraOf(todo, allowedIps)
    const known = found?.endpoint
    const keeps = known !== undefined && (isPublished(known, wanted) || todo?.endpoint === false)
    // Under another key the device knows already which of several addresses works.
    const replaced = [...(todo?.replaces ?? [])].map((key) => device.get(key)).find((peer) => peer !== undefined)
    const before = replaced?.endpoint
    const endpoint = before !== undefined && isPublished(before, wanted) ? before : endpoints[0]
    const fresh = todo === undefined || (todo.replaces.size > 0 ? found === undefined : !keeps)
    return [
      {
        publicKey,
        keepalive,
        addAllowedIps: allowedIps,
        ...(endpoint === undefined || !fresh ? {} : { endpoint }),
        ...(extra.length === 0 ? {} : { removeAllowedIps: extra }),
      },
    ]
  }

  /** Made once for each state that has other peers: a batch of sixteen must not cost a walk over thousands. */
  #currentKeys(slot: Slot): ReadonlySet<string> {
    const { peers } = this.#p.state()
    const known = this.#current[slot]
    if (known?.of === peers) return known.keys
    const keys = new Set<string>()
    for (const { tunnels } of peers) {
      const { key } = tunnels[slot]
      if (key !== undefined) keys.add(key)
    }
    this.#current[slot] = { of: peers, keys }
    return keys
  }

  /** Peers of the last dump by their keys. */
  #inDevice(slot: Slot): Pick<PeersByKey, 'get'> {
    const dump = this.#p.dump(slot)
    return dump === undefined ? NOTHING : peersByKey(dump)
  }

  /** The change of keepalive from 0 makes a handshake begin. */
  async #kickSlot(slot: Slot): Promise<void> {
    if (this.#paused[slot]) return
    const kicks = this.#kick[slot]
    // A key that was made meanwhile: the other end begins after all.
    for (const uid of kicks) if (this.#silent.has(uid, slot) && this.#silent.yields(uid, slot)) kicks.delete(uid)
    for (const uids of batches(take(kicks, this.#allowed(kicks.size)))) {
      for (const uid of uids) this.#touched.set(uid, this.#pass)
      const peers = uids.flatMap((uid) => this.#p.peers.wanted(uid, slot) ?? [])
      if (peers.length === 0) continue
      const step = async (
        some: readonly WantedPeer[],
        seconds: (keepalive: number) => number = () => 0,
      ): Promise<void> => {
        if (some.length === 0) return
        await this.#p.driver.setPeers(this.#p.devices[slot], {
          set: some.map(({ publicKey, keepalive }) => ({ publicKey, keepalive: seconds(keepalive), updateOnly: true })),
        })
      }
      try {
        await step(peers.filter(({ uid }) => !this.#silent.has(uid, slot)))
        await step(peers, (keepalive) => keepalive)
        for (const uid of uids) this.#silent.set(uid, slot, false)
      } catch (error) {
        // A kick is asked for again by the machine; the keepalive must not stay off.
        this.#again('starting handshakes', error, () => {
          for (const uid of uids) this.markProgram(uid, slot)
        })
      }
    }
  }
}

/** In their order, the next handed over while the kernel works on the one before. None is begun after one that failed. */
async function inTwos<T>(
  all: Iterable<T>,
  act: (one: T) => Promise<void>,
  between: () => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  let before: Promise<void> | undefined
  for (const one of all) {
    const next = act(one)
    // Nobody would hear that it failed while the one before fails too.
    next.catch(() => undefined)
    await before
    await between()
    before = next
  }
  await before
}

/** Without making text of the addresses of peers that give up none. */
function extraOf(todo: Todo | undefined, allowedIps: readonly Cidr[]): Cidr[] {
  if (todo === undefined || todo.extra.size === 0) return []
  const right = new Set(allowedIps.map(formatCidr))
  return [...todo.extra].filter(([text]) => !right.has(text)).map(([, cidr]) => cidr)
}

function take<T>(set: Set<T>, most = Infinity): T[] {
  const values: T[] = []
  for (const value of set) {
    if (values.length >= most) break
    values.push(value)
    set.delete(value)
  }
  return values
}

function* batches<T>(all: readonly T[], together = TOGETHER): Iterable<T[]> {
  for (let i = 0; i < all.length; i += together) yield all.slice(i, i + together)
}

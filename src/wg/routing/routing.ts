import { SekishoError } from '../../core/errors.ts'
import { equalIp } from '../../core/ip.ts'
import {
  type AsyncNetlinkConnection,
  asyncRoutes,
  BATCH_REQUESTS,
  deleteNexthopRequest,
  deleteRouteRequest,
  isRefusal,
  listNexthops,
  NETLINK_ROUTE,
  openAsyncConnection,
  openConnection,
  type Request,
} from '../../netlink/netlink.ts'
import { sendsThroughTunnel } from '../activation.ts'
import { InOrder } from '../drivers/in-order.ts'
import type { FoundRoutes, PeerRoutes, RouteRepair, Routing } from '../seams.ts'
import type { Slot } from '../slots.ts'
import { ALL_PARTS, Changes, type Part, TABLE_PARTS } from './changes.ts'
import { Claims, type Touched } from './claims.ts'
import { Ground } from './ground.ts'
import { slotMtu } from './mtu.ts'
import type { RoutingDeps, RoutingOptions } from './options.ts'
import { podLinks, type PodLink, podWarnings, tooLarge } from './pod-links.ts'
import { familyOfPrefix, type Occasion, plan, Planner, type Scope } from './plan.ts'
import { apply, emptyRows, type Operation, type Prefix, type Rows } from './rows.ts'
import { procSysctl, type Sysctl } from './sysctl.ts'
import { familyOfOperation, isOurNexthop, type Others, requestOf, sourcesOf, TableReader } from './tables.ts'
import { followUnderlay, readUnderlay, type UnderlayView } from './underlay.ts'
import { warningsOf } from './warnings.ts'

/** Of `watch`: at most 20 calls a second. */
const WATCH_MS = 50
/** Everything is read anew this often, whatever the events said. */
const WHOLE_CHECK_MS = 60_000
/** Prefixes, and ids, of one turn of the event loop, when all of them are looked at. */
const SLICE = 1000

const KINDS: { readonly [what in Operation['do']]: RouteRepair } = {
  nexthop: 'nexthop',
  'drop-nexthop': 'nexthop',
  route: 'route',
  'drop-route': 'route',
  bound: 'route',
  'drop-bound': 'route',
  closed: 'unreachable',
  'drop-closed': 'unreachable',
}

type Change = (claims: Claims) => Touched

/** What is open while the part runs. */
interface Running {
  readonly connection: AsyncNetlinkConnection
  readonly changes: Changes
  readonly ground: Ground
  readonly reader: TableReader
}

export function createRouting(options: RoutingOptions, deps: RoutingDeps): Routing {
  return new KernelRouting(options, deps)
}

/** Routes of one network namespace. The kernel's requests run on the pool, in the order of the calls. */
class KernelRouting implements Routing {
  readonly #options: RoutingOptions
  readonly #deps: RoutingDeps
  readonly #sysctl: Sysctl
  readonly #inOrder = new InOrder().run
  readonly #others: Others = { nexthops: [], routes: new Map() }
  #claims: Claims
  #running: Running | undefined
  /** What the kernel has, as far as was read or written; parts that others changed since are in `#dirty`. */
  #rows: Rows = emptyRows()
  readonly #dirty = new Set<Part>(ALL_PARTS)
  #wholeAt = -Infinity
  #underlay: UnderlayView | undefined
  #pods: readonly PodLink[] = []
  #podsAt = -Infinity
  #warnings: readonly string[] = []
  /** Changes that wait for the next turn: they become one plan, so a prefix moves from peer to peer in one step. */
  #waiting: Change[] = []
  #turn: Promise<void> | undefined
  /** Interfaces may be others than `Ground` knows. */
  #linksStale = true
  #news = false
  #timer: NodeJS.Timeout | undefined

  constructor(options: RoutingOptions, deps: RoutingDeps) {
    this.#options = options
    this.#deps = deps
    this.#sysctl = deps.sysctl ?? procSysctl
    this.#claims = new Claims(options.nexthopBase)
  }

  /** Asked for before there are devices, so the first time the underlay is read on the thread of the caller. */
  get mtu(): number {
    if (this.#underlay === undefined) {
      const connection = openConnection(this.#deps.native, NETLINK_ROUTE)
      try {
        this.#underlay = readUnderlay(connection, this.#options)
      } finally {
        connection.close()
      }
    }
    return slotMtu(this.#underlay, this.#options.mtu)
  }

  start(): Promise<FoundRoutes> {
    return this.#inOrder(async () => {
      const running = this.#open()
      const { ground } = running
      await this.#follow(running)
      const [first, second] = this.#options.devices
      await ground.mend(this.mtu)
      const missing = ground.slots[0] === undefined ? first : ground.slots[1] === undefined ? second : undefined
      if (missing !== undefined) throw new SekishoError('SEKISHO_WG_DEVICE', `${missing} does not stand`)
      await this.#read(running, new Set(ALL_PARTS))
      this.#claims = new Claims(this.#options.nexthopBase)
      this.#claims.adopt(this.#rows, this.#others.nexthops)
      this.#wholeAt = this.#deps.clock.monotonicMs()
      this.#judge(running)
      return { egress: this.#claims.found() }
    })
  }

  setPeer(routes: PeerRoutes): Promise<void> {
    return this.#change((claims) => claims.set(routes)).then(() => {
      this.#demand(routes)
    })
  }

  removePeer(uid: string): Promise<void> {
    return this.#change((claims) => claims.remove(uid))
  }

  prune(): Promise<void> {
    return this.#change((claims) => claims.prune())
  }

  slotReplaced(slot: Slot): Promise<void> {
    return this.#inOrder(async () => {
      this.#soil(ALL_PARTS)
      await this.#check()
      if (this.#running?.ground.slots[slot] === undefined) {
        throw new SekishoError('SEKISHO_WG_DEVICE', `${this.#options.devices[slot]} does not stand`)
      }
    })
  }

  check(): Promise<readonly RouteRepair[]> {
    return this.#inOrder(() => this.#check())
  }

  watch(changed: () => void): void {
    clearInterval(this.#timer)
    this.#timer = setInterval(() => {
      try {
        this.#drain()
      } catch (error) {
        this.#deps.log.error({ err: error }, 'events of the routing tables could not be read')
        return
      }
      if (!this.#news) return
      this.#news = false
      changed()
    }, WATCH_MS).unref()
  }

  warnings(): readonly string[] {
    return this.#warnings
  }

  largePodInterfaces(): number {
    return tooLarge(this.#pods, this.mtu).length
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#timer = undefined
    await this.#inOrder(async () => {
      const running = this.#running
      this.#running = undefined
      running?.changes.close()
      await running?.connection.close()
    })
  }

  cleanup(): Promise<void> {
    return this.#inOrder(async () => {
      const { connection, ground } = this.#open()
      // Rules first: from then on everything goes in clear text, and what is taken away below misses nobody.
      await ground.remove()
      const requests: Request[] = []
      const { table, slotTables, protocol } = this.#options
      for (const family of ground.families) {
        for (const one of [table, ...slotTables]) {
          for (const route of await asyncRoutes(connection).list(family, one)) {
            if (route.protocol !== protocol) continue
            // A route names its nexthop or its interface, not both; reject routes of IPv6 show the loopback.
            requests.push(deleteRouteRequest(route.nexthop === undefined ? route : { ...route, oif: undefined }))
          }
        }
      }
      for (const nexthop of await listNexthops(connection)) {
        if (isOurNexthop(nexthop, this.#options)) requests.push(deleteNexthopRequest(nexthop.id))
      }
      const refused = (await connection.batch(requests)).find(
        (error) => error !== undefined && !isRefusal(error, 'ESRCH', 'ENOENT', 'ENODEV'),
      )
      this.#claims = new Claims(this.#options.nexthopBase)
      this.#soil(ALL_PARTS)
      if (refused !== undefined) throw refused
    })
  }

  #open(): Running {
    if (this.#running !== undefined) return this.#running
    const { native } = this.#deps
    const connection = openAsyncConnection(native, NETLINK_ROUTE)
    const ground = new Ground(connection, this.#options, this.#sysctl)
    const changes = new Changes(native, {
      devices: this.#options.devices,
      table: this.#options.table,
      slotTables: this.#options.slotTables,
      slotIndexes: () => ground.indexes,
      underlayIndexes: () => this.#underlay?.indexes ?? [],
      isNodeAddress: (ip) => this.#options.nodeAddresses?.some((one) => equalIp(one, ip)) === true,
      ownPort: () => connection.port,
    })
    const reader = new TableReader(connection, this.#options, sourcesOf(this.#options))
    this.#running = { connection, changes, ground, reader }
    this.#soil(ALL_PARTS)
    return this.#running
  }

  #change(change: Change): Promise<void> {
    this.#waiting.push(change)
    this.#turn ??= this.#inOrder(() => {
      const changes = this.#waiting
      this.#waiting = []
      this.#turn = undefined
      return this.#enact(changes)
    })
    return this.#turn
  }

  async #enact(changes: readonly Change[]): Promise<void> {
    const running = this.#open()
    const touched: Touched = { ids: new Set(), prefixes: new Set() }
    this.#drain()
    const mends = this.#dirty.has('routes')
    const sealed = mends ? this.#sealed() : new Set<Prefix>()
    for (const change of changes) {
      const { ids, prefixes } = change(this.#claims)
      for (const id of ids) touched.ids.add(id)
      for (const prefix of prefixes) touched.prefixes.add(prefix)
    }
    if (this.#linksStale) {
      this.#linksStale = false
      await running.ground.look()
    }
    this.#distrust(touched)
    const occasion = (prefix: Prefix): Occasion => (mends && sealed.has(prefix) ? 'mend' : 'change')
    await this.#write(running, this.#plan(running, touched, occasion))
  }

  /**
   * Where others changed the tables since they were read, what is wanted is written again without being read first: when a
   * device is lost, thousands of peers are moved, and each must not wait for a dump. The next check reads.
   */
  #distrust({ ids, prefixes }: Touched): void {
    const { nexthops, routes, closed, bound } = this.#rows
    if (this.#dirty.has('nexthops')) {
      for (const id of ids) if (this.#claims.nexthop(id) !== undefined) nexthops.delete(id)
    }
    for (const prefix of prefixes) {
      if (this.#dirty.has('routes')) {
        if (this.#claims.route(prefix) !== undefined) routes.delete(prefix)
        if (this.#claims.closed(prefix)) closed.delete(prefix)
      }
      if (this.#dirty.has('bound') && this.#claims.bound(prefix)) for (const one of bound) one.delete(prefix)
    }
  }

  /** A peer whose packets nobody takes is told of: they are shut until its device is back. */
  #demand({ egress, mode, prefixes }: PeerRoutes): void {
    const ground = this.#running?.ground
    if (ground === undefined || !sendsThroughTunnel(mode)) return
    const families = prefixes.map(({ ip }) => ip.family)
    const device = this.#options.devices[egress]
    // A device without IPv6 is a warning of its own: there the family stays shut.
    if (families.length > 0 && !ground.usable(egress, 4)) {
      throw new SekishoError('SEKISHO_WG_DEVICE', `${device} does not stand; its peers are shut`)
    }
  }

  async #check(): Promise<RouteRepair[]> {
    const running = this.#open()
    const { ground } = running
    const now = this.#deps.clock.monotonicMs()
    if (now - this.#wholeAt >= WHOLE_CHECK_MS) this.#soil(ALL_PARTS)
    this.#drain()
    this.#news = false
    const before = ground.indexes
    const parts = new Set(this.#dirty)
    this.#dirty.clear()
    try {
      if (parts.has('underlay')) await this.#follow(running)
      const repairs = await ground.mend(this.mtu)
      if (ground.indexes.some((index, slot) => index !== before[slot])) for (const part of ALL_PARTS) parts.add(part)
      if (TABLE_PARTS.some((part) => parts.has(part))) {
        await this.#read(running, parts)
        const operations = await this.#planAll(running)
        await this.#write(running, operations)
        repairs.push(...operations.map((operation) => KINDS[operation.do]))
      }
      if (TABLE_PARTS.every((part) => parts.has(part))) this.#wholeAt = now
      this.#judge(running)
      return repairs
    } catch (error) {
      this.#soil(parts)
      throw error
    }
  }

  /** Prefixes whose packets must not go in clear text. */
  #sealed(): Set<Prefix> {
    return new Set([...this.#claims.all().prefixes].filter((prefix) => this.#claims.closed(prefix)))
  }

  #plan({ ground }: Running, scope: Scope, occasion: Occasion | ((prefix: Prefix) => Occasion)): Operation[] {
    return plan(this.#rows, this.#claims, scope, ground.usable, this.#options.nexthopBase, occasion)
  }

  /** As `#plan`, of all that is wanted and all that is there, to mend it. Others get the event loop in between. */
  async #planAll({ ground }: Running): Promise<Operation[]> {
    const planner = new Planner(this.#rows, this.#claims, ground.usable, this.#options.nexthopBase, 'mend')
    const { ids, prefixes } = this.#claims.all()
    const { nexthops, routes, closed, bound } = this.#rows
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
    let looked = 0
    for (const id of union(ids, [nexthops.keys()])) {
      planner.id(id)
      if (++looked % SLICE === 0) await turn()
    }
    for (const prefix of union(prefixes, [routes.keys(), closed, bound[0].keys(), bound[1].keys()])) {
      planner.prefix(prefix)
      if (++looked % SLICE === 0) await turn()
    }
    return planner.operations()
  }

  async #read({ reader, ground }: Running, parts: ReadonlySet<Part>): Promise<void> {
    for (const part of parts) this.#dirty.delete(part)
    this.#rows = await reader.read(this.#rows, this.#others, parts, ground.indexes, ground.families)
  }

  async #follow(running: Running): Promise<void> {
    const { connection, ground } = running
    const underlay = await followUnderlay(connection, this.#options, ground.families)
    // An underlay that is gone for a moment comes back as it was. Pods keep a smaller path MTU for ten minutes.
    if (underlay.mtu !== undefined || this.#underlay?.mtu === undefined) this.#underlay = underlay
    // The main table may have a route to each node, and nothing waits for what is told of pods.
    const now = this.#deps.clock.monotonicMs()
    if (now - this.#podsAt < WHOLE_CHECK_MS) return
    this.#podsAt = now
    const { podPrefixes = [], devices } = this.#options
    const not = { devices, underlay: this.#underlay }
    this.#pods = await podLinks(connection, podPrefixes, not, ground.families)
  }

  /** What is refused is thrown after all others were asked for; the next check reads everything anew. */
  async #write({ connection, ground }: Running, all: readonly Operation[]): Promise<void> {
    const { nexthopBase } = this.#options
    const sources = sourcesOf(this.#options)
    const operations = all.filter((one) => ground.families.includes(familyOfOperation(one, nexthopBase)))
    const requestsOf = (at: number): Request[] =>
      operations.slice(at, at + BATCH_REQUESTS).map((one) => requestOf(one, this.#options, ground.indexes, sources))
    let refused: unknown
    let requests = requestsOf(0)
    for (let at = 0; at < operations.length; at += BATCH_REQUESTS) {
      const some = operations.slice(at, at + BATCH_REQUESTS)
      const answered = connection.batch(requests)
      answered.catch(() => undefined)
      // Made while the kernel works.
      await Promise.resolve()
      requests = requestsOf(at + BATCH_REQUESTS)
      const answers = await answered.catch((error: unknown) => {
        this.#soil(ALL_PARTS)
        throw error
      })
      for (const [i, operation] of some.entries()) {
        const error = answers[i]
        const gone = operation.do.startsWith('drop-') && isRefusal(error, 'ESRCH', 'ENOENT', 'ENODEV')
        if (error === undefined || gone) apply(this.#rows, operation)
        else refused ??= error
      }
      // Our own changes are told to us too: read away before they overrun the queue.
      this.#drain()
    }
    // Also after a refusal: what was added takes effect.
    if (operations.some((one) => (one.do === 'route' || one.do === 'closed') && familyOfPrefix(one.prefix) === 6)) {
      await ground.renewSockets()
    }
    if (refused === undefined) return
    this.#soil(ALL_PARTS)
    throw refused as Error
  }

  #drain(): void {
    const parts = this.#running?.changes.drain() ?? new Set<Part>()
    if (parts.size === 0) return
    this.#soil(parts)
    this.#news = true
    if (parts.has('ground')) this.#linksStale = true
  }

  #soil(parts: Iterable<Part>): void {
    for (const part of parts) this.#dirty.add(part)
  }

  #judge({ ground }: Running): void {
    const { devices, rulePriority } = this.#options
    const warnings = warningsOf(this.#sysctl, {
      devices,
      underlay: this.#underlay?.names ?? [],
      mtu: this.mtu,
      fits: this.#underlay?.mtu === undefined ? undefined : slotMtu(this.#underlay, 0),
      rulePriority,
      rulesBefore: ground.rulesBefore,
      foreignRoutes: this.#others.routes,
      foreignNexthops: this.#others.nexthops.length,
    }).concat(podWarnings(this.#pods, this.mtu))
    for (const warning of warnings) {
      if (!this.#warnings.includes(warning)) this.#deps.log.warn({}, warning)
    }
    this.#warnings = warnings
  }
}

/** Each once; what is not in `known` is added. */
function* union<T>(known: Set<T>, others: readonly Iterable<T>[]): Generator<T> {
  yield* known
  for (const values of others) {
    for (const one of values) {
      if (known.has(one)) continue
      known.add(one)
      yield one
    }
  }
}

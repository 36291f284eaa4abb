import { type Cidr, equalIp, formatCidr, type Ip, parseCidr } from '../../core/ip.ts'
import {
  type AsyncNetlinkConnection,
  asyncRoutes,
  deleteNexthopRequest,
  deleteRouteRequest,
  type Nexthop,
  replaceNexthopRequest,
  replaceRouteRequest,
  type Request,
  type Route,
  RT_SCOPE_LINK,
  RTN_UNICAST,
  RTN_UNREACHABLE,
  walkNexthops,
} from '../../netlink/netlink.ts'
import { SLOTS, type Slot } from '../slots.ts'
import { NEXTHOP_INDEXES } from './claims.ts'
import type { RoutingOptions } from './options.ts'
import { familyOfNexthop, familyOfPrefix } from './plan.ts'
import { emptyRows, type Operation, OTHER, type Prefix, type Rows } from './rows.ts'

/**
 * Always said: a request to delete that names no metric takes whatever route of the prefix comes first, also the
 * unreachable one. This is IPv6's default.
 */
const ROUTE_METRIC = 1024
/** Behind any route. */
const CLOSED_METRIC = 0xff000000

export type TableOptions = Pick<RoutingOptions, 'table' | 'slotTables' | 'protocol' | 'nexthopBase'>
/** Source of what the node itself sends to peers, by family: else it would be 169.254.x, which no peer accepts. */
export type Sources = { readonly [family in 4 | 6]: Ip | undefined }
/** Interface of each slot, undefined while there is none. */
export type Indexes = readonly [number | undefined, number | undefined]

export const FAMILIES = [4, 6] as const

export const sourcesOf = ({ preferredSource, probeAddresses }: RoutingOptions): Sources => ({
  4: preferredSource?.[4] ?? probeAddresses.find(({ family }) => family === 4),
  6: preferredSource?.[6] ?? probeAddresses.find(({ family }) => family === 6),
})

export const isOurNexthop = ({ id, protocol }: Nexthop, options: TableOptions): boolean =>
  protocol === options.protocol && inRange(id, options)

const inRange = (id: number, { nexthopBase }: TableOptions): boolean =>
  id >= nexthopBase && id < nexthopBase + 2 * NEXTHOP_INDEXES

export function familyOfOperation(operation: Operation, base: number): 4 | 6 {
  return 'prefix' in operation ? familyOfPrefix(operation.prefix) : familyOfNexthop(operation.id, base)
}

/** The message that does it. */
export function requestOf(operation: Operation, options: TableOptions, indexes: Indexes, sources: Sources): Request {
  const { protocol, table, slotTables, nexthopBase } = options
  const route = (prefix: Prefix): Route => {
    const destination: Cidr = parseCidr(prefix)
    const scope = destination.ip.family === 4 ? RT_SCOPE_LINK : 0
    return { destination, table, protocol, scope, type: RTN_UNICAST, oif: undefined, metric: ROUTE_METRIC }
  }
  const sourced = (one: Route): Route => {
    const source = sources[one.destination.ip.family]
    return source === undefined ? one : { ...one, source }
  }
  const closed = (prefix: Prefix): Route => ({
    ...route(prefix),
    scope: 0,
    type: RTN_UNREACHABLE,
    metric: CLOSED_METRIC,
  })
  // 0 is no interface: the kernel refuses it, should a device be lost between plan and message.
  const oif = (slot: Slot): number => indexes[slot] ?? 0
  switch (operation.do) {
    case 'nexthop': {
      const { id, slot } = operation
      return replaceNexthopRequest({ id, family: familyOfNexthop(id, nexthopBase), oif: oif(slot), protocol })
    }
    case 'drop-nexthop':
      return deleteNexthopRequest(operation.id)
    case 'route':
      return replaceRouteRequest(sourced({ ...route(operation.prefix), nexthop: operation.nexthop }))
    case 'drop-route':
      return deleteRouteRequest(route(operation.prefix))
    case 'closed':
      return replaceRouteRequest(closed(operation.prefix))
    case 'drop-closed':
      return deleteRouteRequest(closed(operation.prefix))
    case 'bound': {
      const { prefix, slot } = operation
      return replaceRouteRequest(sourced({ ...route(prefix), table: slotTables[slot], oif: oif(slot) }))
    }
    case 'drop-bound':
      return deleteRouteRequest({ ...route(operation.prefix), table: slotTables[operation.slot] })
  }
}

/** What a dump told, beside the rows. */
export interface Others {
  /** Ids in our range that are another's. */
  readonly nexthops: number[]
  /** Tables of ours with routes of others, with how many. */
  readonly routes: Map<number, number>
}

export type TablePart = 'nexthops' | 'routes' | 'bound'

/** Reads what the kernel has; tables of IPv6 only where there is IPv6. */
export class TableReader {
  readonly #connection: AsyncNetlinkConnection
  readonly #options: TableOptions
  readonly #sources: Sources

  constructor(connection: AsyncNetlinkConnection, options: TableOptions, sources: Sources) {
    this.#connection = connection
    this.#options = options
    this.#sources = sources
  }

  /** The rows anew where `parts` says so, as they were elsewhere. */
  async read(
    rows: Rows,
    others: Others,
    parts: ReadonlySet<string>,
    indexes: Indexes,
    families: readonly (4 | 6)[],
  ): Promise<Rows> {
    const fresh = emptyRows()
    const { table, slotTables } = this.#options
    if (parts.has('nexthops')) await this.#readNexthops(fresh, others, indexes)
    if (parts.has('routes')) {
      others.routes.delete(table)
      for (const family of families) {
        const found = await this.#gather(family, table, others, (rows, route) => {
          this.#take(rows, route)
        })
        for (const [prefix, id] of found.routes) fresh.routes.set(prefix, id)
        for (const prefix of found.closed) fresh.closed.add(prefix)
      }
    }
    if (parts.has('bound')) {
      for (const slot of SLOTS) {
        others.routes.delete(slotTables[slot])
        for (const family of families) {
          const found = await this.#gather(family, slotTables[slot], others, (rows, route) => {
            if (route.type !== RTN_UNICAST || route.metric !== ROUTE_METRIC) return
            const good = route.oif !== undefined && route.oif === indexes[slot] && this.#sourceIsRight(route)
            rows.bound[slot].set(formatCidr(route.destination), good)
          })
          for (const [prefix, good] of found.bound[slot]) fresh.bound[slot].set(prefix, good)
        }
      }
    }
    return {
      nexthops: parts.has('nexthops') ? fresh.nexthops : rows.nexthops,
      routes: parts.has('routes') ? fresh.routes : rows.routes,
      closed: parts.has('routes') ? fresh.closed : rows.closed,
      bound: parts.has('bound') ? fresh.bound : rows.bound,
    }
  }

  /** What `take` makes of the routes of our protocol in one table; those of others are counted. */
  async #gather(family: 4 | 6, table: number, others: Others, take: (rows: Rows, route: Route) => void): Promise<Rows> {
    let rows = emptyRows()
    let foreign = 0
    await asyncRoutes(this.#connection).walk(family, table, () => {
      rows = emptyRows()
      foreign = 0
      return (route) => {
        if (route.protocol === this.#options.protocol) take(rows, route)
        else foreign++
      }
    })
    if (foreign > 0) others.routes.set(table, (others.routes.get(table) ?? 0) + foreign)
    return rows
  }

  async #readNexthops(fresh: Rows, others: Others, indexes: Indexes): Promise<void> {
    await walkNexthops(this.#connection, () => {
      others.nexthops.length = 0
      fresh.nexthops.clear()
      return (nexthop) => {
        if (!inRange(nexthop.id, this.#options)) return
        if (nexthop.protocol !== this.#options.protocol) {
          others.nexthops.push(nexthop.id)
          return
        }
        const slot = SLOTS.find((one) => indexes[one] === nexthop.oif)
        const right = slot !== undefined && nexthop.family === familyOfNexthop(nexthop.id, this.#options.nexthopBase)
        fresh.nexthops.set(nexthop.id, right ? slot : OTHER)
      }
    })
  }

  #take(rows: Rows, route: Route): void {
    const prefix = formatCidr(route.destination)
    if (route.type === RTN_UNREACHABLE && route.metric === CLOSED_METRIC) rows.closed.add(prefix)
    if (route.type !== RTN_UNICAST || route.metric !== ROUTE_METRIC) return
    rows.routes.set(prefix, route.nexthop !== undefined && this.#sourceIsRight(route) ? route.nexthop : OTHER)
  }

  #sourceIsRight({ destination, source }: Route): boolean {
    const wanted = this.#sources[destination.ip.family]
    if (wanted === undefined || source === undefined) return wanted === source
    return equalIp(wanted, source)
  }
}

import { type Cidr, formatCidr, type Ip } from '../core/ip.ts'
import { AttributeReader, attributeU32, AttributeWriter } from './attributes.ts'
import type { AsyncNetlinkConnection } from './async-connection.ts'
import type { Request } from './batch.ts'
import type { NetlinkConnection } from './connection.ts'
import {
  AF_INET,
  AF_INET6,
  NLM_F_CREATE,
  NLM_F_REPLACE,
  RTA_DST,
  RTA_NH_ID,
  RTA_OIF,
  RTA_PREFSRC,
  RTA_PRIORITY,
  RTA_TABLE,
  RTM_DELROUTE,
  RTM_GETROUTE,
  RTM_NEWROUTE,
} from './constants.ts'
import { isRefusal } from './errors.ts'
import type { Message } from './message.ts'

/** struct rtmsg: u8 family, dst_len, src_len, tos, table, protocol, scope, type, u32 flags. */
const ROUTE_BYTES = 12

/** A route to an interface. */
export interface Route {
  readonly destination: Cidr
  readonly table: number
  /** RTPROT_*, RT_SCOPE_*, RTN_*. */
  readonly protocol: number
  readonly scope: number
  readonly type: number
  /** Index of the interface; undefined for routes without one (unreachable, ...) or with several. */
  readonly oif: number | undefined
  /** Routes of one destination differ in it; the smallest wins. Absent is the kernel's own: 0, for IPv6 1024. */
  readonly metric?: number
  /** Id of a nexthop object, in place of an interface. */
  readonly nexthop?: number
  /** Source of what the node itself sends. */
  readonly source?: Ip
}

/** One request is written at a time. */
const writer = new AttributeWriter()

/** Body of a request that adds or deletes the route. A slot of thousands of peers has ten thousand. */
export function encodeRoute(route: Route): Uint8Array[] {
  const header = new Uint8Array(ROUTE_BYTES)
  header[0] = route.destination.ip.family === 4 ? AF_INET : AF_INET6
  header[1] = route.destination.bits
  header[4] = route.table < 256 ? route.table : 0
  header[5] = route.protocol
  header[6] = route.scope
  header[7] = route.type
  writer.reset()
  writer.u32(RTA_TABLE, route.table)
  if (route.destination.bits > 0) writer.bytes(RTA_DST, route.destination.ip.bytes)
  if (route.oif !== undefined) writer.u32(RTA_OIF, route.oif)
  if (route.metric !== undefined) writer.u32(RTA_PRIORITY, route.metric)
  if (route.source !== undefined) writer.bytes(RTA_PREFSRC, route.source.bytes)
  if (route.nexthop !== undefined) writer.u32(RTA_NH_ID, route.nexthop)
  return [header, writer.take()]
}

/** Undefined when the message is no IPv4 or IPv6 route or is malformed. Tables have tens of thousands. */
export function decodeRoute(message: Message): Route | undefined {
  const body = message.body
  if (body.length < ROUTE_BYTES) return undefined
  const family = body[0] === AF_INET ? 4 : body[0] === AF_INET6 ? 6 : undefined
  if (family === undefined) return undefined
  const size = family === 4 ? 4 : 16
  const route: { -readonly [K in keyof Route]?: Route[K] } = {}
  let destination: Uint8Array | undefined
  const reader = new AttributeReader(body, ROUTE_BYTES)
  while (reader.next()) {
    switch (reader.type) {
      case RTA_DST:
        destination = reader.payload()
        break
      case RTA_TABLE:
        route.table = reader.u32() ?? body[4] ?? 0
        break
      case RTA_OIF:
        route.oif = reader.u32()
        break
      case RTA_PRIORITY:
        put(route, 'metric', reader.u32())
        break
      case RTA_NH_ID:
        put(route, 'nexthop', reader.u32())
        break
      case RTA_PREFSRC:
        if (reader.length === size) route.source = { family, bytes: reader.payload().slice() }
        break
    }
  }
  const bits = body[1] ?? 0
  if (reader.broken || bits > size * 8 || (destination !== undefined && destination.length !== size)) return undefined
  return {
    destination: { ip: { family, bytes: destination?.slice() ?? new Uint8Array(size) }, bits },
    table: body[4] ?? 0,
    protocol: body[5] ?? 0,
    scope: body[6] ?? 0,
    type: body[7] ?? 0,
    oif: undefined,
    ...route,
  }
}

/** Absent and undefined are not the same to those who compare. */
function put(
  route: { metric?: number; nexthop?: number },
  what: 'metric' | 'nexthop',
  value: number | undefined,
): void {
  if (value !== undefined) route[what] = value
}

function listBody(family: 4 | 6, table: number): Uint8Array[] {
  const header = new Uint8Array(ROUTE_BYTES)
  header[0] = family === 4 ? AF_INET : AF_INET6
  return [header, attributeU32(RTA_TABLE, table)]
}

const routesOf = (messages: readonly Message[], table: number): Route[] =>
  messages
    .filter((message) => message.type === RTM_NEWROUTE)
    .map(decodeRoute)
    .filter((route): route is Route => route?.table === table)

/** The routes of one table; a table that does not exist has none. */
export function listRoutes(connection: NetlinkConnection, family: 4 | 6, table: number): Route[] {
  try {
    return routesOf(connection.dump('list of routes', RTM_GETROUTE, listBody(family, table)), table)
  } catch (error) {
    if (isRefusal(error, 'ENOENT')) return []
    throw error
  }
}

const nameOf = (route: Route): string => `route ${formatCidr(route.destination)} in table ${route.table}`

/** Adds the route, or puts it in place of one with the same destination. */
export function replaceRoute(connection: NetlinkConnection, route: Route): void {
  connection.request(nameOf(route), RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, encodeRoute(route))
}

/** False when there was none. */
export function deleteRoute(connection: NetlinkConnection, route: Route): boolean {
  try {
    connection.request(nameOf(route), RTM_DELROUTE, 0, encodeRoute(route))
    return true
  } catch (error) {
    if (isRefusal(error, 'ESRCH', 'ENOENT')) return false
    throw error
  }
}

/** For a batch: adds the route, or puts it in place of one with the same destination and metric. */
export const replaceRouteRequest = (route: Route): Request => ({
  what: () => nameOf(route),
  type: RTM_NEWROUTE,
  flags: NLM_F_CREATE | NLM_F_REPLACE,
  parts: encodeRoute(route),
})

/** For a batch: deletes the route; ESRCH or ENOENT when there is none. Scope 255 is that of any IPv4 route. */
export const deleteRouteRequest = (route: Route): Request => ({
  what: () => nameOf(route),
  type: RTM_DELROUTE,
  flags: 0,
  parts: encodeRoute(route),
})

/** Routes by requests that run off the event loop. */
export interface AsyncRoutes {
  list(family: 4 | 6, table: number): Promise<Route[]>
  /**
   * The same for tables of tens of thousands: each route is handed on as it comes, and the event loop is free in between.
   * `begin` is called again when the table changed meanwhile: what came before counts no more.
   */
  walk(family: 4 | 6, table: number, begin: () => (route: Route) => void): Promise<void>
  /** Adds the route, or puts it in place of one with the same destination and metric. */
  replace(route: Route): Promise<void>
  /** False when there was none. */
  delete(route: Route): Promise<boolean>
}

export function asyncRoutes(connection: AsyncNetlinkConnection): AsyncRoutes {
  return {
    async list(family, table) {
      try {
        return routesOf(await connection.dump('list of routes', RTM_GETROUTE, listBody(family, table)), table)
      } catch (error) {
        if (isRefusal(error, 'ENOENT')) return []
        throw error
      }
    },
    async walk(family, table, begin) {
      try {
        await connection.walk('list of routes', RTM_GETROUTE, listBody(family, table), () => {
          const take = begin()
          return (message) => {
            const route = message.type === RTM_NEWROUTE ? decodeRoute(message) : undefined
            if (route?.table === table) take(route)
          }
        })
      } catch (error) {
        // A table that does not exist has none.
        if (!isRefusal(error, 'ENOENT')) throw error
      }
    },
    replace: (route) =>
      connection.request(nameOf(route), RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, encodeRoute(route)),
    async delete(route) {
      try {
        await connection.request(nameOf(route), RTM_DELROUTE, 0, encodeRoute(route))
        return true
      } catch (error) {
        if (isRefusal(error, 'ESRCH', 'ENOENT')) return false
        throw error
      }
    },
  }
}

import { SekishoError } from '../core/errors.ts'
import type { Cidr } from '../core/ip.ts'
import type { Log } from '../core/log.ts'
import {
  addRule,
  deleteRoute,
  deleteRule,
  isRefusal,
  linkByName,
  listRoutes,
  type MarkRule,
  type NetlinkConnection,
  replaceRoute,
  type Route,
  RT_SCOPE_HOST,
  RTN_LOCAL,
  RTPROT_KERNEL,
} from '../netlink/netlink.ts'

/** The mark the programs set on what they redirect, and the bits of it that say so (native/bpf/redirect.h). */
export const MARK_TO_PROXY = 0x200
export const MARK_MASK = 0xf00

export interface RoutingConfig {
  readonly routeTable: number
  readonly rulePriority: number
}

const FAMILIES = [4, 6] as const

/**
 * "fwmark 0x200/0xf00 lookup TABLE", and for IPv4 a way around it. With `src_valid_mark` (wg-quick sets it on `all`) the
 * kernel looks up the source of a marked packet with its mark; it would find that everything is this machine, and drop the
 * packet as a martian. Such a look comes with `iif lo`, so it goes past our rule: "iif lo fwmark 0x200/0xf00 goto NEXT".
 */
function rulesOf(family: 4 | 6, config: RoutingConfig): MarkRule[] {
  const priority = config.rulePriority
  const marked = { family, priority, mark: MARK_TO_PROXY, mask: MARK_MASK, protocol: RTPROT_KERNEL }
  const deliver: MarkRule = { ...marked, table: config.routeTable }
  if (family === 6) return [deliver]
  const beyond = priority + 1
  return [
    { family, priority: beyond, mark: 0, mask: 0, table: 0, protocol: RTPROT_KERNEL, nop: true },
    { ...marked, priority: priority - 1, table: 0, iifName: 'lo', goto: beyond },
    deliver,
  ]
}

/** "local default dev lo": every destination is this machine. */
function routeOf(family: 4 | 6, config: RoutingConfig, loopback: number): Route {
  const destination: Cidr = { ip: { family, bytes: new Uint8Array(family === 4 ? 4 : 16) }, bits: 0 }
  return {
    destination,
    table: config.routeTable,
    protocol: RTPROT_KERNEL,
    scope: family === 4 ? RT_SCOPE_HOST : 0,
    type: RTN_LOCAL,
    oif: loopback,
  }
}

function loopbackOf(connection: NetlinkConnection): number {
  const link = linkByName(connection, 'lo')
  if (link?.up === true) return link.index
  throw new SekishoError('SEKISHO_DATAPATH_ROUTING', 'the loopback interface is down', { hint: 'ip link set lo up' })
}

/** A kernel or namespace without IPv6 has no packets to redirect either. */
const withoutFamily = (error: unknown): boolean => isRefusal(error, 'EAFNOSUPPORT', 'EOPNOTSUPP', 'EACCES')

/** Sets what is missing, in both families. Idempotent. Returns how many objects had to be set. */
export function ensureRouting(connection: NetlinkConnection, config: RoutingConfig, log: Log): number {
  const loopback = loopbackOf(connection)
  let set = 0
  for (const family of FAMILIES) {
    try {
      const wanted = routeOf(family, config, loopback)
      const stands = listRoutes(connection, family, config.routeTable).some(
        (route) => route.type === RTN_LOCAL && route.destination.bits === 0 && route.oif === loopback,
      )
      if (!stands) {
        replaceRoute(connection, wanted)
        set += 1
      }
      for (const rule of rulesOf(family, config)) if (addRule(connection, rule)) set += 1
    } catch (error) {
      if (family === 6 && withoutFamily(error)) {
        log.warn({ err: error }, 'no IPv6 here: no redirect over it')
        continue
      }
      throw new SekishoError('SEKISHO_DATAPATH_ROUTING', (error as Error).message, { cause: error })
    }
  }
  return set
}

/** Removes exactly what `ensureRouting` sets. Idempotent. */
export function removeRouting(connection: NetlinkConnection, config: RoutingConfig): void {
  const loopback = linkByName(connection, 'lo')?.index ?? 1
  for (const family of FAMILIES) {
    try {
      // The same rule can be there more than once when another program added it too; ours is one of them.
      for (const rule of rulesOf(family, config).reverse()) deleteRule(connection, rule)
      deleteRoute(connection, routeOf(family, config, loopback))
    } catch (error) {
      if (!(family === 6 && withoutFamily(error))) throw error
    }
  }
}

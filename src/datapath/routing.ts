import { readFileSync } from 'node:fs'
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

/** "fwmark 0x200/0xf00 lookup TABLE". */
const ruleOf = (family: 4 | 6, config: RoutingConfig): MarkRule => ({
  family,
  priority: config.rulePriority,
  mark: MARK_TO_PROXY,
  mask: MARK_MASK,
  table: config.routeTable,
  protocol: RTPROT_KERNEL,
})

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
      if (addRule(connection, ruleOf(family, config))) set += 1
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
      deleteRule(connection, ruleOf(family, config))
      deleteRoute(connection, routeOf(family, config, loopback))
    } catch (error) {
      if (!(family === 6 && withoutFamily(error))) throw error
    }
  }
}

/**
 * `src_valid_mark` has the kernel look up the source of a marked packet with its mark: a redirected packet's source then
 * seems to be this machine and the packet is dropped as a martian, whatever rp_filter says. wg-quick sets it on `all`.
 */
export function checksSourceByMark(device: string): boolean {
  try {
    return readFileSync(`/proc/sys/net/ipv4/conf/${device}/src_valid_mark`, 'utf8').trim() !== '0'
  } catch {
    return false
  }
}

import { equalIp } from '../../core/ip.ts'
import {
  type AsyncNetlinkConnection,
  asyncAddresses,
  asyncLinks,
  asyncRoutes,
  IFF_LOOPBACK,
  type InterfaceAddress,
  isRefusal,
  type Link,
  linkByIndex,
  linkByName,
  listAddresses,
  listRoutes,
  type NetlinkConnection,
  type Route,
  RT_TABLE_MAIN,
  RTN_UNICAST,
} from '../../netlink/netlink.ts'
import type { Underlay } from './mtu.ts'
import type { RoutingOptions } from './options.ts'
import { FAMILIES } from './tables.ts'

type UnderlayOptions = Pick<RoutingOptions, 'devices' | 'underlay' | 'nodeAddresses'>

export interface UnderlayView extends Underlay {
  /** Interfaces of the outer packets. */
  readonly indexes: readonly number[]
  readonly names: readonly string[]
}

const isDefault = ({ destination, type }: Route): boolean => destination.bits === 0 && type === RTN_UNICAST

const holdersOf = ({ nodeAddresses = [] }: UnderlayOptions, addresses: readonly InterfaceAddress[]): number[] => [
  ...new Set(nodeAddresses.flatMap((ip) => addresses.filter((one) => equalIp(one.ip, ip)).map(({ index }) => index))),
]

/** Of each family the default route of the smallest metric; one with several next hops names no device. */
function defaultsOf(routes: readonly Route[]): { readonly indexes: number[]; readonly ipv6: boolean } {
  const best = FAMILIES.flatMap((family) => {
    const all = routes.filter((route) => isDefault(route) && route.destination.ip.family === family)
    const [first] = all.sort((a, b) => (a.metric ?? 0) - (b.metric ?? 0))
    return first === undefined ? [] : [first]
  })
  const indexes = best.map(({ oif }) => oif).filter((oif): oif is number => oif !== undefined)
  return { indexes: [...new Set(indexes)], ipv6: best.some(({ destination }) => destination.ip.family === 6) }
}

function viewOf(links: readonly (Link | undefined)[], devices: readonly string[], ipv6: boolean): UnderlayView {
  const own = links.filter(
    (link): link is Link =>
      link !== undefined && (link.flags & IFF_LOOPBACK) === 0 && !devices.includes(link.name) && link.mtu !== undefined,
  )
  const mtus = own.map(({ mtu }) => mtu ?? 0)
  return {
    indexes: own.map(({ index }) => index),
    names: own.map(({ name }) => name),
    mtu: mtus.length === 0 ? undefined : Math.min(...mtus),
    ipv6,
  }
}

const speaksIpv6 = ({ nodeAddresses = [] }: UnderlayOptions, otherwise: boolean): boolean =>
  nodeAddresses.length === 0 ? otherwise : nodeAddresses.some(({ family }) => family === 6)

/** On the thread of the caller, once, for those who must know the MTU before there are devices. */
export function readUnderlay(connection: NetlinkConnection, options: UnderlayOptions): UnderlayView {
  const byIndex = (index: number): Link | undefined => linkByIndex(connection, index)
  const named = (options.underlay ?? []).map((name) => linkByName(connection, name))
  if (named.length > 0) return viewOf(named, options.devices, speaksIpv6(options, true))
  const holders = viewOf(
    holdersOf(options, listAddresses(connection)).map(byIndex),
    options.devices,
    speaksIpv6(options, true),
  )
  if (holders.indexes.length > 0) return holders
  const routes = FAMILIES.flatMap((family) => withoutFamily(() => listRoutes(connection, family, RT_TABLE_MAIN)))
  const { indexes, ipv6 } = defaultsOf(routes)
  return viewOf(indexes.map(byIndex), options.devices, speaksIpv6(options, ipv6))
}

function withoutFamily<T>(read: () => T[]): T[] {
  try {
    return read()
  } catch (error) {
    if (isRefusal(error, 'EAFNOSUPPORT', 'EOPNOTSUPP')) return []
    throw error
  }
}

/** The same off the event loop. */
export async function followUnderlay(
  connection: AsyncNetlinkConnection,
  options: UnderlayOptions,
  families: readonly (4 | 6)[],
): Promise<UnderlayView> {
  const links = asyncLinks(connection)
  if ((options.underlay ?? []).length > 0) {
    const named = await Promise.all((options.underlay ?? []).map((name) => links.find(name)))
    return viewOf(named, options.devices, speaksIpv6(options, true))
  }
  const addresses = (options.nodeAddresses ?? []).length === 0 ? [] : await asyncAddresses(connection).list()
  const holders = await Promise.all(holdersOf(options, addresses).map((index) => links.byIndex(index)))
  const view = viewOf(holders, options.devices, speaksIpv6(options, true))
  if (view.indexes.length > 0) return view
  const routes: Route[] = []
  for (const family of families) routes.push(...(await asyncRoutes(connection).list(family, RT_TABLE_MAIN)))
  const { indexes, ipv6 } = defaultsOf(routes)
  const found = await Promise.all(indexes.map((index) => links.byIndex(index)))
  return viewOf(found, options.devices, speaksIpv6(options, ipv6))
}

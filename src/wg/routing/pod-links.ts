import { type Cidr, cidrCovers } from '../../core/ip.ts'
import {
  type AsyncNetlinkConnection,
  asyncLinks,
  asyncRoutes,
  IFF_LOOPBACK,
  type Link,
  RT_TABLE_MAIN,
  RTN_UNICAST,
} from '../../netlink/netlink.ts'
import type { UnderlayView } from './underlay.ts'

/** An interface of the host that leads to pods of this node. */
export interface PodLink {
  readonly name: string
  readonly mtu: number
}

/** Each said one by one; the metric has how many there are. */
const MOST_NAMED = 5

/** Interfaces that routes of the host into its own pod prefixes leave by: one of each pod, or the bridge they share. */
export async function podLinks(
  connection: AsyncNetlinkConnection,
  prefixes: readonly Cidr[],
  { devices, underlay }: { readonly devices: readonly string[]; readonly underlay: UnderlayView | undefined },
  families: readonly (4 | 6)[],
): Promise<PodLink[]> {
  const indexes = new Set<number>()
  for (const family of families.filter((one) => prefixes.some(({ ip }) => ip.family === one))) {
    for (const { destination, type, oif } of await asyncRoutes(connection).list(family, RT_TABLE_MAIN)) {
      if (oif === undefined || type !== RTN_UNICAST) continue
      if (prefixes.some((prefix) => cidrCovers(prefix, destination))) indexes.add(oif)
    }
  }
  for (const index of underlay?.indexes ?? []) indexes.delete(index)
  const links = asyncLinks(connection)
  const found = await Promise.all([...indexes].map((index) => links.byIndex(index)))
  const usable = (link: Link | undefined): link is Link & PodLink =>
    link?.mtu !== undefined && (link.flags & IFF_LOOPBACK) === 0
  return found
    .filter(usable)
    .filter(({ name }) => !devices.includes(name))
    .map(({ name, mtu }) => ({ name, mtu }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

/**
 * What pods send must fit into a tunnel; a connection that is larger loses its first full packet to "packet too big", and all of
 * them where that answer does not come through. `mtu`: of the tunnels.
 */
export const tooLarge = (links: readonly PodLink[], mtu: number): PodLink[] => links.filter((link) => link.mtu > mtu)

/** Sentences for the operator. Pure. */
export function podWarnings(links: readonly PodLink[], mtu: number): string[] {
  const large = tooLarge(links, mtu)
  const found = large
    .slice(0, MOST_NAMED)
    .map(
      (link) =>
        `${link.name} has an MTU of ${link.mtu}, and the tunnels carry ${mtu}: larger packets of its pods are answered ` +
        '"packet too big", and vanish where that answer is dropped; make pods with the smaller MTU',
    )
  // Without a number: it is logged when it is new, and pods come and go.
  if (large.length > MOST_NAMED) {
    found.push('more interfaces of pods have such an MTU: sekisho_wg_large_pod_interfaces counts them')
  }
  return found
}

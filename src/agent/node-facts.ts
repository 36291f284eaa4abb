import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Config } from '../config/schema.ts'
import { cidrContains, formatIp, parseCidr, parseIp, type Cidr, type Ip } from '../core/ip.ts'
import { linkByIndex, listAddresses, listRoutes, type NetlinkConnection } from '../netlink/netlink.ts'
import { isHost } from '../wg/directory/read-record.ts'

const MAIN_TABLE = 254
const SCOPE_GLOBAL = 0
/** IFA_F_TEMPORARY, _DADFAILED, _DEPRECATED and _TENTATIVE of <linux/if_addr.h>: not to be relied on by others. */
const UNSTEADY = 0x01 | 0x08 | 0x20 | 0x40
const MAX_ENDPOINTS = 16

/** Reads one short file; undefined when it is not there. */
export type ReadText = (path: string) => string | undefined

export const readText: ReadText = (path) => {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return undefined
  }
}

export const bootId = (read: ReadText): string => read('/proc/sys/kernel/random/boot_id') ?? 'unknown'

/**
 * Who this node is, for as long as it is the same: of the machine id, which is not told as it is (machine-id(5)), and the
 * name, because images are cloned with their machine id and one machine can carry several nodes. Without a machine id it is
 * another node after each boot, which costs peers no more than new keys do.
 */
export function nodeUid(config: Config, node: string, read: ReadText): string {
  if (config.node.uid !== '') return config.node.uid
  const machine = read('/etc/machine-id')
  const secret = machine === undefined || !/^[0-9a-f]{32}$/.test(machine) ? bootId(read) : machine
  const hex = createHash('sha256').update(`sekisho node\0${secret}\0${node}`).digest('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-')
}

/** Pod CIDRs and what else lives here; the CIDRs first. */
export const ownPrefixes = ({ wireguard }: Config): readonly Cidr[] =>
  [...wireguard.prefixes, ...wireguard.extraPrefixes].map((text) => parseCidr(text))

/** Where peers send the outer packets to. Empty while the node has no address they could use. */
export function endpointsOf(config: Config, route: NetlinkConnection): readonly Ip[] {
  const { wireguard, node } = config
  if (wireguard.endpoints.length > 0) return wireguard.endpoints.map((text) => parseIp(text))
  // What lies in our prefixes is reached through the tunnel, and cannot carry it.
  const outside = ownPrefixes(config)
  const usable = (ip: Ip): boolean => isHost(ip) && !outside.some((prefix) => cidrContains(prefix, ip))
  const found =
    node.addresses.length > 0 ? node.addresses.map((text) => parseIp(text)) : defaultRouteAddresses(config, route)
  return found.filter(usable).slice(0, MAX_ENDPOINTS)
}

function defaultRouteAddresses({ wireguard }: Config, route: NetlinkConnection): readonly Ip[] {
  const addresses = listAddresses(route)
  return ([4, 6] as const).flatMap((family) => {
    const candidates = listRoutes(route, family, MAIN_TABLE)
      .filter(({ destination, oif }) => destination.bits === 0 && oif !== undefined)
      .sort((a, b) => (a.metric ?? 0) - (b.metric ?? 0))
    const device = candidates.find(
      ({ oif }) => !isOurs(wireguard.devicePrefix, linkByIndex(route, oif ?? 0)?.name),
    )?.oif
    return addresses
      .filter(
        ({ index, ip, scope, flags }) =>
          index === device && ip.family === family && scope === SCOPE_GLOBAL && (flags & UNSTEADY) === 0,
      )
      .map(({ ip }) => ip)
  })
}

export const deviceNames = (prefix: string): readonly [string, string] => [`${prefix}0`, `${prefix}1`]

const isOurs = (prefix: string, name: string | undefined): boolean =>
  name !== undefined && deviceNames(prefix).includes(name)

/** Devices that the outer packets come and go by: as configured, else those that have the endpoints' addresses. */
export function underlayDevices(config: Config, endpoints: readonly Ip[], route: NetlinkConnection): readonly string[] {
  if (config.wireguard.underlay.length > 0) return config.wireguard.underlay
  const wanted = new Set(endpoints.map(formatIp))
  const indexes = new Set(
    listAddresses(route)
      .filter(({ ip }) => wanted.has(formatIp(ip)))
      .map(({ index }) => index),
  )
  return [...indexes].flatMap((index) => linkByIndex(route, index)?.name ?? [])
}

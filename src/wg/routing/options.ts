import type { Clock } from '../../core/clock.ts'
import type { Cidr, Ip } from '../../core/ip.ts'
import type { Log } from '../../core/log.ts'
import type { AsyncNetlinkDoor, NetlinkDoor } from '../../netlink/netlink.ts'
import type { Sysctl } from './sysctl.ts'

/** Goes as if we were not there. */
export interface Bypass {
  readonly cidr: Cidr
  readonly protocol?: 'tcp' | 'udp'
  readonly port?: number
}

export interface RoutingOptions {
  /** Names of the slots' devices. */
  readonly devices: readonly [string, string]
  /** Routing table of what goes through tunnels. */
  readonly table: number
  /** Routing tables of probes, one a slot. */
  readonly slotTables: readonly [number, number]
  /** Priority of the rule "not fwmark lookup table". */
  readonly rulePriority: number
  /** Priority of the rules "oif DEVICE lookup slotTable", before `rulePriority`. */
  readonly slotRulePriority: number
  /** Priority of the rules of `bypass`, before `rulePriority`; 10 before `slotRulePriority` when absent. */
  readonly bypassPriority?: number
  /** Mark of the encrypted packets. */
  readonly fwmark: number
  readonly fwmarkMask: number
  /** RTPROT_* of rules, routes and nexthops: what has another is another's. */
  readonly protocol: number
  readonly nexthopBase: number
  /** One a device: the kernel drops all that comes in on a device without an IPv4 address while rp_filter is on. */
  readonly slotAddresses: readonly [Ip, Ip]
  /** Addresses of this node inside its own prefixes; on both devices. The first of a family is the source of the node. */
  readonly probeAddresses: readonly Ip[]
  /** In place of the first probe address of a family; must be an address of the node. */
  readonly preferredSource?: { readonly 4?: Ip; readonly 6?: Ip }
  /** Of the devices; 0: from the underlay. */
  readonly mtu: number
  /** Devices of the outer packets; without them those of `nodeAddresses`; without these that of the default route. */
  readonly underlay?: readonly string[]
  readonly nodeAddresses?: readonly Ip[]
  readonly bypass: readonly Bypass[]
  /** Of this node: interfaces that lead into them must not have a larger MTU than the tunnels. */
  readonly podPrefixes?: readonly Cidr[]
}

export interface RoutingDeps {
  readonly native: NetlinkDoor & AsyncNetlinkDoor
  readonly log: Log
  readonly clock: Clock
  /** Without it /proc/sys of the namespace of the process. */
  readonly sysctl?: Sysctl
}

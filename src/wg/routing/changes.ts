import { equalIp, type Ip } from '../../core/ip.ts'
import { type EventSocket, type NetlinkDoor, openEvents } from '../../netlink/netlink.ts'
import { decodeAddress } from '../../netlink/addresses.ts'
import {
  RT_TABLE_MAIN,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELNEXTHOP,
  RTM_DELROUTE,
  RTM_DELRULE,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWNEXTHOP,
  RTM_NEWROUTE,
  RTM_NEWRULE,
  RTNLGRP_IPV4_IFADDR,
  RTNLGRP_IPV4_ROUTE,
  RTNLGRP_IPV4_RULE,
  RTNLGRP_IPV6_IFADDR,
  RTNLGRP_IPV6_ROUTE,
  RTNLGRP_IPV6_RULE,
  RTNLGRP_LINK,
  RTNLGRP_NEXTHOP,
} from '../../netlink/constants.ts'
import { decodeLink } from '../../netlink/links.ts'
import type { Message } from '../../netlink/message.ts'
import { decodeRoute } from '../../netlink/routes.ts'
import { PASSING } from './ground.ts'
import type { TablePart } from './tables.ts'

/** What may have changed: `ground` is links, addresses and rules; the others are tables. */
export type Part = TablePart | 'ground' | 'underlay'
export const TABLE_PARTS: readonly TablePart[] = ['nexthops', 'routes', 'bound']
export const ALL_PARTS: readonly Part[] = [...TABLE_PARTS, 'ground', 'underlay']

const GROUPS = [
  RTNLGRP_LINK,
  RTNLGRP_IPV4_IFADDR,
  RTNLGRP_IPV6_IFADDR,
  RTNLGRP_IPV4_ROUTE,
  RTNLGRP_IPV6_ROUTE,
  RTNLGRP_IPV4_RULE,
  RTNLGRP_IPV6_RULE,
  RTNLGRP_NEXTHOP,
]

/** What tells ours from others'. */
export interface Ours {
  readonly devices: readonly string[]
  readonly table: number
  readonly slotTables: readonly number[]
  /** Interfaces of the slots and of the underlay, as they are now. */
  slotIndexes(): readonly (number | undefined)[]
  underlayIndexes(): readonly number[]
  isNodeAddress(ip: Ip): boolean
  /** Port of the socket that makes our own changes: those are no news. */
  ownPort(): number
}

/** Turns events of the kernel into parts to be read anew. Events are only a hint: what is true is read from the kernel. */
export class Changes {
  readonly #socket: EventSocket
  readonly #ours: Ours

  constructor(native: NetlinkDoor, ours: Ours) {
    this.#socket = openEvents(native, GROUPS)
    this.#ours = ours
  }

  /** All that came since the last call; never waits. */
  drain(): Set<Part> {
    const parts = new Set<Part>()
    for (;;) {
      const messages = this.#socket.receive()
      if (messages === 'nothing') return parts
      if (messages === 'lost') for (const part of ALL_PARTS) parts.add(part)
      else for (const message of messages) for (const part of partsOf(message, this.#ours)) parts.add(part)
    }
  }

  close(): void {
    this.#socket.close()
  }
}

export function partsOf(message: Message, ours: Ours): readonly Part[] {
  // The kernel names who asked for the change; its own are of port 0.
  if (message.port === ours.ownPort()) return []
  switch (message.type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      const link = decodeLink(message)
      if (link === undefined) return ALL_PARTS
      // With a device go its nexthops, addresses and routes, most of them unsaid.
      if (ours.devices.includes(link.name) || ours.slotIndexes().includes(link.index)) return ALL_PARTS
      return ours.underlayIndexes().includes(link.index) ? ['underlay'] : []
    }
    case RTM_NEWADDR:
    case RTM_DELADDR: {
      const address = decodeAddress(message)
      // Of IPv6 addresses the kernel does not name who asked.
      if (address !== undefined && equalIp(address.ip, PASSING)) return []
      // Routes that prefer an address as source go with it, unsaid.
      if (address === undefined || ours.slotIndexes().includes(address.index)) return ALL_PARTS
      return ours.underlayIndexes().includes(address.index) || ours.isNodeAddress(address.ip) ? ['underlay'] : []
    }
    case RTM_NEWRULE:
    case RTM_DELRULE:
      return ['ground']
    case RTM_NEWNEXTHOP:
      return ['nexthops']
    case RTM_DELNEXTHOP:
      return ['nexthops', 'routes']
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      const route = decodeRoute(message)
      if (route?.table === ours.table) return ['routes']
      if (route !== undefined && ours.slotTables.includes(route.table)) return ['bound']
      return route?.table === RT_TABLE_MAIN && route.destination.bits === 0 ? ['underlay'] : []
    }
    default:
      return []
  }
}

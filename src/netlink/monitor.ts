import { decodeAddress, type InterfaceAddress } from './addresses.ts'
import type { Fd } from '../native/binding.ts'
import type { NetlinkDoor } from './connection.ts'
import {
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTNLGRP_IPV4_IFADDR,
  RTNLGRP_IPV6_IFADDR,
  RTNLGRP_LINK,
} from './constants.ts'
import { openEvents } from './events.ts'
import { decodeLink, type Link } from './links.ts'
import type { Message } from './message.ts'

export type MonitorEvent =
  | { readonly kind: 'link' | 'link-gone'; readonly link: Link }
  | { readonly kind: 'address' | 'address-gone'; readonly address: InterfaceAddress }
  /** Events were lost: read everything anew. */
  | { readonly kind: 'resync' }

export interface Monitor {
  /** To wait for; the monitor's own to read and to close. */
  readonly fd: Fd
  /** Everything that has happened since the last call; never waits. */
  poll(): readonly MonitorEvent[]
  /** Idempotent. */
  close(): void
}

/** Datagrams of one poll, so that a storm of events cannot hold the caller. */
const MAX_DATAGRAMS = 256

function decode(message: Message): MonitorEvent | undefined {
  if (message.type === RTM_NEWLINK || message.type === RTM_DELLINK) {
    const link = decodeLink(message)
    return link && { kind: message.type === RTM_NEWLINK ? 'link' : 'link-gone', link }
  }
  if (message.type === RTM_NEWADDR || message.type === RTM_DELADDR) {
    const address = decodeAddress(message)
    return address && { kind: message.type === RTM_NEWADDR ? 'address' : 'address-gone', address }
  }
  return undefined
}

/** Interfaces and addresses that come and go in this network namespace. */
export function openMonitor(native: NetlinkDoor): Monitor {
  const socket = openEvents(native, [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR])
  return {
    fd: socket.fd,
    poll() {
      const events: MonitorEvent[] = []
      for (let i = 0; i < MAX_DATAGRAMS; i++) {
        const received = socket.receive()
        if (received === 'nothing') break
        if (received === 'lost') {
          events.push({ kind: 'resync' })
          continue
        }
        for (const message of received) {
          const event = decode(message)
          if (event !== undefined) events.push(event)
        }
      }
      return events
    },
    close: () => {
      socket.close()
    },
  }
}

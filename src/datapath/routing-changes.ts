import type { Fd } from '../native/binding.ts'
import {
  RTM_DELROUTE,
  RTM_DELRULE,
  RTNLGRP_IPV4_ROUTE,
  RTNLGRP_IPV4_RULE,
  RTNLGRP_IPV6_ROUTE,
  RTNLGRP_IPV6_RULE,
} from '../netlink/constants.ts'
import type { Message } from '../netlink/message.ts'
import { type NetlinkDoor, openEvents, RTN_LOCAL } from '../netlink/netlink.ts'

/** Datagrams of one look: where a router speaks to the node there are many. */
const MAX_DATAGRAMS = 256
/** rtm_type of struct rtmsg (linux/rtnetlink.h). */
const RTM_TYPE = 7

/** Rules that go, and routes of the type that the redirect has; routes of others are left after one octet. */
export const concerns = ({ type, body }: Pick<Message, 'type' | 'body'>): boolean =>
  type === RTM_DELRULE || (type === RTM_DELROUTE && body[RTM_TYPE] === RTN_LOCAL)

export interface RoutingChanges {
  /** To wait for; its own to read and to close. */
  readonly fd: Fd
  /** Whether rules or routes may have gone since the last call; never waits. */
  read(): boolean
  close(): void
}

/** What somebody takes out of the routing of this network namespace, our own changes too. */
export function openRoutingChanges(native: NetlinkDoor): RoutingChanges {
  const socket = openEvents(native, [RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE])
  return {
    fd: socket.fd,
    read() {
      let changed = false
      for (let i = 0; i < MAX_DATAGRAMS; i++) {
        const received = socket.receive()
        if (received === 'nothing') break
        changed ||= received === 'lost' || received.some(concerns)
      }
      return changed
    },
    close: () => {
      socket.close()
    },
  }
}

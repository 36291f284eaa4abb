/** The netlink protocol and the parts of rtnetlink and generic netlink that are used here. */
export { type AsyncAddresses, asyncAddresses, type InterfaceAddress, listAddresses } from './addresses.ts'
export {
  type AsyncConnectionOptions,
  type AsyncNetlinkConnection,
  type AsyncNetlinkDoor,
  openAsyncConnection,
} from './async-connection.ts'
export { BATCH_REQUESTS, type Request } from './batch.ts'
export { type NetlinkConnection, type NetlinkDoor, openConnection } from './connection.ts'
export {
  IFA_F_NODAD,
  IFA_F_NOPREFIXROUTE,
  IFF_LOOPBACK,
  IFF_LOWER_UP,
  NETLINK_GENERIC,
  NETLINK_ROUTE,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_TABLE_LOCAL,
  RT_TABLE_MAIN,
  RTN_LOCAL,
  RTN_UNICAST,
  RTN_UNREACHABLE,
  RTPROT_KERNEL,
} from './constants.ts'
export { isRefusal, NetlinkError } from './errors.ts'
export { type EventSocket, openEvents } from './events.ts'
export { encodeGeneric, type GenericFamily, genericBody, resolveFamily } from './generic.ts'
export { type AsyncLinks, asyncLinks, type Link, linkByIndex, linkByName, listLinks, setLinkUp } from './links.ts'
export { type Monitor, type MonitorEvent, openMonitor } from './monitor.ts'
export {
  deleteNexthop,
  deleteNexthopRequest,
  listNexthops,
  type Nexthop,
  replaceNexthop,
  replaceNexthopRequest,
  walkNexthops,
} from './nexthops.ts'
export {
  type AsyncRoutes,
  asyncRoutes,
  deleteRoute,
  deleteRouteRequest,
  listRoutes,
  replaceRoute,
  replaceRouteRequest,
  type Route,
} from './routes.ts'
export { addRule, type AsyncRules, asyncRules, deleteRule, listRules, type MarkRule, type Rule } from './rules.ts'

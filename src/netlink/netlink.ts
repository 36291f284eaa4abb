/** The netlink protocol and the parts of rtnetlink that are used here. */
export { type InterfaceAddress, listAddresses } from './addresses.ts'
export { type NetlinkConnection, type NetlinkDoor, openConnection } from './connection.ts'
export { NETLINK_ROUTE, RT_SCOPE_HOST, RTN_LOCAL, RTPROT_KERNEL } from './constants.ts'
export { isRefusal, NetlinkError } from './errors.ts'
export { type Link, linkByIndex, linkByName, listLinks, setLinkUp } from './links.ts'
export { type Monitor, type MonitorEvent, openMonitor } from './monitor.ts'
export { deleteRoute, listRoutes, replaceRoute, type Route } from './routes.ts'
export { addRule, deleteRule, listRules, type MarkRule, type Rule } from './rules.ts'

/** rtnetlink calls of ours in a namespace. */
import { parseCidr } from '../../../src/core/ip.ts'
import { formatIp } from '../../../src/core/ip.ts'
import { loadNative } from '../../../src/native/load.ts'
import {
  addRule,
  deleteRoute,
  deleteRule,
  linkByIndex,
  linkByName,
  listAddresses,
  listLinks,
  listRoutes,
  listRules,
  type MarkRule,
  openConnection,
  openMonitor,
  replaceRoute,
  type Route,
  setLinkUp,
} from '../../../src/netlink/netlink.ts'
import { serve } from './in-namespace.ts'

const native = loadNative()
const connection = openConnection(native, 0)
const monitor = openMonitor(native)
const route = (one: Omit<Route, 'destination'> & { destination: string }): Route => ({
  ...one,
  destination: parseCidr(one.destination),
})

serve({
  links: () => listLinks(connection),
  linkByName: (name: string) => linkByName(connection, name) ?? null,
  linkByIndex: (index: number) => linkByIndex(connection, index) ?? null,
  setLinkUp(index: number, up: boolean) {
    setLinkUp(connection, index, up)
  },
  addresses: () => listAddresses(connection).map((one) => ({ ...one, ip: formatIp(one.ip) })),
  rules: (family: 4 | 6) => listRules(connection, family),
  addRule: (rule: MarkRule) => addRule(connection, rule),
  deleteRule: (rule: MarkRule) => deleteRule(connection, rule),
  routes: (family: 4 | 6, table: number) => listRoutes(connection, family, table).length,
  replaceRoute(one: Omit<Route, 'destination'> & { destination: string }) {
    replaceRoute(connection, route(one))
  },
  deleteRoute: (one: Omit<Route, 'destination'> & { destination: string }) => deleteRoute(connection, route(one)),
  events: () =>
    monitor.poll().map((event) => {
      if (event.kind === 'resync') return 'resync'
      return 'link' in event ? `${event.kind} ${event.link.name}` : `${event.kind} ${formatIp(event.address.ip)}`
    }),
})

/** Nexthops, routes, rules and addresses of ours in a namespace, off the event loop. */
import { formatCidr, formatIp, parseCidr, parseIp } from '../../../src/core/ip.ts'
import { loadNative } from '../../../src/native/load.ts'
import {
  asyncAddresses,
  asyncLinks,
  asyncRoutes,
  asyncRules,
  deleteNexthop,
  listNexthops,
  type MarkRule,
  type Nexthop,
  openAsyncConnection,
  replaceNexthop,
  type Route,
} from '../../../src/netlink/netlink.ts'
import { serve } from './in-namespace.ts'

type Plain = Omit<Route, 'destination' | 'source'> & { readonly destination: string; readonly source?: string }

const connection = openAsyncConnection(loadNative(), 0)
const routes = asyncRoutes(connection)
const rules = asyncRules(connection)
const links = asyncLinks(connection)
const addresses = asyncAddresses(connection)
const route = ({ source, ...one }: Plain): Route => ({
  ...one,
  destination: parseCidr(one.destination),
  ...(source === undefined ? {} : { source: parseIp(source) }),
})
const plain = ({ source, ...one }: Route): Plain => ({
  ...one,
  destination: formatCidr(one.destination),
  ...(source && { source: formatIp(source) }),
})

serve({
  index: async (name: string) => (await links.find(name))?.index ?? 0,
  createLink: (name: string, kind: string, mtu: number) => links.create(name, kind, mtu),
  setUp: (index: number, up: boolean) => links.setUp(index, up),
  deleteLink: (index: number) => links.delete(index),
  nexthops: () => listNexthops(connection),
  replaceNexthop: (nexthop: Nexthop) => replaceNexthop(connection, nexthop),
  deleteNexthop: (id: number) => deleteNexthop(connection, id),
  routes: async (family: 4 | 6, table: number) => (await routes.list(family, table)).map(plain),
  replaceRoute: (one: Plain) => routes.replace(route(one)),
  deleteRoute: (one: Plain) => routes.delete(route(one)),
  rules: (family: 4 | 6) => rules.list(family),
  addRule: (rule: MarkRule) => rules.add(rule),
  deleteRule: (rule: MarkRule) => rules.delete(rule),
  address: (index: number, ip: string, prefix: number, flags: number) =>
    addresses.replace({ index, ip: parseIp(ip), prefix, scope: 253, flags }),
  deleteAddress: (index: number, ip: string, prefix: number) =>
    addresses.delete({ index, ip: parseIp(ip), prefix, scope: 253, flags: 0 }),
})

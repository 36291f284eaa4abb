import { expect, test } from 'vitest'
import { concerns } from '../../src/datapath/routing-changes.ts'
import { RTM_DELROUTE, RTM_DELRULE, RTM_NEWROUTE, RTM_NEWRULE } from '../../src/netlink/constants.ts'
import { RTN_LOCAL, RTN_UNICAST } from '../../src/netlink/netlink.ts'

/** struct rtmsg with this rtm_type. */
const route = (type: number): Uint8Array => Uint8Array.of(2, 0, 0, 0, 252, 2, 254, type, 0, 0, 0, 0)

test.each([
  ['a rule that goes', RTM_DELRULE, route(RTN_UNICAST), true],
  ['a rule that comes', RTM_NEWRULE, route(RTN_UNICAST), false],
  ['a local route that goes', RTM_DELROUTE, route(RTN_LOCAL), true],
  ['a local route that comes', RTM_NEWROUTE, route(RTN_LOCAL), false],
  ['a route of a router', RTM_DELROUTE, route(RTN_UNICAST), false],
  ['a message without its structure', RTM_DELROUTE, new Uint8Array(0), false],
])('%s', (_, type, body, expected) => {
  expect(concerns({ type, body })).toBe(expected)
})

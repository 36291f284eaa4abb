import { describe, expect, it } from 'vitest'
import { parseCidr, parseIp } from '../../../src/core/ip.ts'
import { concatBytes } from '../../../src/netlink/attributes.ts'
import { encodeAddress } from '../../../src/netlink/addresses.ts'
import { encodeLinkCreate } from '../../../src/netlink/links.ts'
import type { Message } from '../../../src/netlink/message.ts'
import type { Rule } from '../../../src/netlink/netlink.ts'
import { encodeRoute } from '../../../src/netlink/routes.ts'
import { ALL_PARTS, type Ours, partsOf } from '../../../src/wg/routing/changes.ts'
import { slotMtu } from '../../../src/wg/routing/mtu.ts'
import type { RoutingOptions } from '../../../src/wg/routing/options.ts'
import { rulesBefore, sameRule, wantedRules } from '../../../src/wg/routing/rules.ts'
import { requestOf, sourcesOf } from '../../../src/wg/routing/tables.ts'
import { type PodLink, podWarnings, tooLarge } from '../../../src/wg/routing/pod-links.ts'
import { warningsOf, type Surroundings } from '../../../src/wg/routing/warnings.ts'
import { hex } from '../../netlink/support.ts'

const OPTIONS: RoutingOptions = {
  devices: ['kwg0', 'kwg1'],
  table: 20000,
  slotTables: [20100, 20101],
  rulePriority: 90,
  slotRulePriority: 80,
  fwmark: 0x1e00,
  fwmarkMask: 0x1f00,
  protocol: 155,
  nexthopBase: 5000,
  slotAddresses: [parseIp('169.254.77.1'), parseIp('169.254.77.2')],
  probeAddresses: [parseIp('10.1.1.1')],
  mtu: 0,
  bypass: [{ cidr: parseCidr('192.0.2.1/32'), protocol: 'tcp', port: 6443 }, { cidr: parseCidr('2001:db8::/32') }],
}

describe('the MTU of the tunnels', () => {
  it.each([
    [1500, false, 1440],
    [1500, true, 1408],
    [1460, true, 1376],
    [8896, false, 8832],
    [9001, true, 8912],
    [1450, false, 1376],
    [undefined, false, 1408],
    [65536, false, 65472],
    [100, true, 16],
    [40, true, 0],
  ])('over %s (IPv6 %s) is %s, a multiple of 16', (mtu, ipv6, expected) => {
    expect(slotMtu({ mtu, ipv6 }, 0)).toBe(expected)
    expect(expected % 16).toBe(0)
  })

  it('is the setting when there is one', () => {
    expect(slotMtu({ mtu: 1500, ipv6: true }, 1280)).toBe(1280)
  })
})

describe('rules', () => {
  const wanted = wantedRules(OPTIONS)
  const asFound = (one: (typeof wanted)[number], more: Partial<Rule> = {}): Rule => ({
    inverted: false,
    ...one,
    action: 1,
    narrowed: false,
    ...more,
  })

  it('go round the tunnels before anything is led into them', () => {
    expect(wanted.map(({ family, priority, table }) => [family, priority, table])).toEqual([
      [4, 70, 254],
      [6, 70, 254],
      [4, 80, 20100],
      [4, 80, 20101],
      [6, 80, 20100],
      [6, 80, 20101],
      [4, 90, 20000],
      [6, 90, 20000],
    ])
  })

  it('are ours only when every selector is', () => {
    for (const one of wanted) {
      expect(sameRule(asFound(one), one)).toBe(true)
      for (const more of [
        { opaque: true as const },
        { action: 2 },
        { priority: 1 },
        { mark: 7 },
        { mask: 7 },
        { table: 7 },
        { oifName: 'eth0' },
        { to: parseCidr('192.0.2.2/32') },
        { ipProtocol: 17 },
        { destinationPort: 1 },
        { inverted: one.inverted !== true },
      ])
        expect(sameRule(asFound(one, more), one)).toBe(false)
    }
  })

  it('of others count that are asked first and are for no mark', () => {
    const [any] = wanted
    if (any === undefined) throw new Error('no rule')
    const plain = { family: 4 as const, mark: 0, mask: 0, protocol: 3, action: 1, inverted: false, narrowed: false }
    const found: Rule[] = [
      { ...plain, priority: 0, table: 255 },
      { ...plain, priority: 9, table: 2004, mark: 0x200, mask: 0xf00 },
      { ...plain, priority: 10, table: 0, action: 3 },
      { ...plain, priority: 10, table: 51820, mark: 51820, mask: 0xffffffff, inverted: true },
      { ...plain, priority: 20, table: 100 },
      { ...plain, priority: 32766, table: 254 },
      asFound(any),
    ]
    expect(rulesBefore(found, wanted, 90).map(({ table }) => table)).toEqual([51820, 100])
  })
})

describe('messages', () => {
  const indexes = [3, 4] as const
  const sources = sourcesOf(OPTIONS)
  const body = (parts: readonly Uint8Array[]): string => hex(concatBytes(parts))

  it('a route to a nexthop names metric and source', () => {
    const { type, flags, parts } = requestOf(
      { do: 'route', prefix: '10.1.2.0/24', nexthop: 5002 },
      OPTIONS,
      indexes,
      sources,
    )
    expect([type, flags]).toEqual([24, 0x500])
    expect(body(parts)).toBe(
      '02180000009bfd0100000000' +
        '08000f00204e0000' +
        '080001000a010200' +
        '0800060000040000' +
        '080007000a010101' +
        '08001e008a130000',
    )
  })

  it('an unreachable route has the last metric, and no scope', () => {
    const { parts } = requestOf({ do: 'closed', prefix: '10.1.2.0/24' }, OPTIONS, indexes, sources)
    expect(body(parts)).toBe('02180000009b000700000000' + '08000f00204e0000' + '080001000a010200' + '08000600000000ff')
  })

  it('a route for probes lies in the table of its slot', () => {
    const { parts } = requestOf({ do: 'bound', prefix: '10.1.2.0/24', slot: 1 }, OPTIONS, indexes, sources)
    expect(body(parts)).toContain('08000f00854e0000')
    expect(body(parts)).toContain('0800040004000000')
  })

  it('without an address of the family there is no source', () => {
    const { parts } = requestOf({ do: 'route', prefix: 'fd10::/64', nexthop: 5003 }, OPTIONS, indexes, sources)
    expect(body(parts)).not.toContain('14000700')
    expect(sourcesOf({ ...OPTIONS, preferredSource: { 4: parseIp('192.0.2.9') } })[4]).toEqual(parseIp('192.0.2.9'))
  })
})

describe('events', () => {
  const ours: Ours = {
    devices: ['kwg0', 'kwg1'],
    table: 20000,
    slotTables: [20100, 20101],
    slotIndexes: () => [3, 4],
    underlayIndexes: () => [2],
    isNodeAddress: (ip) => ip.family === 4 && ip.bytes[0] === 192,
    ownPort: () => 77,
  }
  const event = (type: number, parts: readonly Uint8Array[], port = 0): Message => ({
    type,
    flags: 0,
    sequence: 0,
    port,
    body: concatBytes(parts),
  })
  const route = (table: number, prefix = '10.1.2.0/24'): Uint8Array[] =>
    encodeRoute({ destination: parseCidr(prefix), table, protocol: 3, scope: 0, type: 1, oif: 2 })
  const address = (text: string, index: number): Uint8Array[] =>
    encodeAddress({ index, ip: parseIp(text), prefix: 32, scope: 0, flags: 0 })

  it.each([
    ['a route of ours', event(25, route(20000)), ['routes']],
    ['a route for probes', event(24, route(20101)), ['bound']],
    ['a pod’s route', event(24, route(254)), []],
    ['the default route', event(24, route(254, '0.0.0.0/0')), ['underlay']],
    ['a rule', event(33, []), ['ground']],
    ['a nexthop that is gone', event(105, []), ['nexthops', 'routes']],
    ['a nexthop', event(104, []), ['nexthops']],
    ['a device of ours', event(17, encodeLinkCreate('kwg1', 'veth', 1408)), ALL_PARTS],
    ['a pod’s device', event(16, encodeLinkCreate('lxc1', 'veth', 1500)), []],
    ['an address of a slot', event(21, address('10.1.1.1', 3)), ALL_PARTS],
    ['an address of the node', event(20, address('192.0.2.1', 9)), ['underlay']],
    ['a pod’s address', event(20, address('10.1.1.9', 9)), []],
    ['what cannot be read', event(16, []), ALL_PARTS],
  ])('%s', (_what, message, parts) => {
    expect(partsOf(message, ours)).toEqual(parts)
    expect(partsOf({ ...message, port: 77 }, ours)).toEqual([])
  })
})

describe('warnings', () => {
  const around: Surroundings = {
    devices: ['kwg0', 'kwg1'],
    underlay: ['eth0'],
    mtu: 1408,
    fits: 1408,
    rulePriority: 90,
    rulesBefore: [],
    foreignRoutes: new Map(),
    foreignNexthops: 0,
  }
  const fine: Readonly<Record<string, string>> = {
    'ipv4/conf/all/rp_filter': '0',
    'ipv4/conf/kwg0/rp_filter': '2',
    'ipv4/conf/kwg1/rp_filter': '2',
    'ipv4/conf/eth0/rp_filter': '2',
    'ipv4/ip_forward': '1',
    'ipv6/conf/all/forwarding': '1',
    'ipv6/conf/kwg0/disable_ipv6': '0',
  }
  const told = (settings: Record<string, string>, more: Partial<Surroundings> = {}): string =>
    warningsOf({ read: (path) => ({ ...fine, ...settings })[path], write: () => false }, { ...around, ...more }).join(
      '\n',
    )

  it('are none on a good host', () => {
    expect(told({})).toBe('')
    // The kernel takes the larger of the two: loose on the device wins over strict on `all`.
    expect(told({ 'ipv4/conf/all/rp_filter': '1' })).toBe('')
  })

  it.each<[string, Record<string, string>, Partial<Surroundings>]>([
    ['rp_filter of kwg1 is 1', { 'ipv4/conf/kwg1/rp_filter': '1' }, {}],
    ['rp_filter of eth0 is 1', { 'ipv4/conf/eth0/rp_filter': '0', 'ipv4/conf/all/rp_filter': '1' }, {}],
    ['net.ipv4.conf.all.src_valid_mark', { 'ipv4/conf/all/src_valid_mark': '1' }, {}],
    ['net.ipv4.ip_forward', { 'ipv4/ip_forward': '0' }, {}],
    ['net.ipv6.conf.all.forwarding', { 'ipv6/conf/all/forwarding': '0' }, {}],
    ['IPv6 is disabled on kwg0', { 'ipv6/conf/kwg0/disable_ipv6': '1' }, {}],
    ['below the 1280', {}, { mtu: 1264 }],
    ['wireguard.mtu is 1424, and 1408 fits', {}, { mtu: 1424 }],
    ['is a guess', {}, { underlay: [], fits: undefined }],
    ['table 20000 has 3 routes', {}, { foreignRoutes: new Map([[20000, 3]]) }],
    ['2 nexthop objects', {}, { foreignNexthops: 2 }],
  ])('%s', (words, settings, more) => {
    expect(told(settings, more)).toContain(words)
  })
})

describe('interfaces of pods', () => {
  const links = (count: number, mtu: number): PodLink[] =>
    Array.from({ length: count }, (_, i) => ({ name: `lxc${i}`, mtu }))

  it('may have the MTU of the tunnels, and a smaller one', () => {
    expect(podWarnings([...links(2, 1408), ...links(1, 1280)], 1408)).toEqual([])
  })

  it('are named with both figures when theirs is larger', () => {
    const [said = '', ...more] = podWarnings([...links(3, 1408), { name: 'lxc9', mtu: 1409 }], 1408)
    expect(said).toMatch(/^lxc9 has an MTU of 1409, and the tunnels carry 1408: /)
    expect(more).toEqual([])
  })

  it('are not all named where there are many', () => {
    const said = podWarnings(links(200, 1500), 1440)
    expect(said).toHaveLength(6)
    expect(said.at(-1)).toContain('sekisho_wg_large_pod_interfaces')
    expect(podWarnings(links(100, 1500), 1440)).toEqual(said)
    expect(tooLarge(links(200, 1500), 1440)).toHaveLength(200)
  })
})

import { describe, expect, it } from 'vitest'
import { parseCidr, parseIp } from '../../src/core/ip.ts'
import { decodeAddress, encodeAddress } from '../../src/netlink/addresses.ts'
import { concatBytes } from '../../src/netlink/attributes.ts'
import { encodeMessage, type Message } from '../../src/netlink/message.ts'
import { encodeLinkCreate, encodeLinkUp } from '../../src/netlink/links.ts'
import { decodeNexthop, encodeNexthop } from '../../src/netlink/nexthops.ts'
import { decodeRoute, encodeRoute, type Route } from '../../src/netlink/routes.ts'
import { decodeRule, encodeRule } from '../../src/netlink/rules.ts'
import { bytes, hex } from './support.ts'

const message = (body: readonly Uint8Array[]): Message => ({
  type: 0,
  flags: 0,
  sequence: 1,
  port: 1,
  body: concatBytes(body),
})

describe('requests, byte for byte as executed on a kernel', () => {
  it('moves a nexthop to another interface', () => {
    const nexthop = { id: 5001, family: 4 as const, oif: 5, protocol: 155 }
    expect(hex(encodeMessage(104, 0x505, 7, encodeNexthop(nexthop)))).toBe(
      '2800000068000505070000000000000002009b000000000008000100891300000800050005000000',
    )
    expect(decodeNexthop(message(encodeNexthop(nexthop)))).toEqual(nexthop)
  })

  it('leads a prefix to an interface', () => {
    const route: Route = {
      ...{ destination: parseCidr('10.1.2.0/24'), table: 20000, protocol: 155, scope: 253, type: 1, oif: 3 },
    }
    expect(hex(encodeMessage(24, 0x505, 6, encodeRoute(route)))).toBe(
      '3400000018000505060000000000000002180000009bfd010000000008000f00204e0000080001000a0102000800040003000000',
    )
  })

  it('makes a WireGuard device, and takes an interface up', () => {
    expect(hex(encodeMessage(16, 0x605, 1, encodeLinkCreate('kmesh-wg0', 'wireguard', 1408)))).toBe(
      '4c000000100005060100000000000000' +
        '00000000000000000000000000000000' +
        '0e0003006b6d6573682d776730000000' +
        '0800040080050000' +
        '140012800e000100776972656775617264000000',
    )
    expect(hex(encodeMessage(16, 0x5, 3, [encodeLinkUp(3, true)]))).toBe(
      '2000000010000500030000000000000000000000030000000100000001000000',
    )
  })

  it('sends what bears no mark to a table', () => {
    const rule = {
      family: 4 as const,
      priority: 90,
      mark: 0x1e00,
      mask: 0x1f00,
      table: 20000,
      protocol: 155,
      inverted: true,
    }
    // The reference gives the header and the length; the attributes are written here as its section 1.7 has their types.
    expect(hex(encodeMessage(32, 0x605, 9, encodeRule(rule)))).toBe(
      '44000000200005060900000000000000' +
        '020000000000000102000000' +
        '080006005a000000' +
        '08000a00001e0000' +
        '08001000001f0000' +
        '08000f00204e0000' +
        '050015009b000000',
    )
    expect(decodeRule(message(encodeRule(rule)))).toEqual({ ...rule, action: 1, narrowed: false })
  })
})

describe('what is written is read back', () => {
  const route: Route = {
    destination: parseCidr('10.1.2.0/24'),
    table: 20000,
    protocol: 2,
    scope: 253,
    type: 1,
    oif: undefined,
  }
  it.each<Route>([
    { ...route, nexthop: 5001, source: parseIp('10.1.1.1') },
    { ...route, type: 7, scope: 0, metric: 0xff000000 },
    { ...route, destination: parseCidr('fd10::/64'), scope: 0, nexthop: 5002, metric: 5, source: parseIp('fd10:1::1') },
  ])('routes %#', (one) => {
    expect(decodeRoute(message(encodeRoute(one)))).toEqual(one)
  })

  it('a rule for an interface is narrower than its mark', () => {
    const rule = { family: 6 as const, priority: 80, mark: 0, mask: 0, table: 20100, protocol: 2, oifName: 'kwg0' }
    expect(decodeRule(message(encodeRule(rule)))).toEqual({ ...rule, action: 1, inverted: false, narrowed: true })
  })

  it('addresses', () => {
    for (const [ip, prefix] of [
      ['169.254.77.1', 32],
      ['fd10::1', 128],
    ] as const) {
      const address = { index: 7, ip: parseIp(ip), prefix, scope: 253, flags: 0x202 }
      expect(decodeAddress(message(encodeAddress(address)))).toEqual(address)
    }
  })

  it('nexthops that are groups, blackholes or malformed are passed over', () => {
    for (const body of [
      '',
      '0200000000000000',
      '02000000 00000000 08000100 01000000',
      '00000000000000000800010001000000',
    ])
      expect(decodeNexthop(message([bytes(body)]))).toBeUndefined()
  })
})

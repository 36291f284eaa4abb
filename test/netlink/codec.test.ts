import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseCidr } from '../../src/core/ip.ts'
import {
  attribute,
  attributeNested,
  attributeString,
  attributeU16,
  attributeU32,
  attributeU8,
  findAttribute,
  parseAttributes,
  readNested,
  readString,
  readU32,
  readU8,
} from '../../src/netlink/attributes.ts'
import { decodeAddress } from '../../src/netlink/addresses.ts'
import { decodeLink, encodeLinkUp } from '../../src/netlink/links.ts'
import { decodeDone, decodeError, encodeMessage, type Message, splitMessages } from '../../src/netlink/message.ts'
import { decodeRoute, encodeRoute } from '../../src/netlink/routes.ts'
import { decodeRule, encodeRule } from '../../src/netlink/rules.ts'
import { answer, bytes, errorBody, hex } from './support.ts'

const message = (type: number, body: Uint8Array): Message => ({ type, flags: 0, sequence: 1, port: 1, body })

describe('requests, byte for byte as executed on a kernel', () => {
  it('asks for a generic family by name', () => {
    const request = encodeMessage(16, 5, 1, [bytes('03010000'), attributeString(2, 'wireguard')])
    expect(hex(request)).toBe('24000000100005000100000000000000030100000e000200776972656775617264000000')
  })

  it('sets an interface up', () => {
    expect(hex(encodeMessage(16, 5, 3, [encodeLinkUp(3, true)]))).toBe(
      '2000000010000500030000000000000000000000030000000100000001000000',
    )
  })

  it('adds a route', () => {
    const route = encodeRoute({
      destination: parseCidr('10.1.2.0/24'),
      table: 20000,
      protocol: 155,
      scope: 253,
      type: 1,
      oif: 3,
    })
    expect(hex(encodeMessage(24, 0x505, 6, route))).toBe(
      '3400000018000505060000000000000002180000009bfd010000000008000f00204e0000080001000a0102000800040003000000',
    )
  })

  it('adds a local default route in both families', () => {
    const local = { table: 2004, protocol: 2, type: 2, oif: 1 }
    expect(
      hex(encodeMessage(24, 0x505, 1, encodeRoute({ ...local, destination: parseCidr('0.0.0.0/0'), scope: 254 }))),
    ).toBe('2c0000001800050501000000000000000200000000' + '02fe020000000008000f00d40700000800040001000000')
    expect(hex(encodeMessage(24, 0x505, 1, encodeRoute({ ...local, destination: parseCidr('::/0'), scope: 0 })))).toBe(
      '2c0000001800050501000000000000000a00000000' + '0200020000000008000f00d40700000800040001000000',
    )
  })

  it('adds a rule on a mark', () => {
    const rule = { family: 4 as const, priority: 9, mark: 0x200, mask: 0xf00, table: 2004, protocol: 2 }
    expect(hex(encodeMessage(32, 0x605, 0x6b051124, encodeRule(rule)))).toBe(
      '44000000200005062411056b00000000' +
        '020000000000000100000000' +
        '0800060009000000' +
        '08000a0000020000' +
        '08001000000f0000' +
        '08000f00d4070000' +
        '0500150002000000',
    )
  })
})

describe('attributes', () => {
  it('pads to 4 and keeps the true length', () => {
    expect(hex(attributeU8(21, 2))).toBe('0500150002000000')
    expect(hex(attributeU16(1, 0x1234))).toBe('0600010034120000')
    expect(hex(attributeU32(1, 0x12345678))).toBe('0800010078563412')
    expect(hex(attributeNested(18, [attributeU8(1, 1)]))).toBe('0c0012800500010001000000')
  })

  it('reads back what it wrote, flags stripped from the type', () => {
    const nested = attributeNested(18, [attributeString(1, 'veth')])
    const parsed = parseAttributes(Uint8Array.from([...attributeU32(4, 1500), ...nested, ...attributeU8(16, 6)])) ?? []
    expect(readU32(parsed, 4)).toBe(1500)
    expect(readU8(parsed, 16)).toBe(6)
    expect(readString(readNested(parsed, 18) ?? [], 1)).toBe('veth')
    expect(readU32(parsed, 16)).toBeUndefined()
    expect(readU8(parsed, 4)).toBeUndefined()
    expect(findAttribute(parsed, 99)).toBeUndefined()
  })

  it('refuses lengths that lie', () => {
    expect(parseAttributes(bytes('0300 0100'))).toBeUndefined()
    expect(parseAttributes(bytes('0900 0100 00000000'))).toBeUndefined()
    expect(parseAttributes(bytes('0000 0100 00000000'))).toBeUndefined()
    expect(parseAttributes(bytes('0500 0100 01'))).toHaveLength(1)
  })

  it('refuses to write one that is too long for its length field', () => {
    expect(() => attribute(1, new Uint8Array(65532))).toThrow(RangeError)
    expect(attribute(1, new Uint8Array(65531)).length).toBe(65536)
  })
})

describe('messages', () => {
  it('splits a datagram at its padding', () => {
    const first = answer(3, 2, 9, bytes('0000000001'))
    const both = Uint8Array.from([...first, ...answer(2, 0, 10, errorBody(0))])
    const found = splitMessages(both) ?? []
    expect(found.map((one) => [one.type, one.sequence, one.body.length])).toEqual([
      [3, 9, 5],
      [2, 10, 20],
    ])
  })

  it('refuses a datagram whose lengths lie', () => {
    const good = answer(2, 0, 10, errorBody(0))
    for (const length of [0, 15, good.length + 1, 0xffffffff]) {
      const bad = good.slice()
      new DataView(bad.buffer).setUint32(0, length, true)
      expect(splitMessages(bad)).toBeUndefined()
    }
    expect(splitMessages(good.subarray(0, 12))).toBeUndefined()
  })

  it("reads errno and the kernel's words, with the request echoed or capped", () => {
    const words = attributeString(1, 'NLA_F_NESTED is missing')
    const capped = { ...message(2, errorBody(22, words)), flags: 0x300 }
    expect(decodeError(capped)).toEqual({ errno: 22, text: 'NLA_F_NESTED is missing' })
    const echo = errorBody(22, Uint8Array.from([...bytes('aabbccdd'), ...words]))
    new DataView(echo.buffer).setUint32(4, 20, true)
    expect(decodeError({ ...message(2, echo), flags: 0x200 })).toEqual({ errno: 22, text: 'NLA_F_NESTED is missing' })
    expect(decodeError(message(2, errorBody(17)))).toEqual({ errno: 17, text: undefined })
    expect(decodeError(message(2, bytes('00000000')))).toBeUndefined()
    const lying = errorBody(22, words)
    new DataView(lying.buffer).setUint32(4, 0xfffffff0, true)
    expect(decodeError({ ...message(2, lying), flags: 0x200 })).toEqual({ errno: 22, text: undefined })
  })

  it('reads the end of a dump', () => {
    expect(decodeDone(message(3, bytes('00000000'))).errno).toBe(0)
    expect(decodeDone(message(3, bytes('eaffffff'))).errno).toBe(22)
    expect(decodeDone(message(3, bytes(''))).errno).toBe(0)
  })
})

describe('rtnetlink', () => {
  it('reads a link', () => {
    const body = Uint8Array.from([
      ...bytes('00000100 05000000 43100100 00000000'),
      ...attributeString(3, 'lxc1'),
      ...attributeU32(4, 1450),
      ...attributeU8(16, 6),
      ...attributeNested(18, [attributeString(1, 'veth')]),
    ])
    expect(decodeLink(message(16, body))).toEqual({
      index: 5,
      hardware: 1,
      name: 'lxc1',
      flags: 0x11043,
      up: true,
      mtu: 1450,
      kind: 'veth',
      master: undefined,
      operState: 6,
    })
    expect(decodeLink(message(16, body.subarray(0, 15)))).toBeUndefined()
    expect(decodeLink(message(16, body.subarray(0, 18)))?.name).toBeUndefined()
  })

  it("reads an address; on a point-to-point link the interface's own", () => {
    const body = Uint8Array.from([
      ...bytes('0220 80 00 07000000'),
      ...attribute(1, bytes('0a000002')),
      ...attribute(2, bytes('0a000001')),
    ])
    expect(decodeAddress(message(20, body))).toEqual({
      index: 7,
      ip: { family: 4, bytes: bytes('0a000001') },
      prefix: 32,
      scope: 0,
      flags: 0x80,
    })
    const short = Uint8Array.from([...bytes('0a40 80 00 07000000'), ...attribute(1, bytes('0a000002'))])
    expect(decodeAddress(message(20, short))).toBeUndefined()
  })

  it('reads back a rule and a route, and sees when a rule is narrower than it shows', () => {
    const rule = { family: 6 as const, priority: 9, mark: 0x200, mask: 0xf00, table: 2004, protocol: 2 }
    const [header = new Uint8Array(), ...attributes] = encodeRule(rule)
    const body = Uint8Array.from([...header, ...attributes.flatMap((one) => [...one])])
    expect(decodeRule(message(32, body))).toEqual({ ...rule, action: 1, inverted: false, narrowed: false })
    const narrow = Uint8Array.from([...body, ...attributeString(3, 'eth0')])
    expect(decodeRule(message(32, narrow))?.narrowed).toBe(true)
    const route = { destination: parseCidr('2001:db8::/32'), table: 2004, protocol: 2, scope: 0, type: 2, oif: 1 }
    const routeBody = Uint8Array.from(encodeRoute(route).flatMap((one) => [...one]))
    expect(decodeRoute(message(24, routeBody))).toEqual(route)
  })

  it('never throws on arbitrary octets', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 0, max: 0xffff }), (data, flags) => {
        const whole = { ...message(0, data), flags }
        splitMessages(data)
        parseAttributes(data)
        decodeError(whole)
        decodeDone(whole)
        decodeLink(whole)
        decodeAddress(whole)
        decodeRule(whole)
        decodeRoute(whole)
      }),
      { numRuns: 2000 },
    )
  })
})

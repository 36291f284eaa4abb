import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseCidr, parseIp } from '../../../src/core/ip.ts'
import {
  attribute,
  attributeNested,
  attributeString,
  attributeU16,
  attributeU32,
  attributeU8,
} from '../../../src/netlink/attributes.ts'
import { encodeGeneric } from '../../../src/netlink/generic.ts'
import { encodeMessage, type Message } from '../../../src/netlink/message.ts'
import { decodeDevice, decodeEndpoint, DeviceReader } from '../../../src/wg/drivers/decode.ts'
import {
  encodeAllowedIpRemovals,
  encodeEndpoint,
  encodePeerRemoval,
  encodePeerSet,
  packBatch,
} from '../../../src/wg/drivers/encode.ts'
import type { Seen } from '../../../src/wg/drivers/seen.ts'
import { encodeKey } from '../../../src/wg/keys.ts'
import { bytes, hex } from '../../netlink/support.ts'

const key = (octet: number): string => encodeKey(new Uint8Array(32).fill(octet))
const COUNTING = Uint8Array.from({ length: 32 }, (_, i) => i + 1)
const cidr = (text: string) => parseCidr(text)

describe('requests, byte for byte', () => {
  it('asks for the dump of a device', () => {
    const body = encodeGeneric(0, 1, [attributeString(2, 'kmesh-wg0')])
    expect(hex(encodeMessage(0x1e, 0x301, 3, body))).toBe(
      '240000001e0001030300000000000000000100000e0002006b6d6573682d776730000000',
    )
  })

  it('sets a key, a port and a mark, and adds a peer with all that a peer can have', () => {
    // What we never send (private and preshared keys, flags that replace) too: it is the codec that is looked at.
    const device = [
      attributeString(2, 'kmesh-wg0'),
      attribute(3, new Uint8Array(32).fill(0x22)),
      ...[attributeU16(6, 51871), attributeU32(7, 0x1e00)],
    ]
    expect(hex(encodeMessage(0x1e, 0x5, 2, encodeGeneric(1, 1, device)))).toBe(
      '580000001e0005000200000000000000010100000e0002006b6d6573682d77673000000024000300' +
        '22'.repeat(32) +
        '060006009fca000008000700001e0000',
    )
    const allowed = [attributeU16(1, 2), attribute(2, bytes('0a010200')), attributeU8(3, 24)]
    const element = [
      ...[attribute(1, COUNTING), attributeU32(3, 2), attribute(2, new Uint8Array(32).fill(0x11))],
      ...[attribute(4, encodeEndpoint({ ip: parseIp('192.0.2.7'), port: 51871 })), attributeU16(5, 25)],
      attributeNested(9, [attributeNested(0, allowed)]),
    ]
    const peers = attributeNested(8, [attributeNested(0, element)])
    expect(hex(encodeMessage(0x1e, 0x5, 1, encodeGeneric(1, 1, [attributeU32(1, 7), peers])))).toBe(
      'b00000001e0005000100000000000000010100000800010007000000940008809000008024000100' +
        hex(COUNTING) +
        '080003000200000024000200' +
        '11'.repeat(32) +
        '140004000200ca9fc000020700000000000000000600050019000000' +
        '200009801c0000800600010002000000080002000a0102000500030018000000',
    )
  })

  it('adds a peer with endpoint, keepalive and an allowed IP', () => {
    const [peer = new Uint8Array()] = encodePeerSet({
      publicKey: encodeKey(COUNTING),
      endpoint: { ip: parseIp('192.0.2.7'), port: 51871 },
      keepalive: 25,
      addAllowedIps: [cidr('10.1.2.0/24')],
    })
    // The message of wg(8) without flags and preshared key, which are never sent.
    expect(hex(peer)).toBe(
      '64000080' +
        '24000100' +
        hex(COUNTING) +
        '14000400' +
        '0200ca9fc00002070000000000000000' +
        '0600050019000000' +
        '20000980' +
        '1c000080' +
        '0600010002000000' +
        '080002000a010200' +
        '0500030018000000',
    )
  })

  it('takes allowed IPs by flag from a peer that exists', () => {
    const [removal = new Uint8Array()] = encodeAllowedIpRemovals({
      publicKey: encodeKey(COUNTING),
      removeAllowedIps: [cidr('10.1.2.0/24')],
    })
    expect(hex(removal)).toContain('0800030004000000')
    expect(hex(removal).endsWith('0500030018000000' + '0800040001000000')).toBe(true)
  })

  it('writes endpoints of both families, and reads them back', () => {
    const six = { ip: parseIp('2001:db8::7'), port: 51871 }
    expect(hex(encodeEndpoint(six))).toBe('0a00ca9f00000000' + '20010db8000000000000000000000007' + '00000000')
    expect(decodeEndpoint(encodeEndpoint(six))).toEqual(six)
    expect(decodeEndpoint(bytes('0a00ca9f00000000'))).toBeUndefined()
    expect(decodeEndpoint(new Uint8Array(28))).toBeUndefined()
  })
})

describe('batches', () => {
  const sets = (count: number): Uint8Array[] =>
    Array.from({ length: count }, (_, i) => encodePeerSet({ publicKey: key(i % 256), addAllowedIps: [] })).flat()
  const removals = (count: number): Uint8Array[] => Array.from({ length: count }, () => encodePeerRemoval(key(1)))

  it('a small one is one message, additions first', () => {
    const [message = new Uint8Array(), ...others] = packBatch(sets(1), removals(1))
    expect(others).toEqual([])
    expect(hex(message)).toBe(
      '5c000880' + hex(sets(1)[0] ?? new Uint8Array()) + hex(removals(1)[0] ?? new Uint8Array()),
    )
  })

  it('a large one keeps removals after every addition, and each message within its limits', () => {
    const messages = packBatch(sets(200), removals(40))
    expect(messages).toHaveLength(4 + 3)
    expect(messages.every((message) => message.length <= 32 * 1024)).toBe(true)
    expect(hex(messages[3] ?? new Uint8Array())).not.toContain('0800030001000000')
    expect(hex(messages[4] ?? new Uint8Array())).toContain('0800030001000000')
  })

  it('a peer with many allowed IPs goes on in elements that cannot make it anew', () => {
    const many = Array.from({ length: 1200 }, (_, i) => cidr(`10.${i >> 8}.${i & 255}.0/24`))
    const elements = encodePeerSet({ publicKey: key(1), keepalive: 25, addAllowedIps: many })
    expect(elements).toHaveLength(3)
    expect(hex(elements[0] ?? new Uint8Array())).not.toContain('0800030004000000')
    for (const element of elements.slice(1)) {
      expect(hex(element)).toContain('0800030004000000')
      expect(hex(element)).not.toContain('0600050019000000')
    }
    expect(packBatch(elements, []).every((message) => message.length <= 32 * 1024)).toBe(true)
  })

  it('nothing is no message', () => {
    expect(packBatch([], [])).toEqual([])
  })

  it('never asks to replace peers or allowed IPs', () => {
    const all = hex(Buffer.concat(packBatch(sets(100), removals(40))))
    // WGPEER_A_FLAGS with bit 1 set.
    for (const flags of ['02', '03', '06', '07']) expect(all).not.toContain(`08000300${flags}000000`)
  })
})

describe('dumps', () => {
  const message = (...attributes: Uint8Array[]): Message => ({
    type: 0x1e,
    flags: 2,
    sequence: 1,
    port: 1,
    body: Uint8Array.from(Buffer.concat(encodeGeneric(0, 1, attributes))),
  })
  const head = [attributeString(2, 'wg0'), attribute(4, COUNTING), attributeU16(6, 51871), attributeU32(7, 0x1e00)]
  const allowedIp = (text: string): Uint8Array => {
    const { ip, bits } = cidr(text)
    return attributeNested(0, [attributeU16(1, ip.family === 4 ? 2 : 10), attribute(2, ip.bytes), attributeU8(3, bits)])
  }
  const peer = (octet: number, allowed: readonly string[], ...more: Uint8Array[]): Uint8Array =>
    attributeNested(0, [
      attribute(1, new Uint8Array(32).fill(octet)),
      ...more,
      attributeNested(9, allowed.map(allowedIp)),
    ])
  const counters = [
    attribute(6, bytes('00f15365000000000100000000000000')),
    attribute(7, bytes('0100000001000000')),
    attribute(8, bytes('0500000000000000')),
    attributeU16(5, 25),
  ]

  it('merges a peer that goes on in later messages, adjacent or not', () => {
    const device = decodeDevice('wg0', [
      message(...head, attributeNested(8, [peer(1, ['10.1.0.0/24'], ...counters), peer(2, ['10.2.0.0/24'])])),
      message(attributeNested(8, [peer(1, ['fd10::/64', '10.1.0.0/24'])])),
      message(attributeNested(8, [])),
    ])
    expect(device).toEqual({
      name: 'wg0',
      publicKey: encodeKey(COUNTING),
      listenPort: 51871,
      fwmark: 0x1e00,
      peers: [
        {
          publicKey: key(1),
          endpoint: undefined,
          keepalive: 25,
          lastHandshakeNs: 1_700_000_000_000_000_001n,
          rxBytes: 2 ** 32 + 1,
          txBytes: 5,
          allowedIps: [cidr('10.1.0.0/24'), cidr('fd10::/64')],
        },
        expect.objectContaining({ publicKey: key(2), lastHandshakeNs: 0n, allowedIps: [cidr('10.2.0.0/24')] }),
      ],
    })
  })

  const read = (messages: readonly Message[], before: readonly Seen[] = []): DeviceReader => {
    const reader = new DeviceReader('wg0', before)
    for (const one of messages) reader.take(one)
    return reader
  }
  const PREFIXES = ['10.1.0.0/24', '10.2.0.0/24', '10.3.0.0/16', 'fd10::/64', 'fd11::/64']
  const endpoints = ['192.0.2.1', '192.0.2.2', '2001:db8::1'].map((ip) =>
    attribute(4, encodeEndpoint({ ip: parseIp(ip), port: 7 })),
  )
  /** Peers of a dump: key, allowed IPs in as many messages as there are lists, endpoint, octets received. */
  const dumps = fc.array(
    fc.uniqueArray(
      fc.record({
        octet: fc.integer({ min: 1, max: 6 }),
        lists: fc.array(fc.subarray(PREFIXES), { minLength: 1, maxLength: 3 }),
        endpoint: fc.constantFrom(...endpoints),
        received: fc.integer({ min: 0, max: 3 }),
      }),
      { selector: ({ octet }) => octet },
    ),
    { minLength: 2, maxLength: 4 },
  )
  type Peers = typeof dumps extends fc.Arbitrary<(infer T)[]> ? T : never
  const messagesOf = (peers: Peers): Message[] => {
    const rx = (count: number): Uint8Array => attribute(7, Uint8Array.of(count, 0, 0, 0, 0, 0, 0, 0))
    const first = peers.map(({ octet, lists, endpoint, received }) =>
      peer(octet, lists[0] ?? [], endpoint, rx(received)),
    )
    const rest = peers.flatMap(({ octet, lists }) => lists.slice(1).map((list) => peer(octet, list)))
    return [message(...head, attributeNested(8, first)), ...rest.map((one) => message(attributeNested(8, [one])))]
  }

  it('are read the same whatever the dump before was', () => {
    fc.assert(
      fc.property(dumps, (all) => {
        let before: DeviceReader | undefined
        for (const peers of all) {
          const messages = messagesOf(peers)
          const shown = JSON.stringify(before?.seen.map((one) => one.peer.allowedIps))
          const reader = read(messages, before?.seen)
          expect(reader.device()).toEqual(decodeDevice('wg0', messages))
          // What was given out before stays as it was.
          expect(JSON.stringify(before?.seen.map((one) => one.peer.allowedIps))).toBe(shown)
          before = reader
        }
      }),
      { numRuns: 500 },
    )
  })

  it('are not made again where they did not change', () => {
    const one = { octet: 1, lists: [['10.1.0.0/24']], received: 1 }
    const [here, there] = endpoints as [Uint8Array, Uint8Array]
    const first = read(messagesOf([{ ...one, endpoint: here }]))
    const again = read(messagesOf([{ ...one, endpoint: here, received: 2 }]), first.seen)
    const [before] = first.device().peers
    const [after] = again.device().peers
    expect(after?.rxBytes).toBe(2)
    expect(after?.allowedIps).toBe(before?.allowedIps)
    expect(after?.endpoint).toBe(before?.endpoint)
    const same = read(messagesOf([{ ...one, endpoint: here, received: 2 }]), again.seen)
    expect(same.device().peers[0]).toBe(after)
    const moved = read(messagesOf([{ ...one, endpoint: there, lists: [['10.2.0.0/24']] }]), again.seen)
    expect(moved.device().peers[0]?.allowedIps).toEqual([cidr('10.2.0.0/24')])
    expect(moved.device().peers[0]?.endpoint).toEqual(decodeEndpoint(there.subarray(4)))
  })

  it('are read right when a peer is cut at the end of a message, and then is not', () => {
    const cut = (...at: number[]): Message[] => {
      const parts: Uint8Array[][] = [[]]
      for (const octet of [1, 2, 3, 4]) {
        parts.at(-1)?.push(peer(octet, ['10.1.0.0/24', ...(at.includes(octet) ? [] : ['fd10::/64'])], ...counters))
        if (at.includes(octet)) parts.push([peer(octet, ['fd10::/64'])])
      }
      return parts.map((some, i) => message(...(i === 0 ? head : []), attributeNested(8, some)))
    }
    const whole = decodeDevice('wg0', cut())
    let before: readonly Seen[] = []
    for (const at of [[], [2], [2], [2, 3], [1, 4], [], []]) {
      const reader = read(cut(...at), before)
      expect(reader.device()).toEqual(whole)
      before = reader.seen
    }
  })

  it('are told apart by the headers of attributes, their number, and what goes on', () => {
    const [here, there] = endpoints as [Uint8Array, Uint8Array]
    const unknown = (like: Uint8Array): Uint8Array => attribute(12, like.subarray(4))
    const only = (...parts: Uint8Array[]): Uint8Array =>
      attributeNested(0, [attribute(1, new Uint8Array(32).fill(1)), ...parts])
    const dumps: readonly (readonly Uint8Array[])[] = [
      [only(unknown(here), there)],
      [only(here, unknown(there))],
      [only(here)],
      [only(here, attributeU16(5, 25))],
      [peer(1, ['10.1.0.0/24'])],
      [peer(1, ['10.1.0.0/24']), peer(1, ['10.2.0.0/24'])],
    ]
    let before: readonly Seen[] = []
    const told = dumps.map((peers) => {
      const messages = [message(...head), ...peers.map((one) => message(attributeNested(8, [one])))]
      const reader = read(messages, before)
      before = reader.seen
      const device = reader.device()
      expect(device).toEqual(decodeDevice('wg0', messages))
      return { device, then: structuredClone(device) }
    })
    for (const { device, then } of told) expect(device).toEqual(then)
  })

  it('a device without a key has none', () => {
    expect(decodeDevice('wg0', [message(...head.slice(0, 1))]).publicKey).toBeUndefined()
  })

  it('what is not well-formed is a typed error', () => {
    const wrong: readonly Message[][] = [
      [],
      [{ ...message(), body: bytes('0001') }],
      [message(...head, attributeNested(8, [attributeNested(0, [attribute(1, new Uint8Array(31))])]))],
      [message(...head, attributeNested(8, [attributeNested(0, [])]))],
      [message(...head, attribute(8, bytes('ffff0000')))],
      [message(...head, attributeNested(8, [peer(1, []), attribute(0, bytes('02000000'))]))],
      [
        message(
          ...head,
          attributeNested(8, [
            attributeNested(0, [
              attribute(1, new Uint8Array(32)),
              attributeNested(9, [
                attributeNested(0, [attributeU16(1, 2), attribute(2, bytes('0a000000')), attributeU8(3, 33)]),
              ]),
            ]),
          ]),
        ),
      ],
    ]
    for (const messages of wrong)
      expect(() => decodeDevice('wg0', messages)).toThrow(expect.objectContaining({ code: 'SEKISHO_WG_PROTOCOL' }))
  })
})

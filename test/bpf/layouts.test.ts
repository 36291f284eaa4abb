import { describe, expect, it } from 'vitest'
import {
  COUNTER_VALUE_BYTES,
  ctAlive,
  CT_IN,
  CT_OUT,
  CT4_KEY_BYTES,
  CT6_KEY_BYTES,
  CT_VALUE_BYTES,
  decodeCtKey,
  decodeCtValue,
  decodeDropKey,
  decodeEvent,
  decodeInterfaceValue,
  decodeIpcacheIdentity,
  decodeIpcacheKey,
  decodeLxcKey,
  decodeLxcValue,
  decodeMetricsKey,
  decodePolicyRow,
  encodeCtKey,
  encodeCtValue,
  encodeDropKey,
  encodeInterfaceValue,
  encodeIpcacheKey,
  encodeIpcacheValue,
  encodeLxcKey,
  encodeLxcValue,
  encodeMetricsKey,
  encodePolicyKey,
  encodePolicyValue,
  encodeSettings,
  EVENT_BYTES,
  type KernelRow,
  sumCounters,
} from '../../src/bpf/layouts.ts'
import { formatCidr, formatIp, parseCidr, parseIp } from '../../src/core/ip.ts'

/** Bytes without a source beside them were read from the maps of cilium-agent 1.20.2. */
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
const hex = (data: Uint8Array): string => Buffer.from(data).toString('hex')
function encoded(size: number, encode: (out: Uint8Array) => void): string {
  // Not zero, so that an octet that is not written shows.
  const out = new Uint8Array(size).fill(0xaa)
  encode(out)
  return hex(out)
}
const zeros = (count: number): string => '00'.repeat(count)

describe('ipcache', () => {
  it.each([
    ['10.244.0.58/32', '400000000000000' + '10af4003a' + zeros(12)],
    ['198.18.0.7/32', '4000000000000001c6120007' + zeros(12)],
    ['0.0.0.0/0', '2000000000000001' + zeros(16)],
    ['::/0', '2000000000000002' + zeros(16)],
    ['fd00:10:244::d796/128', 'a000000000000002fd000010024400000000000000' + '00d796'],
    ['10.1.0.0/16', '30000000000000010a010000' + zeros(12)],
  ])('encodes and decodes the key of %s', (text, want) => {
    expect(encoded(24, (out) => encodeIpcacheKey(parseCidr(text), out))).toBe(want)
    const back = decodeIpcacheKey(bytes(want))
    expect(back && formatCidr(back)).toBe(text)
  })

  it('encodes the identity and nothing else', () => {
    expect(encoded(24, (out) => encodeIpcacheValue(16777217, out))).toBe('01000001' + zeros(20))
    expect(encoded(24, (out) => encodeIpcacheValue(10, out))).toBe('0a' + zeros(23))
    expect(decodeIpcacheIdentity(bytes('f4e80000' + zeros(20)))).toBe(59636)
    expect(decodeIpcacheIdentity(bytes('ffffffff' + zeros(20)))).toBe(0xffffffff)
  })

  it('takes no key of another cluster, of no family, or longer than its address', () => {
    expect(decodeIpcacheKey(bytes('4000000001000001c6120007' + zeros(12)))).toBeUndefined()
    expect(decodeIpcacheKey(bytes('4000000000000003c6120007' + zeros(12)))).toBeUndefined()
    expect(decodeIpcacheKey(bytes('4100000000000001c6120007' + zeros(12)))).toBeUndefined()
    expect(decodeIpcacheKey(bytes('1f00000000000001c6120007' + zeros(12)))).toBeUndefined()
  })
})

describe('lxc', () => {
  it('encodes and decodes the key of either family', () => {
    const four = '0af4003b' + zeros(12) + '01000000'
    const six = 'fd000010024400000000000000' + '00d79602000000'
    expect(encoded(20, (out) => encodeLxcKey(parseIp('10.244.0.59'), out))).toBe(four)
    expect(encoded(20, (out) => encodeLxcKey(parseIp('fd00:10:244::d796'), out))).toBe(six)
    expect(formatIp(decodeLxcKey(bytes(six)) ?? parseIp('::'))).toBe('fd00:10:244::d796')
    expect(formatIp(decodeLxcKey(bytes(four)) ?? parseIp('::'))).toBe('10.244.0.59')
  })

  it('reads interface, endpoint and identity where the agent writes them', () => {
    const value = bytes(
      '0700000000007101 0000000000000000 d6fce829580b0000 66f1063edcd20000 0738000000000000 0000000000000000',
    )
    expect(decodeLxcValue(value)).toEqual({ ifindex: 7, endpointId: 369, flags: 0, identity: 14343 })
    const mine = { ifindex: 7, endpointId: 369, flags: 1, identity: 14343 }
    const out = encoded(48, (to) => encodeLxcValue(mine, to))
    expect(out).toBe('0700000000007101' + '01000000' + zeros(20) + '07380000' + zeros(12))
    expect(decodeLxcValue(bytes(out))).toEqual(mine)
  })
})

describe('policy', () => {
  const rows: [string, KernelRow, string, string][] = [
    [
      'allow, one port',
      { label: 16777217, protocol: 6, port: 443, portBits: 16, verdict: 'allow' },
      '400000000100000101' + '0601bb',
      '0000c00001ffffff00000000',
    ],
    [
      'redirect',
      { label: 0x6918, protocol: 17, port: 53, portBits: 16, verdict: 'redirect' },
      '4000000018690000' + '01110035',
      '2711c00086ffffff00000000',
    ],
    [
      'allow everything',
      { label: 0, protocol: 0, port: 0, portBits: 0, verdict: 'allow' },
      '2800000000000000' + '01000000',
      '0000000001ffffff00000000',
    ],
    [
      'deny a range',
      { label: 13, protocol: 6, port: 8192, portBits: 3, verdict: 'deny' },
      '330000000d000000' + '01062000',
      '00005900ffffffff00000000',
    ],
    [
      'any port of a protocol',
      { label: 11, protocol: 132, port: 0, portBits: 0, verdict: 'allow' },
      '300000000b000000' + '01840000',
      '0000400001ffffff00000000',
    ],
  ]
  it.each(rows)('encodes and decodes: %s', (_name, row, key, value) => {
    expect(encoded(12, (out) => encodePolicyKey(row, out))).toBe(key)
    expect(encoded(12, (out) => encodePolicyValue(row, 10001, out))).toBe(value)
    expect(decodePolicyRow(bytes(key), bytes(value))?.row).toEqual(row)
  })

  it('clears port bits beyond the prefix, and a port without a protocol', () => {
    const range: KernelRow = { label: 0, protocol: 6, port: 0xffff, portBits: 4, verdict: 'allow' }
    expect(encoded(12, (out) => encodePolicyKey(range, out))).toBe('3400000000000000' + '0106f000')
    const odd: KernelRow = { label: 0, protocol: 0, port: 53, portBits: 16, verdict: 'allow' }
    expect(encoded(12, (out) => encodePolicyKey(odd, out))).toBe('2800000000000000' + '01000000')
  })

  it('does not read ingress rows or impossible lengths', () => {
    const value = bytes('0000000001ffffff00000000')
    expect(decodePolicyRow(bytes('280000000000000000000000'), value)).toBeUndefined()
    expect(decodePolicyRow(bytes('290000000000000001000000'), value)).toBeUndefined()
    expect(decodePolicyRow(bytes('410000000000000001060000'), value)).toBeUndefined()
  })
})

describe('conntrack', () => {
  const key = '0af4009d c6120007 01bb ab58 06 00'.replaceAll(' ', '')
  const value = (zeros(32) + '9b110000 1300 0000 0000 03 03 2c020000 91110000 91110000').replaceAll(' ', '')

  it('reads what the agent wrote: addresses exchanged, ports not', () => {
    const found = decodeCtKey(4, bytes(key))
    expect([formatIp(found.source), found.sourcePort]).toEqual(['10.244.0.157', 0xab58])
    expect([formatIp(found.destination), found.destinationPort]).toEqual(['198.18.0.7', 443])
    expect([found.protocol, found.direction]).toEqual([6, CT_OUT])
    expect(encoded(CT4_KEY_BYTES, (out) => encodeCtKey(found, out))).toBe(key)
    expect(decodeCtValue(bytes(value))).toEqual({ lifetime: 4507, bits: 0x13, sourceIdentity: 556 })
  })

  it('encodes the IPv6 key', () => {
    const six = {
      source: parseIp('fd00::1'),
      destination: parseIp('2001:db8::2'),
      sourcePort: 1,
      destinationPort: 53,
      protocol: 17,
      direction: CT_IN,
    }
    const out = encoded(CT6_KEY_BYTES, (to) => encodeCtKey(six, to))
    expect(out).toBe('fd000000000000000000000000000001' + '20010db8000000000000000000000002' + '003500011101')
    expect(decodeCtKey(6, bytes(out))).toEqual(six)
  })

  it('encodes the value', () => {
    const out = encoded(CT_VALUE_BYTES, (to) => encodeCtValue({ lifetime: 4507, bits: 0x40, sourceIdentity: 556 }, to))
    expect(out).toBe(zeros(32) + '9b1100004000' + zeros(6) + '2c020000' + zeros(8))
  })

  it('is alive until its lifetime and until both ends have closed', () => {
    expect(ctAlive(100, 0x10, 99)).toBe(true)
    expect(ctAlive(100, 0x10, 100)).toBe(false)
    expect(ctAlive(100, 0x11, 99)).toBe(true)
    expect(ctAlive(100, 0x13, 99)).toBe(false)
  })
})

describe('counters, events and control', () => {
  it('encodes keys', () => {
    expect(encoded(8, (out) => encodeMetricsKey(133, 2, out))).toBe('8502' + zeros(6))
    expect(decodeMetricsKey(bytes('85020000' + zeros(4)))).toEqual({ reason: 133, direction: 2 })
    expect(encoded(4, (out) => encodeDropKey({ endpointId: 300, reason: 181, direction: 2 }, out))).toBe('2c01b502')
    expect(decodeDropKey(bytes('2c01b502'))).toEqual({ endpointId: 300, reason: 181, direction: 2 })
  })

  it('sums the CPUs', () => {
    const all = new Uint8Array(COUNTER_VALUE_BYTES * 3)
    const view = new DataView(all.buffer)
    for (let cpu = 0; cpu < 3; cpu++) {
      view.setBigUint64(cpu * 16, BigInt(cpu + 1), true)
      view.setBigUint64(cpu * 16 + 8, BigInt(cpu) << 33n, true)
    }
    expect(sumCounters(all, 0, 3)).toEqual({ packets: 6, bytes: 3 * 2 ** 33 })
  })

  it('decodes a drop event, and none from too few octets', () => {
    const event =
      '00ca9a3b00000000' + '2c01' + '85' + '02' + '01' + '06' + 'c350' + '01bb' + '0000' + '09000000' + '4a000000'
    const record = bytes(event + '05000000' + '0a010203' + zeros(12) + 'c6120007' + zeros(12))
    expect(record.length).toBe(EVENT_BYTES)
    expect(decodeEvent(record)).toEqual({
      timeMs: 1000,
      endpointId: 300,
      reason: 133,
      direction: 2,
      family: 4,
      protocol: 6,
      source: parseIp('10.1.2.3'),
      destination: parseIp('198.18.0.7'),
      sourcePort: 50000,
      destinationPort: 443,
      identity: 9,
      length: 74,
      ifindex: 5,
    })
    expect(decodeEvent(record.subarray(1))).toBeUndefined()
    record[12] = 0
    expect(decodeEvent(record)?.source).toBeUndefined()
  })

  it('encodes interface and settings', () => {
    expect(encoded(8, (out) => encodeInterfaceValue({ endpointId: 7, enforced: true }, out))).toBe('0700000001000000')
    expect(decodeInterfaceValue(bytes('0700000000000000'))).toEqual({ endpointId: 7, enforced: false })
    const settings = {
      tcpSeconds: 8000,
      otherSeconds: 60,
      synSeconds: 61,
      closeSeconds: 10,
      eventsPerSecond: 100,
      world4: 9,
      world6: 10,
    }
    expect(encoded(32, (out) => encodeSettings(settings, out))).toBe(
      '401f0000' + '3c000000' + '3d000000' + '0a000000' + '64000000' + '09000000' + '0a000000' + '00000000',
    )
  })
})

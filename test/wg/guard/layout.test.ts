import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { formatCidr, parseCidr } from '../../../src/core/ip.ts'
import {
  COUNTERS,
  KEY_BYTES,
  MAX_FLOWS,
  MAX_PORTS,
  MAX_PREFIXES,
  SETTINGS_BYTES,
  decodeKey,
  encodeGuardSettings,
  encodeKey,
  encodeValue,
  sumPackets,
} from '../../../src/wg/guard/layout.ts'

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const header = readFileSync(new URL('../../../native/bpf/guard.h', import.meta.url), 'utf8')
const SETTINGS = { allowFwmark: 0x1e00, mask: 0x1f00, ports: [51871, 51872], bypass: [] }

describe('the words of the guard', () => {
  it('have the bounds of the program', () => {
    const defined = (name: string): number => Number(new RegExp(`#define GUARD_${name} (\\d+)`).exec(header)?.[1])
    expect([MAX_PREFIXES, MAX_FLOWS, MAX_PORTS]).toEqual(['MAX_PREFIXES', 'MAX_FLOWS', 'MAX_PORTS'].map(defined))
  })

  it('are keys of a trie', () => {
    expect(hex(encodeKey(parseCidr('10.92.2.0/24')))).toBe('180000000a5c0200')
    expect(hex(encodeKey(parseCidr('fd00:92::/64')))).toBe('40000000fd000092000000000000000000000000')
    for (const text of ['0.0.0.0/0', '10.0.0.1/32', '::/0', 'fd00:92:2::/48', 'fd00::1/128']) {
      const prefix = parseCidr(text)
      const { family } = prefix.ip
      const back = decodeKey(family, Uint8Array.of(9, 9, ...encodeKey(prefix)), 2)
      expect(back === undefined ? back : formatCidr(back)).toBe(text)
    }
    expect(decodeKey(4, Uint8Array.of(33, 0, 0, 0, 1, 2, 3, 4))).toBeUndefined()
    expect(decodeKey(6, new Uint8Array(KEY_BYTES[6]).fill(255))).toBeUndefined()
  })

  it('tell a single address, which may be a node, from a prefix of pods', () => {
    expect(
      ['10.0.0.1/32', 'fd00::1/128', '10.0.0.0/31', 'fd00::/64'].map((text) => encodeValue(parseCidr(text))[0]),
    ).toEqual([2, 2, 1, 1])
  })

  it('are the settings of the program', () => {
    const bypass = [
      { cidr: parseCidr('192.0.2.0/30'), protocol: 'tcp', port: 6443 } as const,
      { cidr: parseCidr('fd00:1::/32') },
    ]
    const out = encodeGuardSettings({ ...SETTINGS, bypass })
    expect(out).toHaveLength(SETTINGS_BYTES)
    expect(hex(out.subarray(0, 16))).toBe('001e0000' + '001f0000' + 'ca9fcaa0' + '00000000')
    expect(hex(out.subarray(16, 52))).toBe(
      'c0000200' + '00'.repeat(12) + 'fffffffc' + '00'.repeat(12) + '04' + '06' + '192b',
    )
    expect(hex(out.subarray(52, 88))).toBe(
      'fd000001' + '00'.repeat(12) + 'ffffffff' + '00'.repeat(12) + '06' + '000000',
    )
    expect(hex(out.subarray(88))).toMatch(/^0+$/)
  })

  it('are refused when a list is too long, not cut', () => {
    const flow = { cidr: parseCidr('192.0.2.1/32') }
    expect(() => encodeGuardSettings({ ...SETTINGS, bypass: Array(33).fill(flow) as (typeof flow)[] })).toThrow(
      RangeError,
    )
    expect(() => encodeGuardSettings({ ...SETTINGS, ports: [1, 2, 3, 4, 5] })).toThrow(RangeError)
  })

  it('are sums over the CPUs, by direction and family', () => {
    const values = new Uint8Array(24)
    values.set([1, 1], 0)
    values.set([2], 8)
    values.set([0, 0, 1], 16)
    expect(sumPackets(values)).toBe(257 + 2 + 65536)
    expect(COUNTERS).toEqual([
      { direction: 'ingress', family: 4 },
      { direction: 'ingress', family: 6 },
      { direction: 'egress', family: 4 },
      { direction: 'egress', family: 6 },
    ])
  })
})

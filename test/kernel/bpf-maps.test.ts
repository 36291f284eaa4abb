import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { encodePolicyKey, POLICY_KEY_BYTES, POLICY_VALUE_BYTES } from '../../src/bpf/layout-policy.ts'
import { CT_IN, CT_OUT, type CtKey, type KernelRow } from '../../src/bpf/layouts.ts'
import { mapSpecs, openConntrackMap } from '../../src/bpf/maps.ts'
import { layoutMismatch, MAP_NAMES } from '../../src/bpf/map-specs.ts'
import { formatCidr, formatIp, parseCidr, parseIp, readAddr16 } from '../../src/core/ip.ts'
import { DatapathBed } from '../support/datapath-bed.ts'

const bed = new DatapathBed()
beforeEach(() => {
  bed.reset()
})
afterAll(() => {
  bed.close()
})

describe('specifications', () => {
  it('fit the maps of the object, name by name', () => {
    const specs = mapSpecs({ ipcacheEntries: 512000, policyEntries: 16384, conntrackEntries: 65536 })
    for (const name of MAP_NAMES) {
      const info = bed.native.bpfMapInfo(bed.maps[name])
      expect([name, layoutMismatch(specs[name], info), info.maxEntries]).toEqual([
        name,
        undefined,
        specs[name].maxEntries,
      ])
    }
  })

  it('say what does not fit', () => {
    const { ct4, ct6 } = mapSpecs({ ipcacheEntries: 1, policyEntries: 1, conntrackEntries: 1 })
    expect(layoutMismatch(ct4, bed.native.bpfMapInfo(bed.maps.ct6))).toBe('key size 38 instead of 14')
    expect(layoutMismatch(ct6, bed.native.bpfMapInfo(bed.maps.lxc))).toBe(
      'type 1 instead of 9, key size 20 instead of 38, value size 48 instead of 56, flags 1 instead of 0',
    )
  })
})

describe('ipcache', () => {
  const entry = (cidr: string, identity: number): { cidr: ReturnType<typeof parseCidr>; identity: number } => ({
    cidr: parseCidr(cidr),
    identity,
  })
  const dump = (): string[] => [...bed.ipcache.dump()].map((one) => `${formatCidr(one.cidr)}=${one.identity}`).sort()

  it('writes, replaces, dumps and deletes in batches', () => {
    bed.ipcache.update([
      entry('0.0.0.0/0', 9),
      entry('::/0', 10),
      entry('10.0.0.0/8', 1),
      entry('2001:db8::1/128', 0x01000001),
    ])
    expect(dump()).toEqual(['0.0.0.0/0=9', '10.0.0.0/8=1', '2001:db8::1/128=16777217', '::/0=10'])
    bed.ipcache.update([entry('10.0.0.0/8', 2)])
    bed.ipcache.delete([parseCidr('::/0'), parseCidr('10.0.0.0/9'), parseCidr('0.0.0.0/0')])
    expect(dump()).toEqual(['10.0.0.0/8=2', '2001:db8::1/128=16777217'])
    bed.ipcache.update([])
    bed.ipcache.delete([])
  })

  it('dumps more than one batch', () => {
    const many = Array.from({ length: 5000 }, (_, i) => entry(`10.1.${i >> 8}.${i & 255}/32`, 0x01000000 + i))
    bed.ipcache.update(many)
    const all = [...bed.ipcache.dump()]
    expect(all).toHaveLength(5000)
    expect(new Set(all.map((one) => one.identity)).size).toBe(5000)
  })
})

describe('policy maps', () => {
  const row = (label: number, port: number, verdict: KernelRow['verdict'] = 'allow'): KernelRow => ({
    label,
    protocol: 6,
    port,
    portBits: 16,
    verdict,
  })

  it('keep rows, and forget them', () => {
    const map = bed.policies.create([row(1, 80), row(1, 443), row(2, 80, 'deny')])
    map.update([row(1, 80, 'redirect'), row(3, 80)])
    map.delete([row(1, 443), row(9, 9)])
    expect(map.dump().sort((a, b) => a.label - b.label)).toEqual([
      row(1, 80, 'redirect'),
      row(2, 80, 'deny'),
      row(3, 80),
    ])
    map.close()
    map.close()
  })

  it('tell a row that is not as it was written, whatever its verdict', () => {
    const rows = [row(1, 80, 'redirect'), row(2, 80), row(3, 80, 'deny'), row(4, 53, 'redirect')]
    const map = bed.policies.create(rows)
    const change = (one: KernelRow, at: number, octet: number): void => {
      const [key, value] = [new Uint8Array(POLICY_KEY_BYTES), new Uint8Array(POLICY_VALUE_BYTES)]
      encodePolicyKey(one, key)
      bed.native.bpfMapLookup(map.fd, key, value)
      value[at] = (value[at] ?? 0) ^ octet
      bed.native.bpfMapUpdate(map.fd, key, value)
    }
    expect(map.dump().filter(({ altered }) => altered)).toEqual([])
    // The port that it leads to; the precedence, which decides between rows.
    change(rows[0] ?? row(0, 0), 1, 0x01)
    change(rows[1] ?? row(0, 0), 4, 0x02)
    const told = map.dump().sort((a, b) => a.label - b.label)
    expect(told.map(({ verdict, altered }) => [verdict, altered])).toEqual([
      ['redirect', true],
      ['allow', true],
      ['deny', undefined],
      ['redirect', undefined],
    ])
    map.update(rows)
    expect(map.dump().sort((a, b) => a.label - b.label)).toEqual(rows)
    map.close()
  })

  it('have a digest that stays while nobody touches them and differs with every octet that counts', () => {
    const rows = Array.from({ length: 40 }, (_, i) => row(i, 80, i % 3 === 0 ? 'redirect' : 'allow'))
    const map = bed.policies.create(rows)
    const same = bed.policies.create([...rows].reverse())
    const first = map.digest()
    expect([map.digest(), same.digest()]).toEqual([first, first])
    same.close()
    const key = new Uint8Array(POLICY_KEY_BYTES)
    const value = new Uint8Array(POLICY_VALUE_BYTES)
    for (const at of [0, 1, 2, 4, 5, 6, 7]) {
      encodePolicyKey(row(7, 80), key)
      bed.native.bpfMapLookup(map.fd, key, value)
      value[at] = (value[at] ?? 0) ^ 0x10
      bed.native.bpfMapUpdate(map.fd, key, value)
      expect(map.digest()).not.toBe(first)
      map.update([row(7, 80)])
      expect(map.digest()).toBe(first)
    }
    map.update([row(99, 80)])
    expect(map.digest()).not.toBe(first)
    map.delete([row(99, 80), row(7, 80)])
    expect(map.digest()).not.toBe(first)
    map.update([row(7, 80)])
    expect(map.digest()).toBe(first)
    map.close()
  })

  it('are attached, swapped and detached by endpoint', () => {
    const one = bed.policies.create([])
    const two = bed.policies.create([])
    bed.policies.attach(1, one)
    bed.policies.attach(2, one)
    bed.policies.attach(1, two)
    expect([...bed.policies.attached()].sort()).toEqual([1, 2])
    const value = new Uint8Array(4)
    bed.native.bpfMapLookup(bed.maps.policy, Uint8Array.of(1, 0, 0, 0), value)
    expect(new DataView(value.buffer).getUint32(0, true)).toBe(bed.native.bpfMapInfo(two.fd).id)
    bed.policies.detachAll([1])
    bed.policies.detachAll([1])
    expect([...bed.policies.attached()]).toEqual([2])
    one.close()
    two.close()
  })

  it('refuse more rows than they have room for, and lose no descriptor by it', () => {
    const before = bed.policies.create([]).fd
    const many = Array.from({ length: 1025 }, (_, i) => row(i, 80))
    expect(() => bed.policies.create(many)).toThrow(expect.objectContaining({ errnoName: 'ENOSPC' }))
    expect(bed.policies.create([]).fd).toBe(before + 1)
    bed.native.close(before)
    bed.native.close(before + 1)
  })
})

describe('conntrack', () => {
  const NOW = 1000
  const flow = (n: number, family: 4 | 6, change: Partial<CtKey> = {}): CtKey => ({
    source: parseIp(family === 4 ? '10.0.0.1' : 'fd00::1'),
    destination: parseIp(family === 4 ? `198.18.${n >> 8}.${n & 255}` : `2001:db8::${n.toString(16)}`),
    sourcePort: 1000 + n,
    destinationPort: 443,
    protocol: 6,
    direction: CT_OUT,
    ...change,
  })
  const live = { lifetime: NOW + 1, bits: 0, sourceIdentity: 0 }
  const open = (): ReturnType<typeof openConntrackMap> => openConntrackMap(bed.native, bed.maps)
  const pass = (map: ReturnType<typeof openConntrackMap>, max: number): { seen: string[]; slices: number } => {
    const seen: string[] = []
    let slices = 1
    const note = (endpoint: Uint8Array, remote: Uint8Array): void => {
      seen.push(`${formatIp(readAddr16(endpoint, 0))} ${formatIp(readAddr16(remote, 0))}`)
    }
    while (map.scan(max, NOW, note)) slices += 1
    return { seen: seen.sort(), slices }
  }

  it('gives live connections that a pod opened, of both families and all protocols', () => {
    bed.setConnection(flow(1, 4), live)
    bed.setConnection(flow(2, 4, { protocol: 17 }), live)
    bed.setConnection(flow(3, 6), live)
    bed.setConnection(flow(4, 6, { protocol: 17 }), { ...live, bits: 0x11 })
    bed.setConnection(flow(5, 4, { direction: CT_IN }), live)
    bed.setConnection(flow(6, 4), { ...live, lifetime: NOW })
    bed.setConnection(flow(7, 6), { ...live, bits: 0x13 })
    const { seen } = pass(open(), 100_000)
    expect(seen).toEqual(['10.0.0.1 198.18.0.1', '10.0.0.1 198.18.0.2', 'fd00::1 2001:db8::3', 'fd00::1 2001:db8::4'])
  })

  it('goes through everything in slices, and begins anew after the last', () => {
    for (let n = 0; n < 3000; n++) bed.setConnection(flow(n, n % 2 === 0 ? 4 : 6), live)
    const map = open()
    const first = pass(map, 500)
    expect(first.slices).toBeGreaterThanOrEqual(6)
    expect(new Set(first.seen).size).toBe(3000)
    expect(pass(map, 500).seen).toEqual(first.seen)
    expect(pass(map, 1_000_000)).toEqual({ seen: first.seen, slices: 1 })
  })

  it('is over at once when nothing is there', () => {
    expect(pass(open(), 1)).toEqual({ seen: [], slices: expect.any(Number) as number })
  })
})

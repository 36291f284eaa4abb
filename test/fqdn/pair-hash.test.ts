import { describe, expect, it } from 'vitest'
import { expiryOf, MAX_TTL_SECONDS } from '../../src/fqdn/lifetime.ts'
import { PairHash } from '../../src/fqdn/shared/pair-hash.ts'
import { wire } from '../support/fake-view.ts'

const ADDRESS = Uint8Array.from({ length: 32 }, (_, i) => i * 7)

function hashOf(hash: PairHash, endpoint: number, name: Uint8Array, offset = 0, length = name.length, at = 0): string {
  hash.start(endpoint, name, offset, length)
  hash.address(ADDRESS, at)
  return `${hash.lo}/${hash.hi}`
}

describe('the hash of endpoint, name and address', () => {
  it('does not depend on where the octets lie, nor on addresses before', () => {
    const hash = new PairHash(1, 2)
    const name = wire('www.example.com')
    const moved = new Uint8Array(300)
    moved.set(name, 13)
    expect(hashOf(hash, 7, moved, 13, name.length)).toBe(hashOf(hash, 7, name))
    hash.start(7, name, 0, name.length)
    hash.address(ADDRESS, 16)
    hash.address(ADDRESS, 0)
    expect(`${hash.lo}/${hash.hi}`).toBe(hashOf(hash, 7, name))
  })

  it('depends on the seed and on every part', () => {
    const name = wire('www.example.com')
    const hash = new PairHash(1, 2)
    const all = [
      hashOf(hash, 7, name),
      hashOf(hash, 8, name),
      hashOf(hash, 7, wire('wwx.example.com')),
      hashOf(hash, 7, wire('www.example.con')),
      hashOf(hash, 7, name, 0, name.length, 16),
      hashOf(new PairHash(2, 2), 7, name),
      hashOf(new PairHash(1, 3), 7, name),
    ]
    expect(new Set(all).size).toBe(all.length)
  })

  it('spreads: 300,000 keys, no pair alike, both lanes even', () => {
    const hash = new PairHash(0xdead_beef, 0x1234_5678)
    const seen = new Set<bigint>()
    const low = new Uint32Array(256)
    const high = new Uint32Array(256)
    const address = new Uint8Array(16)
    for (let n = 0; n < 300_000; n++) {
      const name = new Uint8Array([4, n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, 97, 0])
      address[15] = n % 5
      hash.start((n % 1000) + 1, name, 0, name.length)
      hash.address(address, 0)
      seen.add((BigInt(hash.hi >>> 0) << 32n) | BigInt(hash.lo >>> 0))
      low[hash.lo & 0xff] = (low[hash.lo & 0xff] as number) + 1
      high[hash.hi & 0xff] = (high[hash.hi & 0xff] as number) + 1
    }
    expect(seen.size).toBe(300_000)
    for (const buckets of [low, high]) {
      expect(Math.min(...buckets)).toBeGreaterThan(950)
      expect(Math.max(...buckets)).toBeLessThan(1400)
    }
  })
})

describe('the expiry of an answer', () => {
  const rules = { minTtlSeconds: 5, graceSeconds: 2 }

  it.each([
    ['its TTL and the grace', 60, 163],
    ['at least the minimum', 1, 108],
    ['at most a week', 0x7fff_ffff, 100 + 1 + MAX_TTL_SECONDS + 2],
    ['nothing for a TTL with the top bit set', 0x8000_0000, 108],
  ])('has %s', (_, ttl, want) => {
    expect(expiryOf(100_900, ttl, rules)).toBe(want)
  })
})

import { beforeAll, describe, expect, test } from 'vitest'
import { compilePolicy } from '../../src/policy/compile.ts'
import { openSnapshot } from '../../src/policy/snapshot.ts'
import type { Snapshot } from '../../src/policy/snapshot.ts'
import { addr16, cidr, dns, endpoint, fqdn, policy, rule, wire } from './support/build.ts'

/**
 * Smoke bounds, about ten times what an idle machine shows (bench/ has the figures): they catch work per rule and
 * quadratic compilation, not percents.
 */

/** One fifth each: a name, `*.`, `**.`, and globs that begin and end alike. */
const mixed = (count: number, salt = ''): string[] =>
  Array.from({ length: count }, (_, i) => {
    const forms = [
      `n${i}${salt}.a.io`,
      `*.s${i}${salt}.b.io`,
      `**.d${i}${salt}.c.io`,
      `api${i}-*.g${salt}.a.io`,
      `*-x${i}.h${salt}.a.io`,
    ]
    return forms[i % forms.length] ?? ''
  })

const SERVER = addr16('10.96.0.10')

function build(count: number): { snap: Snapshot; compileMs: number } {
  const texts = mixed(count)
  const rules = [rule([cidr('10.96.0.10/32')], ['ANY/53'], dns(...texts)), rule(texts.map(fqdn), ['TCP/443'])]
  const input = { generation: 1, endpoints: [endpoint(1, 'a', '10.0.0.1')], policies: [policy('a', rules)] }
  const from = performance.now()
  const { buffer } = compilePolicy(input)
  const compileMs = performance.now() - from
  if (buffer === undefined) throw new Error('no snapshot')
  return { snap: openSnapshot(buffer), compileMs }
}

/** Microseconds a call, best of five rounds. */
function cost(names: readonly Uint8Array[], ask: (name: Uint8Array) => number, wanted: number): number {
  let best = Infinity
  for (let round = 0; round < 5; round++) {
    const from = performance.now()
    let sum = 0
    for (let i = 0; i < 20; i++) for (const name of names) sum += ask(name)
    best = Math.min(best, ((performance.now() - from) * 1000) / (20 * names.length))
    expect(sum / (20 * names.length)).toBe(wanted)
  }
  return best
}

const hits = (count: number): Uint8Array[] =>
  Array.from({ length: 500 }, (_, k) => {
    const i = Math.floor((k * count) / 500)
    const forms = [`n${i}.a.io`, `www.s${i}.b.io`, `a.b.d${i}.c.io`, `api${i}-eu.g.a.io`, `eu-x${i}.h.a.io`]
    return wire(forms[i % forms.length] ?? '')
  })
const misses = Array.from({ length: 500 }, (_, k) => wire(`apix${k}-y.${'gh'[k % 2]}.a.io`))

describe('10,000 patterns of all forms', () => {
  let large: ReturnType<typeof build>
  let small: ReturnType<typeof build>
  beforeAll(() => {
    build(100)
    large = build(10_000)
    small = build(30)
  })

  test('compile in a fraction of a second', () => expect(large.compileMs).toBeLessThan(2000))

  test('cost microseconds a query, a hit or a miss', () => {
    const ask = (name: Uint8Array): number => large.snap.verdict(0, SERVER, 0, 17, 53, name, 0)
    expect(cost(hits(10_000), ask, 2)).toBeLessThan(20)
    expect(cost(misses, ask, 1)).toBeLessThan(20)
  })

  test('cost about what thirty cost', () => {
    const of = (snap: Snapshot, count: number): number =>
      cost(hits(count), (name) => snap.verdict(0, SERVER, 0, 17, 53, name, 0), 2)
    expect(of(large.snap, 10_000)).toBeLessThan(of(small.snap, 30) * 8)
  })

  test('allocate nothing', () => {
    const names = [...hits(10_000), ...misses]
    const out = new Uint32Array(large.snap.selectorCount)
    const from = addr16('10.0.0.1')
    const run = (): void => {
      for (let i = 0; i < 20_000; i++) {
        const name = names[i % names.length] ?? SERVER
        large.snap.verdict(large.snap.endpointByAddress(from, 0), SERVER, 0, 17, 53, name, 0)
        large.snap.matchSelectors(name, 0, out)
      }
    }
    for (let i = 0; i < 10; i++) run()
    // One object a query would be 12 octets at least; the smallest of several rounds is free of what others do.
    let least = Infinity
    for (let i = 0; i < 5; i++) {
      const before = process.memoryUsage().heapUsed
      run()
      const grown = process.memoryUsage().heapUsed - before
      if (grown >= 0) least = Math.min(least, grown / 20_000)
    }
    expect(least).toBeLessThan(8)
  })

  test('select a new name in microseconds', () => {
    const out = new Uint32Array(large.snap.selectorCount)
    expect(cost(hits(10_000), (name) => large.snap.matchSelectors(name, 0, out), 1)).toBeLessThan(50)
  })
})

test('1,000 endpoints with 30 patterns of their own compile in seconds at most', () => {
  const endpoints = Array.from({ length: 1000 }, (_, i) => endpoint(i + 1, `a${i}`, `10.0.${i >> 8}.${i & 255}`))
  const policies = endpoints.map((_, i) => {
    const texts = mixed(30, `-${i}`)
    return policy(`a${i}`, [
      rule([cidr('10.96.0.10/32')], ['ANY/53'], dns(...texts)),
      rule(texts.map(fqdn), ['TCP/443']),
    ])
  })
  const from = performance.now()
  const { buffer } = compilePolicy({ generation: 1, endpoints, policies })
  expect(performance.now() - from).toBeLessThan(6000)
  const snap = openSnapshot(buffer ?? new SharedArrayBuffer(0))
  expect([snap.shapeCount, snap.selectorCount]).toEqual([1000, 30_000])
  expect(snap.verdict(777, SERVER, 0, 17, 53, wire('www.s1-777.b.io'), 0)).toBe(2)
  expect(snap.verdict(776, SERVER, 0, 17, 53, wire('www.s1-777.b.io'), 0)).toBe(1)
})

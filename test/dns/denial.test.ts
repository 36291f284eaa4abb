import { describe, expect, test } from 'vitest'
import { parseFqdn } from '../../src/core/fqdn.ts'
import { Denial } from '../../src/dns/denial.ts'
import type { DenyResponse } from '../../src/dns/denial.ts'
import { FakePolicy, POD, SERVER } from './gate-world.ts'

const policy = new FakePolicy([{ from: POD, server: SERVER, names: ['www.bing.com', '*.wild.example'] }])
const server = Uint8Array.from([...new Uint8Array(10), 255, 255, ...SERVER.split('.').map(Number)])

function rcode(
  name: string,
  mode: DenyResponse = 'auto',
  domains = ['svc.cluster.local', 'cluster.local', 'abc.internal.cloudapp.net'],
): number {
  const wire = parseFqdn(name)
  const denial = new Denial(
    mode,
    domains.map((domain) => parseFqdn(domain)),
  )
  return denial.rcode(policy, 0, server, 0, 17, 53, wire, wire.length)
}

describe('a denied name', () => {
  test.each([
    ['www.bing.com.cluster.local', 3],
    ['www.bing.com.svc.cluster.local', 3],
    ['www.bing.com.default.svc.cluster.local', 3],
    ['www.bing.com.abc.internal.cloudapp.net', 3],
    ['x.wild.example.cluster.local', 3],
    ['www.bing.com.a.b.svc.cluster.local', 5],
    ['www.bing.com.default.cluster.local', 5],
    ['evil.com.cluster.local', 5],
    ['evil.com', 5],
    ['cluster.local', 5],
    ['svc.cluster.local', 5],
    ['default.svc.cluster.local', 5],
    ['www.bing.comcluster.local', 5],
    ['www.bing.com.xcluster.local', 5],
    ['.', 5],
  ])('%s: rcode %i', (name, expected) => {
    expect(rcode(name)).toBe(expected)
  })

  test('a suffix is compared by labels: a dot inside one is not a boundary', () => {
    expect(rcode('www.bing.com\\.cluster.local')).toBe(5)
  })

  test('a suffix that lies inside a label is none, and the policy is never asked about a broken name', () => {
    policy.asked.length = 0
    expect(rcode('www.bing.com.x\\007cluster\\005local')).toBe(5)
    expect(policy.asked).toEqual([])
  })

  test('has the rcode that the mode says', () => {
    expect(rcode('evil.com', 'nxdomain')).toBe(3)
    expect(rcode('www.bing.com.cluster.local', 'refused')).toBe(5)
  })

  test('without search domains is refused', () => {
    expect(rcode('www.bing.com.cluster.local', 'auto', [])).toBe(5)
    expect(rcode('www.bing.com.cluster.local', 'auto', ['.'])).toBe(5)
  })
})

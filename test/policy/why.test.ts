import { describe, expect, test } from 'vitest'
import { parseFqdn } from '../../src/core/fqdn.ts'
import { parseIp } from '../../src/core/ip.ts'
import { wireLabels } from '../../src/policy/label-walk.ts'
import type { Policy } from '../../src/policy/rules.ts'
import { explain } from '../../src/policy/why.ts'
import type { WhyReport } from '../../src/policy/why.ts'
import { cidr, deny, dns, endpoint, entity, fqdn, policy, rule } from './support/build.ts'

const CLIENT = endpoint(1, 'client', '10.0.0.1')
const DNS = endpoint(2, 'dns', '10.0.0.53')
const OTHER = endpoint(3, 'other', '10.0.0.3')

const why = (policies: Policy[], name: string, server?: string): WhyReport =>
  explain({
    policies,
    endpoints: [CLIENT, DNS, OTHER],
    endpoint: CLIENT,
    name: wireLabels(parseFqdn(name)),
    ...(server === undefined ? {} : { server: parseIp(server) }),
  })

const lookups = rule([cidr('9.9.9.9/32')], ['ANY/53'], dns('*.example.com', 'api.test'))
const connects = rule([fqdn('*.example.com')], ['TCP/443'])
const both = [policy('client', [lookups, connects])]

describe('allowed', () => {
  test('names the rules of both halves', () => {
    const report = why(both, 'www.example.com')
    expect(report.lookup).toMatchObject({
      allowed: true,
      by: [{ matched: ['*.example.com'], peers: ['9.9.9.9/32'], ports: 'ANY/53' }],
    })
    expect(report.connection).toMatchObject({ allowed: true, by: [{ matched: ['*.example.com'], ports: 'TCP/443' }] })
    expect(report.missing).toEqual([])
  })
  test('no policy, everything open', () =>
    expect(why([policy('other', [])], 'a.io')).toMatchObject({ enforced: false, lookup: { allowed: true } }))
  test('at the server that the rule names', () =>
    expect(why(both, 'www.example.com', '9.9.9.9').lookup.allowed).toBe(true))
})

describe('what is missing', () => {
  test.each([
    [
      'example.com',
      'test.yaml:1: *.example.com covers what is below example.com, not example.com itself: add matchName: example.com',
    ],
    ['a.b.example.com', 'test.yaml:1: the * of *.example.com covers one label only: write **.example.com'],
    ['v1.api.test', 'test.yaml:1: api.test is that name only: write **.api.test for the names below it'],
  ])('%s', (name, sentence) => {
    const report = why(both, name)
    expect(report.lookup.allowed).toBe(false)
    expect(report.missing).toContain(sentence)
  })
  test('a name that may be looked up and not reached', () => {
    const report = why(both, 'api.test')
    expect([report.lookup.allowed, report.connection.allowed]).toEqual([true, false])
    expect(report.missing).toEqual([
      'no toFQDNs rule of this endpoint stands for the name: it may resolve, its addresses stay closed',
    ])
  })
  test("another endpoint's policy", () => {
    const report = why(
      [
        policy('client', [connects]),
        { ...policy('other', [rule([entity('all')], ['UDP/53'], dns('x.io')), rule([fqdn('x.io')])]), name: 'p2' },
      ],
      'x.io',
    )
    expect(report.missing).toContain('p2 (test.yaml:1) allows the look-up, but does not select this endpoint')
    expect(report.missing).toContain('p2 (test.yaml:1) allows the connection, but does not select this endpoint')
    expect(report.missing).toContain('no rule with rules.dns selects this endpoint')
  })
  test('another server', () => {
    const report = why(both, 'www.example.com', '8.8.8.8')
    expect(report.lookup.allowed).toBe(false)
    expect(report.missing).toContain('the name is allowed at other servers (9.9.9.9/32), not at 8.8.8.8')
  })
  test('a deny rule stands against it', () => {
    const report = why([policy('client', [lookups, connects, deny([entity('world')])])], 'www.example.com', '9.9.9.9')
    expect(report.lookup).toMatchObject({ allowed: false, against: [{ peers: ['world'] }] })
    expect(report.connection).toMatchObject({ allowed: false, against: [{ ports: 'every port' }] })
  })
})

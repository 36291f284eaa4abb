import fc from 'fast-check'
import { expect, test } from 'vitest'
import { IDENTITY_HOST, IDENTITY_LOCAL_MIN, IDENTITY_WORLD_IPV4, IDENTITY_WORLD_IPV6 } from '../../src/core/identity.ts'
import { cidrContains, parseIp } from '../../src/core/ip.ts'
import { lookupVerdict, packetVerdict } from '../../src/policy/evaluate.ts'
import type { Destination } from '../../src/policy/evaluate.ts'
import { walkMatches, wireLabels } from '../../src/policy/label-walk.ts'
import { endpointLabels } from '../../src/policy/labels.ts'
import { combinedRules } from '../../src/policy/subjects.ts'
import type { EndpointInput, Peer, Policy, Rule } from '../../src/policy/rules.ts'
import type { IdentityLabels, Snapshot } from '../../src/policy/snapshot.ts'
import {
  ask,
  cidr,
  dns,
  endpoint,
  entity,
  fqdn,
  origin,
  pods,
  policy,
  port,
  snapshot,
  wire,
} from '../policy/support/build.ts'
import { kernelVerdict } from '../policy/support/kernel.ts'

/**
 * Random rule sets: the rows of a policy map, looked up as the kernel does, must say what the rules say one by one;
 * and the compiled DNS verdict must say what the rules say.
 */

const NETS = [
  '10.0.0.0/8',
  '10.1.0.0/16',
  '10.1.2.0/24',
  '10.1.2.3/32',
  '0.0.0.0/0',
  '192.0.2.0/24',
  'fd00::/8',
  'fd00:1::/32',
  '::/0',
]
const IPS = [
  '10.9.9.9',
  '10.1.9.9',
  '10.1.2.9',
  '10.1.2.3',
  '192.0.2.7',
  '203.0.113.1',
  'fd00::7',
  'fd00:1::7',
  '2001:db8::1',
  '10.1.2.77',
  'fd00:1::77',
  '10.1.2.88',
]
const NAMES = ['a.io', 'b.a.io', 'c.b.a.io', 'x.org']
const PATTERNS = ['a.io', '*.a.io', '**.a.io', '*', 'x.org', 'b*.a.io']

const cidrPeer = fc
  .tuple(fc.constantFrom(...NETS), fc.array(fc.constantFrom(...NETS), { maxLength: 2 }))
  .map(([net, except]) => {
    const base = cidr(net)
    if (base.kind !== 'cidr') throw new Error('no prefix')
    return cidr(net, ...except.filter((one) => inside(net, one)))
  })
function inside(outer: string, inner: string): boolean {
  const [a, b] = [cidr(outer), cidr(inner)]
  return a.kind === 'cidr' && b.kind === 'cidr' && a.cidr.bits <= b.cidr.bits && cidrContains(a.cidr, b.cidr.ip)
}
const plainPeer: fc.Arbitrary<Peer> = fc.oneof(
  cidrPeer,
  fc
    .constantFrom('all', 'world', 'world-ipv4', 'world-ipv6', 'cluster', 'host', 'none')
    .map((name) => entity(name as 'all')),
  fc.constantFrom<Peer>(
    pods({ app: 'db' }),
    pods({ app: 'web' }),
    { kind: 'endpoints', selector: [{ key: 'tier', operator: 'DoesNotExist', values: [] }], origin },
    { kind: 'endpoints', selector: [{ key: 'app', operator: 'NotIn', values: ['db'] }], origin },
  ),
)
const fqdnPeer = fc.constantFrom(...PATTERNS).map(fqdn)
const ports = fc.array(
  fc.constantFrom(
    'TCP/0',
    'ANY/0',
    'UDP/53',
    'ANY/53',
    'TCP/443',
    'TCP/400-500',
    'TCP/1-65535',
    'UDP/50-60',
    'SCTP/443',
    'ANY/443',
    'TCP/440-447',
  ),
  { maxLength: 2 },
)
const dnsPorts = fc.array(fc.constantFrom('UDP/53', 'TCP/53', 'ANY/53', 'UDP/5353'), { minLength: 1, maxLength: 2 })
const make = (deny: boolean, peers: Peer[], texts: string[], names: Rule['dns']): Rule => ({
  deny,
  peers,
  ports: texts.map(port),
  dns: names,
  origin,
})
const rule: fc.Arbitrary<Rule> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .tuple(fc.array(plainPeer, { maxLength: 2 }), ports)
      .map(([peers, texts]) => make(false, peers, texts, null)),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.array(plainPeer, { maxLength: 2 }), ports)
      .map(([peers, texts]) => make(true, peers, texts, null)),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.array(fqdnPeer, { maxLength: 2 }), ports)
      .map(([peers, texts]) => make(false, peers, texts, null)),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.array(plainPeer, { maxLength: 2 }), dnsPorts, fc.array(fc.constantFrom(...PATTERNS), { maxLength: 2 }))
      .map(([peers, texts, names]) => make(false, peers, texts, dns(...names))),
  },
)
const policies: fc.Arbitrary<Policy[]> = fc.array(
  fc
    .tuple(fc.array(rule, { maxLength: 4 }), fc.boolean(), fc.boolean())
    .map(([rules, defaultDeny, everyone]) => policy(everyone ? undefined : 'client', rules, defaultDeny)),
  { minLength: 1, maxLength: 3 },
)

const CLIENT = endpoint(1, 'client', '10.1.2.77')
const ENDPOINTS: EndpointInput[] = [
  CLIENT,
  endpoint(2, 'db', '10.1.2.88', 'fd00:1::77'),
  { ...endpoint(3, 'web', '172.16.0.1'), labels: { app: 'web', tier: 'front' } },
]
const HOST = parseIp('10.1.2.99')

interface Case {
  readonly to: Destination
  readonly identity: number
  readonly labels: IdentityLabels | undefined
  readonly what: string
}

/** Every kind of destination, as rules see it and as the kernel sees it. */
function cases(snap: Snapshot): Case[] {
  const list: Case[] = [{ to: { kind: 'host' }, identity: IDENTITY_HOST, labels: undefined, what: 'host' }]
  ENDPOINTS.forEach((one, i) => {
    const labels = { selectors: [], prefixes: [], endpoint: snap.endpoints[i]?.labelsKey ?? '', family: 4 as const }
    list.push({ to: { kind: 'endpoint', labels: endpointLabels(one) }, identity: 256 + i, labels, what: one.name })
  })
  for (const text of IPS) {
    const ip = parseIp(text)
    if (ENDPOINTS.some((one) => one.addresses.some((address) => Buffer.from(address.bytes).equals(ip.bytes)))) continue
    for (const name of [undefined, ...NAMES]) {
      const prefixes = snap.prefixes.flatMap((prefix, i) => (cidrContains(prefix, ip) ? [i] : []))
      const out = new Uint32Array(snap.selectorCount)
      const selectors = name === undefined ? [] : [...out.subarray(0, snap.matchSelectors(wire(name), 0, out))]
      const to: Destination =
        name === undefined
          ? { kind: 'outside', ip }
          : { kind: 'outside', ip, learned: (pattern) => walkMatches(pattern, wireLabels(wire(name))) }
      // An address that nothing selects has no entry of its own: it is the world's.
      const bare = prefixes.length === 0 && selectors.length === 0
      const world = ip.family === 4 ? IDENTITY_WORLD_IPV4 : IDENTITY_WORLD_IPV6
      list.push({
        to,
        identity: bare ? world : IDENTITY_LOCAL_MIN + list.length,
        labels: bare ? undefined : { selectors, prefixes, endpoint: null, family: ip.family },
        what: `${text} as ${name ?? 'itself'}`,
      })
    }
  }
  return list
}

const PROBES = [
  'TCP/443',
  'TCP/444',
  'TCP/400',
  'TCP/501',
  'UDP/53',
  'TCP/53',
  'UDP/5353',
  'SCTP/443',
  'SCTP/53',
  'UDP/65535',
  'TCP/65535',
  'TCP/1',
]
const ICMP = 1

test('rows, looked up as the kernel does, say what the rules say', () => {
  const seen = new Map<string, number>()
  fc.assert(
    fc.property(policies, (list) => {
      const snap = snapshot({ policies: list, endpoints: ENDPOINTS, hostAddresses: [HOST] })
      const mine = list.filter(({ subject }) => subject.length === 0 || subject[0]?.values[0] === 'client')
      const view = snap.endpoints[0]
      expect(view?.enforced).toBe(mine.length > 0)
      if (mine.length === 0 || view === undefined) return
      const rules = combinedRules(mine)
      const fixed = snap.staticRows(view.shape)
      const shapes = new Uint32Array(snap.shapeCount)
      for (const { to, identity, labels, what } of cases(snap)) {
        const own =
          labels === undefined ? [] : snap.rowsFor(view.shape, labels).map((row) => ({ ...row, label: identity }))
        if (labels !== undefined && own.length > 0) {
          const found = snap.shapesFor(labels, shapes)
          expect([...shapes.subarray(0, found)]).toContain(view.shape)
        }
        const rows = [...fixed, ...own]
        for (const probe of [...PROBES.map(port), { protocol: undefined, port: 0 }]) {
          const protocol = { TCP: 6, UDP: 17, SCTP: 132, ANY: 0 }[probe.protocol ?? 'ANY'] || ICMP
          const wanted = packetVerdict(rules, to, protocol, probe.port)
          const got = kernelVerdict(rows, identity, protocol, probe.port)
          seen.set(wanted, (seen.get(wanted) ?? 0) + 1)
          if (got !== wanted)
            expect({ what, protocol, port: probe.port, got, rules }).toEqual({
              what,
              protocol,
              port: probe.port,
              got: wanted,
              rules,
            })
        }
      }
    }),
    { seed: 5, numRuns: 500 },
  )
  for (const verdict of ['allow', 'deny', 'redirect', 'none']) expect(seen.get(verdict)).toBeGreaterThan(1000)
})

test('the compiled DNS verdict says what the rules say', () => {
  const seen = [0, 0, 0]
  fc.assert(
    fc.property(policies, (list) => {
      const snap = snapshot({ policies: list, endpoints: ENDPOINTS, hostAddresses: [HOST] })
      const mine = list.filter(({ subject }) => subject.length === 0 || subject[0]?.values[0] === 'client')
      const rules = combinedRules(mine)
      const servers: [string, Destination][] = [
        ['10.1.2.99', { kind: 'host' }],
        ...IPS.map((text): [string, Destination] => {
          const ip = parseIp(text)
          const owner = ENDPOINTS.find((one) =>
            one.addresses.some((address) => Buffer.from(address.bytes).equals(ip.bytes)),
          )
          return [
            text,
            owner === undefined ? { kind: 'outside', ip } : { kind: 'endpoint', labels: endpointLabels(owner) },
          ]
        }),
      ]
      for (const [server, to] of servers) {
        for (const at of ['UDP/53', 'TCP/53', 'UDP/5353']) {
          // Ports that no DNS rule names are never redirected here, so nothing is compiled for them.
          if (
            at === 'UDP/5353' &&
            !rules.some(
              (one) => one.dns !== null && one.peers.length > 0 && one.ports.some((range) => range.port === 5353),
            )
          )
            continue
          const { protocol, port: number } = port(at)
          for (const name of NAMES) {
            const wanted = lookupVerdict(rules, to, protocol === 'TCP' ? 6 : 17, number, wireLabels(wire(name)))
            const got = ask(snap, '10.1.2.77', server, at, name)
            seen[wanted] = (seen[wanted] ?? 0) + 1
            if (got !== wanted)
              expect({ server, at, name, got, rules }).toEqual({ server, at, name, got: wanted, rules })
          }
        }
      }
    }),
    { seed: 9, numRuns: 500 },
  )
  for (const count of seen) expect(count).toBeGreaterThan(1000)
})

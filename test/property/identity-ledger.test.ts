import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatFqdn } from '../../src/core/fqdn.ts'
import { cidrContains, parseCidr, parseIp } from '../../src/core/ip.ts'
import { IDENTITY } from '../../src/identity/counters.ts'
import type { LearnedAddress } from '../../src/identity/ledger-protocol.ts'
import { type FakePolicy, type FakeRule, matches, plainVerdict, wire } from '../support/fake-view.ts'
import { LedgerWorld } from '../support/ledger-world.ts'

type Policy = Omit<FakePolicy, 'generation'>

const NAMES = ['a.example.com', 'b.example.com', 'www.shop.org', 'cdn.shop.org', 'other.net']
const PATTERNS = ['*.example.com', 'a.example.com', '*.shop.org', 'cdn.shop.org']
const ADDRESSES = ['192.0.2.1', '192.0.2.2', '192.0.2.130', '198.51.100.1', '2001:db8::1', '2001:db8:1::1', '10.0.0.9']
const PREFIXES = ['192.0.2.0/24', '192.0.2.0/25', '192.0.2.1/32', '2001:db8::/32', '198.51.0.0/16']
const PORTS = [80, 443]
const POD_ADDRESSES = ['10.0.0.7', '10.0.0.8', '10.0.0.9']
const NODE = '10.0.0.1'

const rule: fc.Arbitrary<FakeRule> = fc.record({
  names: fc.subarray(PATTERNS, { maxLength: 2 }),
  cidrs: fc.array(fc.record({ cidr: fc.constantFrom(...PREFIXES), except: fc.subarray(PREFIXES, { maxLength: 1 }) }), {
    maxLength: 1,
  }),
  peers: fc.subarray(['k8s:app=x', 'k8s:app=y'], { maxLength: 1 }),
  port: fc.constantFrom(...PORTS),
  verdict: fc.constantFrom('allow' as const, 'allow' as const, 'deny' as const, 'redirect' as const),
})

const policy: fc.Arbitrary<Policy> = fc
  .record({
    policies: fc.array(fc.array(rule, { maxLength: 4 }), { minLength: 1, maxLength: 3 }),
    pods: fc.uniqueArray(
      fc.record({
        at: fc.nat(2),
        name: fc.constantFrom('p', 'q'),
        label: fc.constantFrom('k8s:app=x', 'k8s:app=y'),
        policy: fc.option(fc.nat(2), { nil: undefined }),
      }),
      { selector: (pod) => pod.at, minLength: 1, maxLength: 3 },
    ),
  })
  .map(({ policies, pods }) => ({
    policies,
    endpoints: pods.map((pod) => ({
      id: 7 + pod.at,
      name: pod.name,
      labelsKey: pod.label,
      addresses: [POD_ADDRESSES[pod.at] ?? ''],
      ...(pod.policy === undefined ? {} : { policy: pod.policy % policies.length }),
    })),
  }))

type Step =
  | {
      readonly do: 'learn'
      readonly pod: number
      readonly name: string
      readonly addresses: readonly string[]
      readonly ttl: number
    }
  | {
      readonly do: 'raise'
      readonly pod: number
      readonly name: string
      readonly address: string
      readonly ttl: number
    }
  | { readonly do: 'pass'; readonly seconds: number }
  | { readonly do: 'policy'; readonly policy: Policy; readonly settled: boolean }
  | { readonly do: 'live'; readonly addresses: readonly string[] }
  | { readonly do: 'restart' }
  | { readonly do: 'thread' }

const learn = fc.record({
  do: fc.constant('learn' as const),
  pod: fc.nat(2),
  name: fc.constantFrom(...NAMES),
  addresses: fc.subarray(ADDRESSES, { minLength: 1, maxLength: 3 }),
  ttl: fc.integer({ min: 0, max: 40 }),
})
const step: fc.Arbitrary<Step> = fc.oneof(
  { arbitrary: learn, weight: 6 },
  {
    arbitrary: fc.record({
      do: fc.constant('raise' as const),
      pod: fc.nat(2),
      name: fc.constantFrom(...NAMES),
      address: fc.constantFrom(...ADDRESSES),
      ttl: fc.integer({ min: 0, max: 60 }),
    }),
    weight: 2,
  },
  { arbitrary: fc.record({ do: fc.constant('pass' as const), seconds: fc.integer({ min: 1, max: 30 }) }), weight: 3 },
  { arbitrary: fc.record({ do: fc.constant('policy' as const), policy, settled: fc.boolean() }), weight: 3 },
  {
    arbitrary: fc.record({ do: fc.constant('live' as const), addresses: fc.subarray(ADDRESSES, { maxLength: 2 }) }),
    weight: 1,
  },
  { arbitrary: fc.constant({ do: 'restart' as const }), weight: 1 },
  { arbitrary: fc.constant({ do: 'thread' as const }), weight: 1 },
)

/** Interval of conntrack passes and the seconds around it: what is over time is gone after this. */
const SLACK = 13
const GRACE = 60

/** What must be known and what may be known, by plain rules. */
class Model {
  /** "id/key name address" -> must be known until, may be known until (seconds). */
  readonly entries = new Map<string, { must: number; may: number }>()
  policy: Policy = { endpoints: [], policies: [] }
  settled = true
  live: readonly string[] = []

  key(pod: number): string | undefined {
    const found = this.policy.endpoints.find(({ id }) => id === pod)
    return found === undefined ? undefined : `${pod}/${found.name}`
  }

  learn(owner: string, name: string, address: string, until: number): void {
    const key = `${owner} ${name} ${address}`
    const old = this.entries.get(key)
    this.entries.set(key, { must: Math.max(old?.must ?? 0, until), may: Math.max(old?.may ?? 0, until) })
  }

  /** Pods that are gone, or are another pod now, take their names with them: at the latest when the change has settled. */
  forget(): void {
    const keys = new Set(this.policy.endpoints.map(({ id }) => this.key(id)))
    for (const [key, entry] of this.entries) {
      if (keys.has(key.split(' ')[0])) continue
      if (this.settled) this.entries.delete(key)
      else entry.must = 0
    }
  }
}

function known(world: LedgerWorld, pods: Iterable<number>): LearnedAddress[] {
  const found: LearnedAddress[] = []
  for (const endpointId of pods) {
    world.core.request({ type: 'query', id: 1, query: { kind: 'names', endpointId, offset: 0, limit: 1000 } })
    const answer = world.messages.pop()
    if (answer?.type === 'answer' && answer.answer.kind === 'names') found.push(...answer.answer.names)
  }
  return found
}

function check(world: LedgerWorld, model: Model): void {
  const now = Math.floor(world.now / 1000)
  const owners = new Map(
    [...world.core.state.endpoints].map(({ id, key }) => [id, `${id}/${key.replace('test/', '')}`]),
  )
  const names = known(world, owners.keys())
  const have = new Set(
    names.map(({ endpointId, name, address }) => `${owners.get(endpointId)} ${name.slice(0, -1)} ${address}`),
  )
  for (const [key, { must }] of model.entries) if (must > now) expect(have, `${key} is known`).toContain(key)
  const liveNames = new Set(names.filter(({ address }) => model.live.includes(address)).map(({ name }) => name))
  for (const { endpointId, name, address } of names) {
    const key = `${owners.get(endpointId)} ${name.slice(0, -1)} ${address}`
    const may = model.entries.get(key)?.may ?? -1
    // A pod that is gone keeps its names until the change has settled.
    if (!liveNames.has(name) && model.key(endpointId) !== undefined)
      expect(may + SLACK, `${key} is not kept too long`).toBeGreaterThanOrEqual(now)
  }
  const namesOf = (address: string): string[] => [
    ...new Set(names.filter((found) => found.address === address).map(({ name }) => name.slice(0, -1))),
  ]
  const pods = new Map(
    model.policy.endpoints.flatMap((pod) => pod.addresses?.map((a) => [a, pod.labelsKey] as const) ?? []),
  )
  for (const endpoint of model.policy.endpoints) {
    if (endpoint.policy === undefined) continue
    const rules = model.policy.policies[endpoint.policy] ?? []
    for (const address of [...ADDRESSES, '192.0.2.99', '203.0.113.1']) {
      // An orphan (its pod is gone, a connection lives) keeps labels that no name explains.
      if (!pods.has(address) && orphaned(world, address)) continue
      // The address of a pod that is gone keeps its identity until the change has settled.
      if (!model.settled && !pods.has(address) && POD_ADDRESSES.includes(address)) continue
      for (const port of PORTS) {
        const peer = { names: namesOf(address), address, labelsKey: pods.get(address) ?? null }
        const want = plainVerdict(rules, peer, port)
        expect(world.verdict(endpoint.id, address, port), `${endpoint.id} -> ${address}:${port}`).toBe(want)
      }
    }
  }
  if (model.settled) checkEntries(world, model, namesOf, pods)
}

function orphaned(world: LedgerWorld, address: string): boolean {
  const { state } = world.core
  const bytes = new Uint8Array(16)
  const ip = parseIp(address)
  if (ip.family === 4) bytes.set([0xff, 0xff, ...ip.bytes], 10)
  else bytes.set(ip.bytes)
  const row = state.addresses.find(bytes, 0)
  for (let e = row < 0 ? -1 : (state.addresses.entries[row] ?? -1); e >= 0; e = state.entries.nextOfAddress[e] ?? -1) {
    if (state.entries.pair[e] === -1) return true
  }
  return false
}

/** Exactly the keys that the plain rules ask for, and rows of living identities only. */
function checkEntries(
  world: LedgerWorld,
  model: Model,
  namesOf: (address: string) => string[],
  pods: ReadonlyMap<string, string | undefined>,
): void {
  const rules = model.policy.policies.flat()
  const patterns = rules.flatMap(({ names }) => names ?? [])
  const prefixes = rules.flatMap(({ cidrs }) => (cidrs ?? []).flatMap(({ cidr, except }) => [cidr, ...(except ?? [])]))
  const host = (address: string): string => `${address}/${address.includes(':') ? 128 : 32}`
  const learned = ADDRESSES.filter((address) =>
    namesOf(address).some((name) => patterns.some((pattern) => matches(pattern, name))),
  )
  const want = new Set([
    '0.0.0.0/0',
    '::/0',
    host(NODE),
    ...prefixes,
    ...learned.map(host),
    ...[...pods.keys()].map(host),
  ])
  const orphans = ADDRESSES.filter((address) => orphaned(world, address)).map(host)
  const have = [...world.ipcache.entries.keys()].filter((key) => !orphans.includes(key)).sort()
  expect(have).toEqual([...want].filter((key) => !orphans.includes(key)).sort())
  for (const [address, labelsKey] of pods) {
    expect(world.core.identities.byNumber(world.identityOf(address))?.endpoint).toBe(labelsKey)
  }
  expect(world.identityOf(NODE)).toBe(1)
  const numbers = new Set([...world.core.identities].map(({ number }) => number))
  for (const map of new Set(world.policyMaps.byEndpoint.values())) {
    for (const row of map.rows.values()) expect(numbers.has(row.label)).toBe(true)
  }
}

function run(steps: readonly Step[], first: Policy): void {
  const world = new LedgerWorld({ nodeAddresses: [NODE] })
  const model = new Model()
  const adopt = (next: Policy, settled: boolean): void => {
    model.policy = next
    model.settled = settled
    if (settled) world.apply(next)
    else {
      world.offer(next)
      world.work()
    }
    model.forget()
  }
  const ownerOf = (pod: number): string =>
    `${pod}/${world.core.state.endpoint(pod)?.key.replace('test/', '') ?? 'nobody'}`
  try {
    adopt(first, true)
    check(world, model)
    for (const now of steps) {
      const seconds = Math.floor(world.now / 1000)
      switch (now.do) {
        case 'learn': {
          const pod = 7 + now.pod
          const endpoint = model.policy.endpoints.find(({ id }) => id === pod)
          let atCompletion: (string | undefined)[] = []
          world.onComplete = () => (atCompletion = now.addresses.map((address) => world.verdict(pod, address, 443)))
          const status = world.learn(pod, now.name, now.addresses, now.ttl)
          world.onComplete = () => undefined
          if (endpoint !== undefined || model.settled) expect(status).toBe(endpoint === undefined ? 1 : 0)
          if (status === 1) break
          for (const address of now.addresses) model.learn(ownerOf(pod), now.name, address, seconds + 1 + now.ttl)
          if (endpoint === undefined) model.forget()
          expect(atCompletion).toEqual(now.addresses.map((address) => world.verdict(pod, address, 443)))
          break
        }
        case 'raise': {
          const pod = 7 + now.pod
          if (!world.standing(pod, now.name, [now.address], now.ttl)) break
          if (model.settled) expect(model.key(pod)).toBeDefined()
          expect(known(world, [pod]).some((e) => e.address === now.address && e.name === `${now.name}.`)).toBe(true)
          model.learn(ownerOf(pod), now.name, now.address, seconds + 1 + now.ttl)
          model.forget()
          break
        }
        case 'pass':
          world.pass(now.seconds)
          // Without word from main the clean-up goes ahead after ten seconds.
          if (now.seconds > 11) {
            model.settled = true
            model.forget()
          }
          break
        case 'policy':
          adopt(now.policy, now.settled)
          break
        case 'live':
          model.live = now.addresses
          // What lived until now has been seen alive by a pass not long ago.
          for (const entry of model.entries.values()) entry.may = Math.max(entry.may, seconds)
          world.conntrack.live.length = 0
          for (const address of now.addresses) {
            world.conntrack.live.push({ endpoint: parseIp('10.0.0.7'), remote: parseIp(address) })
          }
          break
        case 'restart':
          for (const entry of model.entries.values()) {
            entry.must = entry.must > seconds ? Math.max(entry.must, seconds + GRACE) : entry.must
            entry.may = Math.max(entry.may, seconds + GRACE)
          }
          world.restart()
          adopt(model.policy, true)
          break
        case 'thread':
          for (const entry of model.entries.values()) {
            entry.must = entry.must > seconds ? Math.max(entry.must, seconds + GRACE) : entry.must
            entry.may = Math.max(entry.may, seconds + GRACE)
          }
          world.restartThread()
          adopt(model.policy, true)
          break
      }
      world.work()
      check(world, model)
      // Nobody interferes here, so a reconciler that finds something is wrong itself.
      expect([IDENTITY.rowsForeign, IDENTITY.rowsChanged, IDENTITY.rowsMissing].map((at) => world.stats[at])).toEqual([
        0, 0, 0,
      ])
    }
  } finally {
    world.close()
  }
}

describe('the ledger', () => {
  it('has in the kernel what plain rules ask for, whatever happens', { timeout: 120_000 }, () => {
    fc.assert(
      fc.property(policy, fc.array(step, { minLength: 1, maxLength: 25 }), (first, steps) => run(steps, first)),
      { numRuns: Number(process.env['SEKISHO_RUNS'] ?? 100), seed: Number(process.env['SEKISHO_SEED'] ?? 20261) },
    )
  })

  it('takes the plain rules as its own: the model tells wildcard from name', () => {
    expect(matches('*.example.com', 'a.example.com')).toBe(true)
    expect(matches('*.example.com', 'example.com')).toBe(false)
    expect(cidrContains(parseCidr('192.0.2.0/25'), parseIp('192.0.2.130'))).toBe(false)
    expect(formatFqdn(wire('a.example.com'))).toBe('a.example.com.')
  })
})

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { IDENTITY } from '../../src/identity/counters.ts'
import type { FakePolicy, FakeRule } from '../support/fake-view.ts'
import { LedgerWorld } from '../support/ledger-world.ts'

type Policy = Omit<FakePolicy, 'generation'>

const allow = (names: readonly string[], port = 443): FakeRule => ({ names, port, verdict: 'allow' })
const POD = { id: 7, name: 'a', addresses: ['10.0.0.7'], policy: 0 }
const policy = (...rules: FakeRule[]): Policy => ({ endpoints: [POD], policies: [rules] })

let world: LedgerWorld
beforeEach(() => {
  // Every look at the clock costs time, so that a change takes many slices.
  world = new LedgerWorld({ clockStep: 0.3 })
})
afterEach(() => world.close())

/** Applies a policy slice by slice and looks after each. */
function applySliced(next: Policy, look: () => void): void {
  const generation = world.offer(next)
  const acked = (): boolean =>
    world.messages.some((message) => message.type === 'ack' && message.generation === generation)
  for (let i = 0; i < 10_000 && !acked(); i++) {
    world.core.slice()
    look()
  }
  expect(acked()).toBe(true)
  world.core.request({ type: 'settled', generation })
  for (let i = 0; i < 3000; i++) {
    world.core.slice()
    look()
  }
}

describe('a policy change', () => {
  it('never breaks what both policies allow, though the selectors change', () => {
    world.apply(policy(allow(['*.example.com'])))
    world.learn(7, 'www.example.com', ['192.0.2.1'], 6000)
    let looks = 0
    applySliced(policy(allow(['www.example.com']), allow(['*.org'], 80)), () => {
      looks++
      expect(world.verdict(7, '192.0.2.1', 443)).toBe('allow')
    })
    expect(looks).toBeGreaterThan(10)
    expect(world.identityOf('192.0.2.1')).not.toBe(9)
  })

  it('never breaks what both allow, though the prefixes change', () => {
    const cidrs = (cidr: string, ...except: string[]): FakeRule => ({
      cidrs: [{ cidr, except }],
      port: 443,
      verdict: 'allow',
    })
    world.apply(policy(cidrs('192.0.2.0/24'), allow(['*.example.com'], 80)))
    world.learn(7, 'www.example.com', ['192.0.2.1'], 6000)
    const look = (): void => {
      expect(world.verdict(7, '192.0.2.1', 443)).toBe('allow')
      expect(world.verdict(7, '192.0.2.2', 443)).toBe('allow')
      expect(world.verdict(7, '192.0.2.1', 80)).toBe('allow')
    }
    applySliced(policy(cidrs('192.0.0.0/16', '192.0.3.0/24'), allow(['*.example.com'], 80)), look)
    applySliced(policy(cidrs('192.0.2.0/25'), allow(['*.example.com'], 80)), look)
    expect([...world.ipcache.entries.keys()].sort()).toEqual([
      '0.0.0.0/0',
      '10.0.0.7/32',
      '192.0.2.0/25',
      '192.0.2.1/32',
      '::/0',
    ])
  })

  it('denies with the swap what the new policy denies, before it is acknowledged', () => {
    world.apply(policy(allow(['*.example.com']), allow(['*.org'])))
    world.learn(7, 'www.example.com', ['192.0.2.1'], 6000)
    world.learn(7, 'www.org', ['192.0.2.2'], 6000)
    const generation = world.offer(policy(allow(['*.org'])))
    for (let denied = false; ;) {
      world.core.slice()
      const now = world.verdict(7, '192.0.2.1', 443) === undefined
      expect(denied && !now).toBe(false)
      denied = now
      expect(world.verdict(7, '192.0.2.2', 443)).toBe('allow')
      if (!world.messages.some((message) => message.type === 'ack' && message.generation === generation)) continue
      expect(denied).toBe(true)
      break
    }
  })

  it('gives names learned before the labels of new selectors', () => {
    world.apply(policy(allow(['*.example.com'])))
    world.learn(7, 'www.other.org', ['192.0.2.3'], 6000)
    expect(world.identityOf('192.0.2.3')).toBe(9)
    world.apply(policy(allow(['*.example.com']), allow(['*.other.org'], 80)))
    expect(world.verdict(7, '192.0.2.3', 80)).toBe('allow')
    world.apply(policy(allow(['*.example.com'])))
    expect(world.identityOf('192.0.2.3')).toBe(9)
    expect(world.ipcache.entries.has('192.0.2.3/32')).toBe(false)
  })

  it('knows names that are learned while it goes on', () => {
    world.apply(policy(allow(['*.example.com'])))
    world.offer(policy(allow(['*.org']), allow(['*.example.com'], 80)))
    while (world.core.desired.generations.length < 2) world.core.slice()
    const early = world.submit(7, 'early.org', ['192.0.2.4'])
    const both = world.submit(7, 'both.example.com', ['192.0.2.5'])
    world.core.drain()
    expect([...world.completed()]).toEqual([
      [early, 0],
      [both, 0],
    ])
    expect(world.verdict(7, '192.0.2.5', 443)).toBe('allow')
    world.work()
    expect(world.verdict(7, '192.0.2.4', 443)).toBe('allow')
    expect(world.verdict(7, '192.0.2.5', 80)).toBe('allow')
    expect(world.verdict(7, '192.0.2.5', 443)).toBeUndefined()
  })

  it('with the same content keeps the maps and writes nothing', () => {
    world.apply(policy(allow(['*.example.com'])))
    world.learn(7, 'www.example.com', ['192.0.2.1'], 6000)
    world.log.length = 0
    world.apply(policy(allow(['*.example.com'])))
    expect(world.log).toEqual([])
    expect(world.policyMaps.maps.filter((map) => map.open).length).toBe(1)
  })

  it('closes and frees what only the old policy needed', () => {
    world.apply(policy(allow(['*.example.com'])))
    world.learn(7, 'www.example.com', ['192.0.2.1'], 6000)
    world.apply(policy(allow(['*.org'])))
    world.pass(1)
    expect(world.policyMaps.maps.filter((map) => map.open).length).toBe(1)
    expect([...world.ipcache.entries.keys()].sort()).toEqual(['0.0.0.0/0', '10.0.0.7/32', '::/0'])
    // The selector's two families and the pod.
    expect(world.stats[IDENTITY.identities]).toBe(3)
    expect(world.core.sets.count).toBe(1)
  })

  it('that cannot be opened leaves the old one in force', () => {
    world.apply(policy(allow(['*.example.com'])))
    world.core.request({ type: 'snapshot', buffer: new SharedArrayBuffer(8), generation: 77 })
    world.work()
    expect(world.messages.at(-1)).toMatchObject({ type: 'refused', generation: 77 })
    expect(world.learn(7, 'www.example.com', ['192.0.2.1'])).toBe(0)
    expect(world.verdict(7, '192.0.2.1', 443)).toBe('allow')
  })

  it('whose map cannot be made keeps the old rows, says so, and is tried again', () => {
    world.apply(policy(allow(['*.example.com'])))
    world.learn(7, 'www.example.com', ['192.0.2.1'], 6000)
    world.policyMaps.fail = (what) => what === 'create'
    world.apply(policy(allow(['*.example.com'], 80)))
    expect(world.messages.filter(({ type }) => type === 'ack').at(-1)).toMatchObject({ failedEndpoints: [7] })
    expect(world.verdict(7, '192.0.2.1', 443)).toBe('allow')
    world.policyMaps.fail = () => false
    world.pass(3)
    expect(world.messages.filter(({ type }) => type === 'ack').at(-1)).toMatchObject({ failedEndpoints: [] })
    expect([80, 443].map((port) => world.verdict(7, '192.0.2.1', port))).toEqual(['allow', undefined])
  })

  it('skips policies that a newer one overtook', () => {
    world.offer(policy(allow(['a.example.com'])))
    world.offer(policy(allow(['b.example.com'])))
    const last = world.offer(policy(allow(['c.example.com'])))
    world.work()
    expect(world.messages.filter(({ type }) => type === 'ack')).toMatchObject([{ generation: last }])
  })
})

describe('endpoints', () => {
  it('share the map of equal policies and keep it when others change', () => {
    const rules = [allow(['*.example.com'])]
    const endpoints = [POD, { id: 8, name: 'b', policy: 1 }, { id: 9, name: 'c' }]
    world.apply({ endpoints, policies: [rules, rules] })
    expect(world.policyMaps.byEndpoint.get(7)).toBe(world.policyMaps.byEndpoint.get(8))
    expect(world.policyMaps.byEndpoint.has(9)).toBe(false)
    const kept = world.policyMaps.byEndpoint.get(8)
    world.apply({ endpoints, policies: [[allow(['*.org'])], rules] })
    expect(world.policyMaps.byEndpoint.get(8)).toBe(kept)
    expect(world.policyMaps.byEndpoint.get(7)).not.toBe(kept)
  })

  it('without policy are detached only after the change has settled', () => {
    world.apply(policy(allow(['*.example.com'])))
    const generation = world.offer({ endpoints: [{ id: 7, name: 'a' }], policies: [] })
    for (let i = 0; i < 1000; i++) world.core.slice()
    expect(world.policyMaps.byEndpoint.has(7)).toBe(true)
    world.core.request({ type: 'settled', generation })
    world.work()
    expect(world.policyMaps.byEndpoint.has(7)).toBe(false)
  })

  it('that are gone leave nothing, unless a connection lives', () => {
    const other = { id: 8, name: 'b', addresses: ['10.0.0.8'], policy: 0 }
    const rules = [allow(['*.example.com'])]
    world.apply({ endpoints: [POD, other], policies: [rules] })
    world.learn(7, 'www.example.com', ['192.0.2.1', '192.0.2.2'], 6000)
    world.conntrack.live.push({
      endpoint: { family: 4, bytes: new Uint8Array([10, 0, 0, 8]) },
      remote: { family: 4, bytes: new Uint8Array([192, 0, 2, 1]) },
    })
    world.apply({ endpoints: [other], policies: [rules] })
    world.pass(25)
    expect(world.verdict(8, '192.0.2.1', 443)).toBe('allow')
    expect(world.identityOf('192.0.2.2')).toBe(9)
    world.conntrack.live.length = 0
    world.pass(25)
    expect([...world.ipcache.entries.keys()].sort()).toEqual(['0.0.0.0/0', '10.0.0.8/32', '::/0'])
  })

  it('whose number another pod has now inherit nothing', () => {
    world.apply(policy(allow(['*.example.com'])))
    world.learn(7, 'www.example.com', ['192.0.2.1'], 6000)
    expect(world.standing(7, 'www.example.com', ['192.0.2.1'])).toBe(true)
    const generation = world.offer({
      endpoints: [{ id: 7, name: 'z', addresses: ['10.0.0.9'], policy: 0 }],
      policies: [[allow(['*.example.com'])]],
    })
    for (;;) {
      world.core.slice()
      if (world.messages.some((message) => message.type === 'ack' && message.generation === generation)) break
    }
    expect(world.standing(7, 'www.example.com', ['192.0.2.1'])).toBe(false)
    expect(world.core.state.endpoint(7)?.key).toBe('test/z')
    expect(world.core.state.endpoint(7)?.names).toBe(0)
  })

  it('take their address from a learned one and give it back', () => {
    world.apply(policy(allow(['*.example.com'])))
    world.learn(7, 'www.example.com', ['10.0.0.8'], 6000)
    expect(world.verdict(7, '10.0.0.8', 443)).toBe('allow')
    const rules = [allow(['*.example.com'])]
    world.apply({ endpoints: [POD, { id: 8, name: 'b', addresses: ['10.0.0.8'] }], policies: [rules] })
    expect(world.verdict(7, '10.0.0.8', 443)).toBeUndefined()
    world.apply({ endpoints: [POD], policies: [rules] })
    expect(world.verdict(7, '10.0.0.8', 443)).toBe('allow')
  })

  it('are selected by their labels', () => {
    const rules: FakeRule[] = [{ peers: ['k8s:app=db'], port: 5432, verdict: 'allow' }]
    const db = { id: 8, name: 'db', labelsKey: 'k8s:app=db', addresses: ['10.0.0.8', '2001:db8::8'] }
    world.apply({ endpoints: [POD, db], policies: [rules] })
    expect(world.verdict(7, '10.0.0.8', 5432)).toBe('allow')
    expect(world.verdict(7, '2001:db8::8', 5432)).toBe('allow')
    expect(world.identityOf('10.0.0.8')).toBe(world.identityOf('2001:db8::8'))
  })
})

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FQDN } from '../../src/fqdn/counters.ts'
import { IDENTITY } from '../../src/identity/counters.ts'
import type { FakePolicy } from '../support/fake-view.ts'
import { LedgerWorld, type WorldOptions } from '../support/ledger-world.ts'

type Policy = Omit<FakePolicy, 'generation'>

const POD = { id: 7, name: 'a', addresses: ['10.0.0.7'], policy: 0 }
const WEB: Policy = { endpoints: [POD], policies: [[{ names: ['*.example.com'], port: 443, verdict: 'allow' }]] }

let world: LedgerWorld
const open = (options: WorldOptions = {}): LedgerWorld => {
  world.close()
  return (world = new LedgerWorld(options))
}
beforeEach(() => {
  world = new LedgerWorld()
})
afterEach(() => world.close())

describe('an answer', () => {
  it('is completed when row and entry are in, rows first', () => {
    world.apply(WEB)
    world.log.length = 0
    let atCompletion: string | undefined
    world.onComplete = () => (atCompletion = world.verdict(7, '192.0.2.1', 443))
    expect(world.learn(7, 'www.example.com', ['192.0.2.1', '2001:db8::1'])).toBe(0)
    expect(atCompletion).toBe('allow')
    expect(world.log.map(({ what }) => what)).toEqual(['ipcache-update', 'ipcache-update', 'complete'])
    expect(world.standing(7, 'www.example.com', ['192.0.2.1', '2001:db8::1'])).toBe(true)
    expect(world.standing(7, 'www.example.com', ['192.0.2.2'])).toBe(false)
    expect(world.standing(8, 'www.example.com', ['192.0.2.1'])).toBe(false)
  })

  it('whose labels are new gets its rows before its entry', () => {
    const rules = [
      { names: ['*.example.com'], port: 443, verdict: 'allow' as const },
      { names: ['www.example.com'], port: 80, verdict: 'allow' as const },
    ]
    world.apply({ endpoints: [POD], policies: [rules] })
    world.log.length = 0
    expect(world.learn(7, 'www.example.com', ['192.0.2.1'])).toBe(0)
    expect(world.log.map(({ what }) => what)).toEqual(['row-update', 'row-update', 'ipcache-update', 'complete'])
    expect([world.verdict(7, '192.0.2.1', 443), world.verdict(7, '192.0.2.1', 80)]).toEqual(['allow', 'allow'])
  })

  it('that no selector matches is completed and writes nothing', () => {
    world.apply(WEB)
    world.log.length = 0
    expect(world.learn(7, 'other.org', ['192.0.2.1'])).toBe(0)
    expect(world.log.map(({ what }) => what)).toEqual(['complete'])
    expect(world.standing(7, 'other.org', ['192.0.2.1'])).toBe(true)
  })

  it('for an endpoint that is not known is refused', () => {
    world.apply(WEB)
    expect(world.learn(99, 'www.example.com', ['192.0.2.1'])).toBe(1)
    expect(world.stats[FQDN.refusedEndpoint]).toBe(1)
    expect(world.identityOf('192.0.2.1')).toBe(9)
  })

  it('waits until the first policy is in force', () => {
    const ticket = world.submit(7, 'www.example.com', ['192.0.2.1'])
    world.work()
    expect(world.completed().size).toBe(0)
    world.apply(WEB)
    expect(world.completed().get(ticket)).toBe(0)
    expect(world.verdict(7, '192.0.2.1', 443)).toBe('allow')
  })

  it.each([
    ['0.0.0.0'],
    ['127.0.0.1'],
    ['169.254.1.1'],
    ['224.0.0.1'],
    ['255.255.255.255'],
    ['::'],
    ['::1'],
    ['fe80::1'],
    ['ff02::1'],
  ])('with %s is completed and the address is not learned', (address) => {
    world.apply(WEB)
    expect(world.learn(7, 'www.example.com', [address, '192.0.2.1'])).toBe(0)
    expect(world.stats[IDENTITY.notUnicast]).toBe(1)
    expect(world.stats[FQDN.entries]).toBe(1)
  })

  it('with the address of an endpoint or node leaves their identity alone', () => {
    open({ nodeAddresses: ['10.0.0.1'] }).apply(WEB)
    const before = [world.identityOf('10.0.0.7'), world.identityOf('10.0.0.1')]
    expect(world.learn(7, 'www.example.com', ['10.0.0.7', '10.0.0.1'])).toBe(0)
    expect([world.identityOf('10.0.0.7'), world.identityOf('10.0.0.1')]).toEqual(before)
    expect(before[0]).toBeGreaterThanOrEqual(256)
    expect(before[1]).toBe(1)
    expect(world.stats[IDENTITY.coveredByStronger]).toBe(2)
    expect(world.standing(7, 'www.example.com', ['10.0.0.7', '10.0.0.1'])).toBe(true)
  })

  it('that cannot be written to the ipcache fails, and is right once the map takes it', () => {
    world.apply(WEB)
    world.ipcache.fail = (_, key) => key === '192.0.2.2/32'
    expect(world.learn(7, 'www.example.com', ['192.0.2.1', '192.0.2.2'])).toBe(2)
    expect(world.standing(7, 'www.example.com', ['192.0.2.1'])).toBe(true)
    expect(world.standing(7, 'www.example.com', ['192.0.2.2'])).toBe(false)
    world.ipcache.fail = () => false
    world.pass(2)
    expect(world.verdict(7, '192.0.2.2', 443)).toBe('allow')
    expect(world.learn(7, 'www.example.com', ['192.0.2.2'])).toBe(0)
  })

  it('whose rows cannot be written never gets an entry', () => {
    const deny = { cidrs: [{ cidr: '192.0.2.0/24' }], port: 443, verdict: 'deny' as const }
    world.apply({ endpoints: [POD], policies: [[...(WEB.policies[0] ?? []), deny]] })
    world.policyMaps.fail = (what) => what === 'row-update'
    expect(world.learn(7, 'www.example.com', ['192.0.2.1'])).toBe(2)
    expect(world.ipcache.entries.has('192.0.2.1/32')).toBe(false)
    expect(world.verdict(7, '192.0.2.1', 443)).toBe('deny')
    world.policyMaps.fail = () => false
    expect(world.learn(7, 'www.example.com', ['192.0.2.1'])).toBe(2)
    world.pass(2)
    expect(world.learn(7, 'www.example.com', ['192.0.2.1'])).toBe(0)
    expect(world.verdict(7, '192.0.2.1', 443)).toBe('deny')
  })
})

describe('an address', () => {
  it('dies after its TTL: table first, entry, then nothing stands', () => {
    world.apply(WEB)
    world.learn(7, 'www.example.com', ['192.0.2.1'], 5)
    world.pass(4)
    expect(world.identityOf('192.0.2.1')).not.toBe(9)
    world.pass(15)
    expect(world.identityOf('192.0.2.1')).toBe(9)
    expect(world.standing(7, 'www.example.com', ['192.0.2.1'])).toBe(false)
    expect(world.stats[FQDN.entries]).toBe(0)
    expect(world.stats[FQDN.names]).toBe(0)
  })

  it('renewed by the worker alone lives on', () => {
    world.apply(WEB)
    world.learn(7, 'www.example.com', ['192.0.2.1'], 5)
    world.pass(4)
    expect(world.standing(7, 'www.example.com', ['192.0.2.1'], 30)).toBe(true)
    world.pass(20)
    expect(world.identityOf('192.0.2.1')).not.toBe(9)
    world.pass(30)
    expect(world.identityOf('192.0.2.1')).toBe(9)
  })

  it('gets the minimum TTL and the grace', () => {
    open({ minTtlSeconds: 30, graceSeconds: 10 }).apply(WEB)
    world.learn(7, 'www.example.com', ['192.0.2.1'], 1)
    world.pass(39)
    expect(world.identityOf('192.0.2.1')).not.toBe(9)
    world.pass(20)
    expect(world.identityOf('192.0.2.1')).toBe(9)
  })

  it('with a live connection outlives its TTL, together with the other addresses of its name', () => {
    world.apply(WEB)
    world.learn(7, 'www.example.com', ['192.0.2.1', '192.0.2.2'], 5)
    world.learn(7, 'api.example.com', ['192.0.2.3'], 5)
    world.conntrack.live.push({
      endpoint: { family: 4, bytes: new Uint8Array([10, 0, 0, 7]) },
      remote: { family: 4, bytes: new Uint8Array([192, 0, 2, 1]) },
    })
    world.pass(40)
    expect(world.identityOf('192.0.2.1')).not.toBe(9)
    expect(world.identityOf('192.0.2.2')).not.toBe(9)
    expect(world.identityOf('192.0.2.3')).toBe(9)
    expect(world.standing(7, 'www.example.com', ['192.0.2.1'], 1)).toBe(true)
    world.conntrack.live.length = 0
    world.pass(25)
    expect(world.identityOf('192.0.2.1')).toBe(9)
    expect(world.identityOf('192.0.2.2')).toBe(9)
  })

  it('is not judged dead while conntrack cannot be read', () => {
    world.apply(WEB)
    world.learn(7, 'www.example.com', ['192.0.2.1'], 1)
    world.conntrack.fail = true
    world.pass(30)
    expect(world.identityOf('192.0.2.1')).not.toBe(9)
    world.conntrack.fail = false
    world.pass(12)
    expect(world.identityOf('192.0.2.1')).toBe(9)
  })

  it('of two names keeps the labels of both until one goes', () => {
    const names = (name: string, port: number) => ({ names: [name], port, verdict: 'allow' as const })
    world.apply({ endpoints: [POD], policies: [[names('a.example.com', 80), names('b.example.com', 81)]] })
    world.learn(7, 'a.example.com', ['192.0.2.1'], 5)
    world.learn(7, 'b.example.com', ['192.0.2.1'], 60)
    expect([80, 81].map((port) => world.verdict(7, '192.0.2.1', port))).toEqual(['allow', 'allow'])
    world.pass(20)
    expect([80, 81].map((port) => world.verdict(7, '192.0.2.1', port))).toEqual([undefined, 'allow'])
  })

  it('learned by one pod is allowed to every pod whose policy has the name', () => {
    const policies: Policy['policies'] = [
      [{ names: ['*.example.com'], port: 443, verdict: 'allow' }],
      [{ names: ['www.example.com'], port: 443, verdict: 'allow' }],
      [{ names: ['other.org'], port: 443, verdict: 'allow' }],
    ]
    const endpoints = [POD, { id: 8, name: 'b', policy: 1 }, { id: 9, name: 'c', policy: 2 }]
    world.apply({ endpoints, policies })
    world.learn(7, 'www.example.com', ['192.0.2.1'])
    expect([7, 8, 9].map((id) => world.verdict(id, '192.0.2.1', 443))).toEqual(['allow', 'allow', undefined])
  })
})

describe('limits', () => {
  it('let the address of a name that expires first make room', () => {
    open({ limits: { maxAddressesPerName: 3 } }).apply(WEB)
    for (let i = 1; i <= 5; i++) expect(world.learn(7, 'www.example.com', [`192.0.2.${i}`], 60 + i)).toBe(0)
    expect([1, 2, 3, 4, 5].map((i) => world.identityOf(`192.0.2.${i}`) !== 9)).toEqual([false, false, true, true, true])
    expect(world.standing(7, 'www.example.com', ['192.0.2.1'])).toBe(false)
    expect(world.stats[FQDN.evictedEntries]).toBe(2)
  })

  it('let the name used longest ago make room', () => {
    open({ limits: { maxNamesPerEndpoint: 2 } }).apply(WEB)
    world.learn(7, 'a.example.com', ['192.0.2.1'])
    world.learn(7, 'b.example.com', ['192.0.2.2'])
    world.learn(7, 'a.example.com', ['192.0.2.1'])
    world.learn(7, 'c.example.com', ['192.0.2.3'])
    expect([1, 2, 3].map((i) => world.identityOf(`192.0.2.${i}`) !== 9)).toEqual([true, false, true])
  })

  it('let no endpoint push out what others learned', () => {
    const endpoints = [POD, { id: 8, name: 'b', policy: 0 }]
    open({ limits: { maxEntries: 40, maxEntriesPerEndpoint: 30, maxAddressesPerName: 4 } }).apply({ ...WEB, endpoints })
    expect(world.learn(8, 'www.example.com', ['192.0.2.200'], 5)).toBe(0)
    for (let i = 0; i < 60; i++) {
      const addresses = [0, 1, 2, 3].map((n) => `198.51.100.${4 * i + n}`)
      expect(world.learn(7, `n${i}.example.com`, addresses, 600_000)).toBe(0)
    }
    expect(world.identityOf('192.0.2.200')).not.toBe(9)
    expect(world.identityOf('198.51.100.239')).not.toBe(9)
    expect(world.identityOf('198.51.100.0')).toBe(9)
    expect(world.stats[FQDN.entries]).toBeLessThanOrEqual(31)
    // What goes gives its part of the share back.
    world.pass(20)
    expect(world.learn(7, 'new.example.com', ['192.0.2.1'])).toBe(0)
  })

  it('refuse what an endpoint with live connections everywhere wants beyond its share', () => {
    open({ limits: { maxEntriesPerEndpoint: 2 } }).apply(WEB)
    expect(world.learn(7, 'a.example.com', ['192.0.2.1', '192.0.2.2', '192.0.2.3'])).toBe(1)
    expect(world.stats[FQDN.refusedShare]).toBe(1)
  })

  it('never take an address with a live connection while another can go', () => {
    open({ limits: { maxEntries: 3 } }).apply(WEB)
    for (let i = 1; i <= 3; i++) world.learn(7, `n${i}.example.com`, [`192.0.2.${i}`], 60 + i)
    world.conntrack.live.push({
      endpoint: { family: 4, bytes: new Uint8Array([10, 0, 0, 7]) },
      remote: { family: 4, bytes: new Uint8Array([192, 0, 2, 1]) },
    })
    world.learn(7, 'n4.example.com', ['192.0.2.4'])
    world.pass(12)
    world.learn(7, 'n1.example.com', ['192.0.2.1'], 1)
    for (let i = 5; i < 20; i++) expect(world.learn(7, `n${i}.example.com`, [`192.0.2.${i}`])).toBe(0)
    expect(world.identityOf('192.0.2.1')).not.toBe(9)
  })

  it('refuse an answer whose room a later one of the same batch took', () => {
    open({ limits: { maxEntries: 1 } }).apply(WEB)
    const tickets = [1, 2, 3].map((i) => world.submit(7, `n${i}.example.com`, [`192.0.2.${i}`]))
    world.work()
    const statuses = world.completed()
    expect(tickets.map((ticket) => statuses.get(ticket))).toEqual([1, 1, 0])
    expect([1, 2, 3].map((i) => world.identityOf(`192.0.2.${i}`) !== 9)).toEqual([false, false, true])
    expect(world.standing(7, 'n1.example.com', ['192.0.2.1'])).toBe(false)
  })

  it('refuse an answer with more addresses than the name may ever have', () => {
    open({ limits: { maxAddressesPerName: 4 } }).apply(WEB)
    const many = Array.from({ length: 6 }, (_, i) => `192.0.2.${i + 1}`)
    expect(world.learn(7, 'www.example.com', many)).toBe(1)
    expect(world.stats[FQDN.refusedAddresses]).toBe(1)
  })
})

describe('a question to the ledger', () => {
  it('pages through the names of an endpoint and tells about an address', () => {
    world.apply(WEB)
    for (let i = 1; i <= 5; i++) world.learn(7, `n${i}.example.com`, [`192.0.2.${i}`, '192.0.2.99'])
    world.core.request({ type: 'query', id: 1, query: { kind: 'names', endpointId: 7, offset: 3, limit: 4 } })
    const page = world.messages.at(-1)
    if (page?.type !== 'answer' || page.answer.kind !== 'names') throw new Error('no page')
    expect(page.answer.total).toBe(10)
    expect(page.answer.names.map(({ name }) => name)).toEqual([
      'n2.example.com.',
      'n3.example.com.',
      'n3.example.com.',
      'n4.example.com.',
    ])
    world.core.request({ type: 'query', id: 2, query: { kind: 'address', address: '192.0.2.99' } })
    const about = world.messages.at(-1)
    if (about?.type !== 'answer' || about.answer.kind !== 'address') throw new Error('no answer')
    expect(about.answer.labels).toEqual(['fqdn:*.example.com'])
    expect(about.answer.names.length).toBe(5)
    world.core.request({ type: 'query', id: 3, query: { kind: 'address', address: '300.1.1.1' } })
    expect(world.messages.at(-1)).toMatchObject({ id: 3, answer: { kind: 'error' } })
  })
})

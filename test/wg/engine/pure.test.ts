import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatIp, parseCidr, parseIp } from '../../../src/core/ip.ts'
import { DirectoryView } from '../../../src/wg/directory/view.ts'
import type { NodeRecord } from '../../../src/wg/directory/record.ts'
import { fingerprintOf } from '../../../src/wg/engine/key-log.ts'
import { diffPeers, DiffMemory, endpointText } from '../../../src/wg/engine/reconcile.ts'
import { addressesOf, nodeAddressOwners, probeAddresses, type WantedPeer } from '../../../src/wg/engine/wanted.ts'
import type { WgDevice, WgEndpoint, WgPeer } from '../../../src/wg/ports.ts'

let keys = 0
const newKey = (): string => Buffer.alloc(32, ++keys).toString('base64')

const record = (name: string, change: Partial<NodeRecord> = {}): NodeRecord => ({
  domain: 'test',
  node: name,
  nodeUID: `uid-${name}`,
  bootID: 'boot',
  created: 100,
  revision: 1,
  endpoints: [{ ip: '192.0.2.9' }],
  prefixes: [],
  nodeIPs: [],
  slots: [
    { id: 0, port: 1, publicKey: newKey(), gen: 0, since: 0 },
    { id: 1, port: 2, publicKey: newKey(), gen: 0, since: 0 },
  ],
  drain: null,
  caps: [],
  ...change,
})

describe('the difference between a device and what it must have', () => {
  const endpoint = { ip: parseIp('192.0.2.1'), port: 7 }
  const wanted = (uid: string, ...cidrs: string[]): WantedPeer => ({
    uid,
    publicKey: `key of ${uid}`,
    endpoints: [endpoint, { ip: parseIp('2001:db8::1'), port: 7 }],
    allowedIps: cidrs.map((text) => parseCidr(text)),
    keepalive: 25,
  })
  const found = (uid: string, change: Partial<WgPeer>, ...cidrs: string[]): WgPeer => ({
    publicKey: `key of ${uid}`,
    endpoint,
    allowedIps: cidrs.map((text) => parseCidr(text)),
    keepalive: 25,
    lastHandshakeNs: 0n,
    rxBytes: 0,
    txBytes: 0,
    ...change,
  })
  const diff = (all: WantedPeer[], ...peers: WgPeer[]): ReturnType<typeof diffPeers> => {
    const device: WgDevice = { name: 'kwg0', publicKey: 'own', listenPort: 1, fwmark: 0, peers }
    return diffPeers(all, device, { roamed: () => false, skip: (uid) => uid === 'busy' })
  }
  const extra = [parseCidr('10.9.0.0/16')]

  it('is nothing when all is right, in whatever order and at any published endpoint', () => {
    const six = { ip: parseIp('2001:db8::1'), port: 7 }
    const peer = found('a', { endpoint: six }, '10.1.0.0/24', 'fd10::/64')
    expect(diff([wanted('a', 'fd10::/64', '10.1.0.0/24')], peer)).toEqual({ fixes: [], strangers: [] })
  })

  it('names what is missing, too much, elsewhere, silent, and strange', () => {
    const all = ['a', 'b', 'c', 'd', 'e', 'busy'].map((uid) => wanted(uid, '10.1.0.0/24'))
    const elsewhere = { ip: parseIp('192.0.2.1'), port: 8 }
    const { fixes, strangers } = diff(
      all,
      found('b', {}, '10.1.0.0/24', '10.9.0.0/16'),
      found('c', { endpoint: elsewhere }, '10.1.0.0/24'),
      found('d', { keepalive: 0 }, '10.1.0.0/24'),
      found('e', {}, '10.9.0.0/16'),
      found('busy', {}),
      found('stranger', {}),
    )
    expect(fixes).toEqual([
      { uid: 'a', missing: true, endpoint: true, extra: [] },
      { uid: 'b', missing: false, endpoint: false, extra },
      { uid: 'c', missing: false, endpoint: true, extra: [] },
      { uid: 'd', missing: false, endpoint: false, extra: [] },
      { uid: 'e', missing: false, endpoint: false, extra },
    ])
    expect(strangers).toEqual(['key of stranger'])
  })
})

describe('what one comparison leaves to the next', () => {
  const CIDRS = ['10.1.0.0/24', '10.2.0.0/24', 'fd10::/64'].map((text) => parseCidr(text))
  const ENDPOINTS = ['192.0.2.1', '192.0.2.2'].map((text) => ({ ip: parseIp(text), port: 7 }))
  // Lists and endpoints are shared, as a driver does with what did not change.
  const LISTS = [CIDRS.slice(0, 1), CIDRS.slice(1, 2), CIDRS]
  const some = fc.record({
    key: fc.nat(3),
    list: fc.constantFrom(0, 0, 0, 1, 2),
    endpoint: fc.constantFrom(0, 1, 1),
    keepalive: fc.constantFrom(0, 25, 25, 25),
  })
  const selector = ({ key }: { key: number }): number => key
  const looks = fc.array(
    fc.record({ wanted: fc.uniqueArray(some, { selector }), found: fc.uniqueArray(some, { selector }) }),
    { minLength: 2, maxLength: 6 },
  )
  type Some = typeof some extends fc.Arbitrary<infer T> ? T : never

  it('remembers, but changes nothing in what is said of a device', () => {
    const made = new Map<string, WantedPeer>()
    const wantedOf = (one: Some): WantedPeer => {
      const id = JSON.stringify(one)
      const { key, list, endpoint, keepalive } = one
      const peer = made.get(id) ?? {
        ...{ uid: `${key}`, publicKey: `key ${key}`, keepalive, allowedIps: LISTS[list] ?? [] },
        endpoints: ENDPOINTS.slice(endpoint),
      }
      made.set(id, peer)
      return peer
    }
    const roamedOf = (told: string[]) => (peer: WantedPeer, endpoint: WgEndpoint) =>
      told.push(`${peer.uid} ${endpointText(endpoint)}`) % 2 === 0
    fc.assert(
      fc.property(looks, (all) => {
        const memory = new DiffMemory()
        for (const { wanted, found } of all) {
          const peers = found.map(({ key, list, endpoint, keepalive }) => ({
            ...{ publicKey: `key ${key}`, keepalive, allowedIps: LISTS[list] ?? [], endpoint: ENDPOINTS[endpoint] },
            ...{ lastHandshakeNs: 0n, rxBytes: 0, txBytes: 0 },
          }))
          const device = (): WgDevice => ({ name: 'kwg0', publicKey: 'own', listenPort: 1, fwmark: 0, peers })
          const [with_, without]: [string[], string[]] = [[], []]
          const skip = (uid: string): boolean => uid === '3'
          const said = diffPeers(wanted.map(wantedOf), device(), { roamed: roamedOf(with_), skip }, memory)
          expect(said).toEqual(diffPeers(wanted.map(wantedOf), device(), { roamed: roamedOf(without), skip }))
          expect(with_).toEqual(without)
        }
      }),
      { numRuns: 3000 },
    )
  })
})

describe('addresses', () => {
  it('of probes are the first hosts of the first prefixes, and without these those of the node', () => {
    const cidrs = ['10.1.2.0/24', '10.9.0.0/16', 'fd10:1::/64', '10.3.3.3/32'].map((text) => parseCidr(text))
    expect(probeAddresses(cidrs, []).map(formatIp)).toEqual(['10.1.2.1', 'fd10:1::1'])
    expect(probeAddresses([parseCidr('10.3.3.3/32')], []).map(formatIp)).toEqual(['10.3.3.3'])
    expect(probeAddresses([], [parseIp('192.0.2.1')]).map(formatIp)).toEqual(['192.0.2.1'])
  })

  it('of nodes belong to who published first, and never to who names ours or those of pods of others', () => {
    const peers = [
      record('late', { created: 300, nodeIPs: ['192.0.2.50', '192.0.2.51'] }),
      record('early', { created: 200, nodeIPs: ['192.0.2.50', '192.0.2.1', '10.7.0.9', '10.8.0.9', '10.6.0.9'] }),
      record('pods', { created: 400, prefixes: ['10.7.0.0/24'], nodeIPs: ['10.7.0.1'] }),
    ].map(addressesOf)
    const owners = nodeAddressOwners(peers, { addresses: [parseIp('192.0.2.1')], prefixes: [parseCidr('10.8.0.0/24')] })
    expect([...owners].sort()).toEqual([
      ['10.6.0.9/32', 'uid-early'],
      ['10.7.0.1/32', 'uid-pods'],
      ['192.0.2.50/32', 'uid-early'],
      ['192.0.2.51/32', 'uid-late'],
    ])
  })

  it('a fingerprint is that of ssh: SHA-256 in base64 without padding', () => {
    expect(fingerprintOf(Buffer.alloc(32).toString('base64'))).toBe(
      'SHA256:Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU',
    )
  })
})

describe('who a record is of', () => {
  const view = (): DirectoryView =>
    new DirectoryView({ domain: 'test', name: 'self', uid: 'uid-self', prefixes: [], keys: () => [] })
  const tell = (on: DirectoryView, value: NodeRecord, now = 0): unknown[] =>
    on.apply({ kind: 'record', name: value.node, value }, now)

  it('a UID belongs to one name, the one that published first, in whatever order they came', () => {
    const victim = record('victim', { created: 100 })
    const thief = record('thief', { nodeUID: victim.nodeUID, created: 200 })
    const one = view()
    tell(one, victim)
    expect(tell(one, thief)).toMatchObject([{ kind: 'refused', name: 'thief', refused: { reason: 'writer' } }])
    const other = view()
    tell(other, thief)
    expect(tell(other, victim)).toMatchObject([
      { kind: 'gone', name: 'thief' },
      { kind: 'refused', name: 'thief' },
      { kind: 'peer', record: { node: 'victim' } },
    ])
    expect(one.claims(thief.slots[0]?.publicKey ?? '')).toBe(true)
  })

  it('an older revision counts when it stays for five minutes, and nothing newer came', () => {
    const [old, newer, newest] = [1, 7, 8].map((revision) => record('late', { revision }))
    if (old === undefined || newer === undefined || newest === undefined) throw new Error('three')
    const revisions = (changes: unknown): unknown[] =>
      (changes as { record: NodeRecord }[]).map(({ record: { revision } }) => revision)
    const stays = view()
    tell(stays, newer)
    expect(tell(stays, old, 1000)).toEqual([])
    // Told again, it is the same.
    expect(tell(stays, old, 200_000)).toEqual([])
    expect(stays.review(300_000)).toEqual([])
    expect(revisions(stays.review(301_000))).toEqual([1])
    expect(stays.review(900_000)).toEqual([])
    expect(revisions(tell(stays, newest, 900_000))).toEqual([8])
    const gone: ((on: DirectoryView) => unknown)[] = [
      (on) => tell(on, newer, 2000),
      (on) => tell(on, newest, 2000),
      (on) => on.apply({ kind: 'record', name: 'late', value: undefined }, 2000),
      (on) => on.apply({ kind: 'removed', name: 'late' }, 2000),
    ]
    for (const act of gone) {
      const on = view()
      tell(on, newer)
      tell(on, old, 1000)
      act(on)
      expect(on.review(10_000_000)).toEqual([])
    }
  })

  it('neither our name with another UID nor our UID with another name is a peer', () => {
    const refused = [{ kind: 'refused', refused: { reason: 'writer' } }]
    const on = view()
    expect(tell(on, record('self', { nodeUID: 'uid-before' }))).toMatchObject(refused)
    expect(tell(on, record('twin', { nodeUID: 'uid-self' }))).toMatchObject(refused)
    expect(on.records.size).toBe(0)
  })
})

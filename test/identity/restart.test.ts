import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseCidr } from '../../src/core/ip.ts'
import { FQDN } from '../../src/fqdn/counters.ts'
import { IDENTITY } from '../../src/identity/counters.ts'
import { SNAPSHOT_FILE } from '../../src/identity/journal-file.ts'
import type { FakePolicy } from '../support/fake-view.ts'
import { LedgerWorld } from '../support/ledger-world.ts'

type Policy = Omit<FakePolicy, 'generation'>

const POD = { id: 7, name: 'a', addresses: ['10.0.0.7'], policy: 0 }
const WEB: Policy = { endpoints: [POD], policies: [[{ names: ['*.example.com'], port: 443, verdict: 'allow' }]] }

let world: LedgerWorld
beforeEach(() => {
  world = new LedgerWorld()
  world.apply(WEB)
  world.learn(7, 'www.example.com', ['192.0.2.1', '2001:db8::1'], 300)
})
afterEach(() => world.close())

const entries = (): [string, number][] =>
  [...world.ipcache.entries].map(([key, entry]): [string, number] => [key, entry.identity]).sort()

describe('after kill -9', () => {
  it.each([
    ['the journal alone', () => undefined],
    [
      'a snapshot and the journal after it',
      () => {
        world.pass(6)
        world.writeState()
        world.learn(7, 'api.example.com', ['192.0.2.2'], 300)
      },
    ],
    [
      'a journal put aside for a snapshot that was never written',
      () => {
        world.pass(6)
        world.learn(7, 'api.example.com', ['192.0.2.2'], 300)
      },
    ],
  ])('%s bring back every name under the same numbers', (_, prepare) => {
    prepare()
    const before = entries()
    const names = world.core.state.names.count
    world.restart()
    world.log.length = 0
    world.apply(WEB)
    expect(entries()).toEqual(before)
    expect(world.core.state.names.count).toBe(names)
    expect(world.stats[FQDN.orphans]).toBe(0)
    expect(world.log.filter(({ what }) => what.startsWith('ipcache'))).toEqual([])
    expect(world.verdict(7, '192.0.2.1', 443)).toBe('allow')
  })

  it('what was over time meanwhile lives a grace longer', () => {
    world.now += 1000_000
    world.restart()
    world.apply(WEB)
    world.pass(50)
    expect(world.verdict(7, '192.0.2.1', 443)).toBe('allow')
    world.pass(30)
    expect(world.identityOf('192.0.2.1')).toBe(9)
  })

  it('a name that stood is asked once and stands again', () => {
    world.restart()
    world.apply(WEB)
    expect(world.standing(7, 'www.example.com', ['192.0.2.1'])).toBe(false)
    expect(world.learn(7, 'www.example.com', ['192.0.2.1'])).toBe(0)
    expect(world.standing(7, 'www.example.com', ['192.0.2.1'])).toBe(true)
  })

  it('a known identity at an address without a name is adopted for ten minutes', () => {
    const identity = world.identityOf('192.0.2.1')
    world.ipcache.entries.set('192.0.2.77/32', { cidr: parseCidr('192.0.2.77/32'), identity })
    world.restart()
    world.apply(WEB)
    expect(world.stats[FQDN.orphans]).toBe(1)
    expect(world.verdict(7, '192.0.2.77', 443)).toBe('allow')
    world.pass(590)
    expect(world.verdict(7, '192.0.2.77', 443)).toBe('allow')
    world.pass(30)
    expect(world.identityOf('192.0.2.77')).toBe(9)
  })

  it('an unknown number is removed, and never given to other labels', () => {
    world.ipcache.entries.set('192.0.2.66/32', { cidr: parseCidr('192.0.2.66/32'), identity: 0x0100_0001 })
    writeFileSync(join(world.directory, 'names.journal'), '')
    world.restart()
    let seen = 0
    const generation = world.offer(WEB)
    while (!world.messages.some((message) => message.type === 'ack' && message.generation === generation)) {
      world.core.slice()
      seen += world.verdict(7, '192.0.2.66', 443) === undefined ? 0 : 1
    }
    expect(seen).toBe(0)
    expect(world.identityOf('192.0.2.66')).toBe(9)
    expect(world.stats[IDENTITY.unknownRemoved]).toBeGreaterThan(0)
    for (const record of world.core.identities) expect(record.number).not.toBe(0x0100_0001)
  })

  it('names of an endpoint whose number is another pod’s are not restored', () => {
    world.restart()
    world.apply({ ...WEB, endpoints: [{ ...POD, name: 'z' }] })
    expect(world.core.state.endpoint(7)?.names).toBe(0)
    expect(world.stats[FQDN.restored]).toBe(0)
  })

  it('nothing denied becomes allowed at any moment, though the policy shrank meanwhile', () => {
    world.restart()
    const org: Policy = { endpoints: [POD], policies: [[{ names: ['*.org'], port: 443, verdict: 'allow' }]] }
    const forbidden = ['198.51.100.1', '10.0.0.7', '192.0.2.200']
    const generation = world.offer(org)
    while (!world.messages.some((message) => message.type === 'ack' && message.generation === generation)) {
      world.core.slice()
      for (const address of forbidden) expect(world.verdict(7, address, 443)).toBeUndefined()
    }
    expect(world.verdict(7, '192.0.2.1', 443)).toBeUndefined()
  })

  it.each([
    ['cut', (file: Uint8Array, at: number) => file.slice(0, at)],
    ['changed', (file: Uint8Array, at: number) => file.map((octet, i) => (i === at ? octet ^ 0x21 : octet))],
  ])('state files %s at any octet open nothing to anybody, and what is asked again is learned', (_, damage) => {
    const policies = ['*.example.com', '*.example.org'].map((name) => [
      { names: [name], port: 443, verdict: 'allow' as const },
    ])
    const both: Policy = { endpoints: [POD, { id: 8, name: 'b', addresses: ['10.0.0.8'], policy: 1 }], policies }
    world.apply(both)
    world.pass(6)
    world.writeState()
    world.learn(8, 'www.example.org', ['192.0.2.2'], 300)
    const files = [SNAPSHOT_FILE, 'names.journal'].map((name) => join(world.directory, name))
    const whole = files.map((file) => readFileSync(file))
    const kernel = entries()
    for (const [i, file] of files.entries()) {
      for (let at = 0; at < (whole[i]?.length ?? 0); at += 3) {
        files.forEach((one, n) => writeFileSync(one, whole[n] ?? ''))
        writeFileSync(file, damage(whole[i] ?? new Uint8Array(), at))
        expect(entries()).toEqual(kernel)
        world.restart()
        const generation = world.offer(both)
        while (!world.messages.some((message) => message.type === 'ack' && message.generation === generation)) {
          world.core.slice()
          expect([world.verdict(7, '192.0.2.2', 443), world.verdict(8, '192.0.2.1', 443)]).toEqual([
            undefined,
            undefined,
          ])
        }
        expect(world.learn(7, 'www.example.com', ['192.0.2.1', '2001:db8::1'], 300)).toBe(0)
        expect(world.learn(8, 'www.example.org', ['192.0.2.2'], 300)).toBe(0)
        expect([world.verdict(7, '192.0.2.1', 443), world.verdict(8, '192.0.2.2', 443)]).toEqual(['allow', 'allow'])
        expect(world.verdict(7, '192.0.2.2', 443)).toBeUndefined()
        world.messages.length = 0
        for (const [key, identity] of kernel) {
          const entry = world.ipcache.entries.get(key)
          if (entry !== undefined) world.ipcache.entries.set(key, { ...entry, identity })
        }
      }
    }
  })

  it.each([
    ['of another boot', () => (world.bootId = new Uint8Array(16).fill(8))],
    ['that is no state file', () => writeFileSync(join(world.directory, SNAPSHOT_FILE), 'hello, this is not it')],
    [
      'that was cut off',
      () => {
        const path = join(world.directory, SNAPSHOT_FILE)
        writeFileSync(path, readFileSync(path).subarray(0, 60))
      },
    ],
  ])('a snapshot %s is counted, and the kernel’s entries stay consistent', (_, damage) => {
    world.pass(6)
    world.writeState()
    damage()
    world.restart()
    world.apply(WEB)
    expect((world.stats[FQDN.discardedFiles] ?? 0) + (world.stats[FQDN.tornRecords] ?? 0)).toBeGreaterThan(0)
    expect(world.messages.some((message) => message.type === 'problem' && message.what === 'state')).toBe(true)
    for (const [, identity] of entries()) {
      if (identity > 0x0100_0000) expect(world.core.identities.byNumber(identity)).toBeDefined()
    }
    expect(world.learn(7, 'www.example.com', ['192.0.2.1'])).toBe(0)
    expect(world.verdict(7, '192.0.2.1', 443)).toBe('allow')
  })
})

describe('when only the ledger thread dies', () => {
  it('requests it had taken fail, those that wait are answered, and no slot is lost', () => {
    const before = world.submit(7, 'late.example.com', ['192.0.2.5'])
    world.restartThread()
    expect(world.standing(7, 'www.example.com', ['192.0.2.1'])).toBe(false)
    world.apply(WEB)
    expect(world.completed().get(before)).toBe(0)
    for (let i = 0; i < 500; i++) expect(world.learn(7, `n${i}.example.com`, ['192.0.2.6'])).toBe(0)
  })
})

describe('the reconciler', () => {
  it('repairs what others changed, and counts it', () => {
    const before = entries()
    world.ipcache.entries.set('203.0.113.0/24', { cidr: parseCidr('203.0.113.0/24'), identity: 0x0100_0001 })
    world.ipcache.entries.set('192.0.2.1/32', { cidr: parseCidr('192.0.2.1/32'), identity: 2 })
    world.ipcache.entries.delete('2001:db8::1/128')
    world.policyMaps.byEndpoint.delete(7)
    world.pass(61)
    expect(entries()).toEqual(before)
    expect(world.verdict(7, '192.0.2.1', 443)).toBe('allow')
    const { foreign, changed, missing, policyRepairs } = IDENTITY
    expect([foreign, changed, missing, policyRepairs].map((place) => world.stats[place])).toEqual([1, 1, 1, 1])
    world.pass(130)
    expect([foreign, changed, missing, policyRepairs].map((place) => world.stats[place])).toEqual([1, 1, 1, 1])
  })
})

describe('the reconciler of rows', () => {
  const rowCounts = (): number[] =>
    [IDENTITY.rowsForeign, IDENTITY.rowsChanged, IDENTITY.rowsMissing].map((place) => world.stats[place] ?? -1)

  it('finds nothing where nobody interfered', () => {
    world.pass(61)
    world.pass(61)
    expect(rowCounts()).toEqual([0, 0, 0])
  })

  it('takes out what others put in, puts back what they took, and turns back what they turned', () => {
    const map = world.policyMaps.byEndpoint.get(7)
    if (map === undefined) throw new Error('endpoint 7 has no map')
    const before = new Map(map.rows)
    const [[firstKey, first] = [], [secondKey, second] = []] = [...map.rows]
    if (firstKey === undefined || first === undefined || secondKey === undefined || second === undefined)
      throw new Error('the policy of the test has fewer than two rows')
    map.rows.set('9/6/443/16', { label: 9, protocol: 6, port: 443, portBits: 16, verdict: 'allow' })
    map.rows.set(firstKey, { ...first, verdict: first.verdict === 'deny' ? 'allow' : 'deny' })
    map.rows.delete(secondKey)
    world.pass(61)
    expect(new Map(map.rows)).toEqual(before)
    expect(rowCounts()).toEqual([1, 1, 1])
    world.pass(130)
    expect(rowCounts()).toEqual([1, 1, 1])
  })

  it('puts right what stands for a verdict, though the verdict is the same', () => {
    const map = world.policyMaps.byEndpoint.get(7)
    const [[key, row] = []] = map?.rows ?? []
    if (map === undefined || key === undefined || row === undefined) throw new Error('endpoint 7 has no rows')
    map.rows.set(key, { ...row, altered: true })
    world.pass(61)
    expect(map.rows.get(key)).toEqual(row)
    expect(rowCounts()).toEqual([0, 1, 0])
  })

  it('does not read again what nobody touched', () => {
    const map = world.policyMaps.byEndpoint.get(7)
    if (map === undefined) throw new Error('endpoint 7 has no map')
    world.pass(61)
    const { dumps } = map
    world.pass(180)
    expect(map.dumps).toBe(dumps)
    map.rows.set('9/6/443/16', { label: 9, protocol: 6, port: 443, portBits: 16, verdict: 'allow' })
    world.pass(61)
    expect(map.dumps).toBeGreaterThan(dumps)
    expect(rowCounts()).toEqual([1, 0, 0])
  })

  it('finds a row that is wanted no more and could not be taken out', () => {
    // The identity of what both patterns select lives as long as such an address does.
    const both = { names: ['*.example.com', 'www.example.com'], port: 443, verdict: 'allow' } as const
    world.apply({ endpoints: [POD], policies: [[both]] })
    world.learn(7, 'www.example.com', ['192.0.2.1'], 60)
    world.pass(61)
    const map = world.policyMaps.byEndpoint.get(7)
    const rows = map?.rows.size ?? 0
    world.policyMaps.fail = (what) => what === 'row-delete'
    world.pass(1200)
    expect([world.identityOf('192.0.2.1'), map?.rows.size]).toEqual([9, rows])
    world.policyMaps.fail = () => false
    world.pass(61)
    expect(map?.rows.size).toBeLessThan(rows)
    expect(rowCounts()[0]).toBeGreaterThan(0)
  })

  it('tries again when the kernel refuses', () => {
    const map = world.policyMaps.byEndpoint.get(7)
    const [key] = map?.rows.keys() ?? []
    if (map === undefined || key === undefined) throw new Error('endpoint 7 has no rows')
    map.rows.delete(key)
    world.policyMaps.fail = (what) => what === 'row-update'
    world.pass(61)
    expect([map.rows.has(key), ...rowCounts()]).toEqual([false, 0, 0, 0])
    world.policyMaps.fail = () => false
    world.pass(61)
    expect([map.rows.has(key), ...rowCounts()]).toEqual([true, 0, 0, 1])
  })
})

describe('a stop', () => {
  it('answers what waits and hands over the whole state', () => {
    const ticket = world.submit(7, 'last.example.com', ['192.0.2.9'])
    world.core.stop()
    expect(world.completed().get(ticket)).toBe(0)
    expect(world.messages.at(-1)).toEqual({ type: 'stopped' })
    world.writeState()
    writeFileSync(join(world.directory, 'names.journal'), '')
    world.restart()
    world.apply(WEB)
    expect(world.core.state.names.count).toBe(2)
    expect(world.verdict(7, '192.0.2.9', 443)).toBe('allow')
  })
})

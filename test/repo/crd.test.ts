import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { NodeRecord } from '../../src/wg/directory/record.ts'
import { nodeRecordSchema } from '../../src/wg/directory/record.ts'
import { readRecord, type Refusal } from '../../src/wg/directory/read-record.ts'
import { misfit } from '../../src/wg/directory/schema-check.ts'
import { manifestsOf, resourceOf, type Definition } from '../support/api-server.ts'
import { EngineWorld } from '../support/wg/engine-world.ts'
import { read } from './tree.ts'

const [nodes, statuses] = manifestsOf<Definition>(read('deploy/kustomize/crd.yaml')).map(resourceOf)
const object = (spec: unknown, name = 'node-a'): object => ({
  ...{ apiVersion: 'sekisho.dev/v1alpha1', kind: 'WireGuardNode', metadata: { name } },
  spec,
})
const refused = (spec: unknown, old?: unknown, name?: string): string | undefined =>
  nodes?.(object(spec, name), old === undefined ? undefined : object(old, name))

const key = (n: number): string => Buffer.alloc(32, n).toString('base64')
const slot = (id: number, change: object = {}): object => ({
  ...{ id, port: 51_871 + id, publicKey: key(id + 1), gen: 0, since: 1 },
  ...change,
})
const good = {
  domain: 'test',
  node: 'node-a',
  nodeUID: 'u',
  bootID: 'b',
  created: 1,
  revision: 7,
  endpoints: [{ ip: '192.0.2.1' }],
  prefixes: ['10.0.0.0/24', '2001:db8::/64'],
  nodeIPs: ['192.0.2.1'],
  slots: [slot(0), slot(1)],
  drain: { slot: 1, seq: 2, since: 3, reason: 'Rotate' },
  caps: ['two-slot/1', 'probe/1'],
}

describe('the resource takes every record that an agent writes', () => {
  it('in the order in which they are written: starts, rotations, a compromise, a device that is made again, a reboot', async () => {
    const world = new EngineWorld(2)
    const written = new Map<string, NodeRecord[]>()
    const put = world.directory.put.bind(world.directory)
    world.directory.put = (name, record) => {
      written.set(name, [...(written.get(name) ?? []), structuredClone(record)])
      put(name, record)
    }
    await world.up()
    const settle = async (): Promise<void> => {
      await world.clock.until(() => world.idle && world.sealed, 300_000)
      expect(world.idle && world.sealed).toBe(true)
    }
    world.agent(0).engine.rotate(false)
    await settle()
    world.agent(0).engine.rotate(true)
    await settle()
    world.kernel(0).foreignKey(1)
    await world.clock.advance(3_000)
    await settle()
    await world.stop(0)
    world.net.forgive()
    world.reboot(0, 'boot-0b')
    await world.start(0)
    await settle()
    const records = written.get('node-0') ?? []
    expect(records.length).toBeGreaterThan(8)
    expect(new Set(records.map(({ bootID }) => bootID)).size).toBe(2)
    expect(records.some(({ drain }) => drain !== null)).toBe(true)
    for (const [i, record] of records.entries()) {
      expect(refused(record, records[i - 1], 'node-0'), JSON.stringify(record)).toBeUndefined()
      expect(readRecord(record, { domain: 'test', name: 'node-0' }).ok).toBe(true)
    }
  })
})

describe('the resource refuses what the agent refuses', () => {
  const without = Object.keys(good).map((name) => Object.fromEntries(Object.entries(good).filter(([n]) => n !== name)))
  it.each<readonly [string, unknown]>([
    ['nothing', undefined],
    ['null', null],
    ['a list', []],
    ['no slots', { ...good, slots: [] }],
    ['three slots', { ...good, slots: [slot(0), slot(1), slot(1)] }],
    ['slot 1 alone', { ...good, slots: [slot(1)] }],
    ['slots in the wrong order', { ...good, slots: [slot(1), slot(0)] }],
    ['one slot twice', { ...good, slots: [slot(0), slot(0)] }],
    ['one port for both', { ...good, slots: [slot(0), slot(1, { port: 51_871 })] }],
    ['one key for both', { ...good, slots: [slot(0), slot(1, { publicKey: key(1) })] }],
    ['a short key', { ...good, slots: [slot(0, { publicKey: 'x' })] }],
    ['a key with a line after it', { ...good, slots: [slot(0, { publicKey: `${key(1)}\n` })] }],
    ['a key with stray bits', { ...good, slots: [slot(0, { publicKey: `${key(1).slice(0, 42)}B=` })] }],
    ['port 0', { ...good, slots: [slot(0, { port: 0 })] }],
    ['port 65536', { ...good, slots: [slot(0, { port: 65_536 })] }],
    ['a port that is text', { ...good, slots: [slot(0, { port: '51871' })] }],
    ['no endpoint', { ...good, endpoints: [] }],
    ['an endpoint without address', { ...good, endpoints: [{}] }],
    ['a list for an endpoint', { ...good, endpoints: [[]] }],
    ['seventeen endpoints', { ...good, endpoints: Array(17).fill({ ip: '192.0.2.1' }) }],
    ['65 prefixes', { ...good, prefixes: Array<string>(65).fill('10.0.0.0/24') }],
    ['a name in capitals', { ...good, node: 'Node_A' }],
    ['the name of another', { ...good, node: 'node-b' }],
    ['a revision that is no whole number', { ...good, revision: 1.5 }],
    ['a negative revision', { ...good, revision: -1 }],
    ['a revision beyond what JavaScript counts', { ...good, revision: 2 ** 53 }],
    ['a drain of slot 2', { ...good, drain: { ...good.drain, slot: 2 } }],
    ['a drain on a whim', { ...good, drain: { ...good.drain, reason: 'Whim' } }],
    ['a drain that is a list', { ...good, drain: [] }],
    ['null for capabilities', { ...good, caps: null }],
    ['a capability of no length', { ...good, caps: [''] }],
    ['a long capability', { ...good, caps: ['c'.repeat(64)] }],
    ['capabilities counted otherwise in UTF-16', { ...good, caps: ['😀'.repeat(40)] }],
    ...without.map((record) => ['a field is missing', record] as const),
  ])('%s', (_, record) => {
    const plain = record === undefined ? undefined : (JSON.parse(JSON.stringify(record)) as unknown)
    expect(refused(plain)).toBeDefined()
    expect(readRecord(plain, { domain: 'test', name: 'node-a' }).ok).toBe(false)
  })

  it('and takes the good one, with fields that it does not know, with a null drain, with one slot', () => {
    for (const record of [good, { ...good, newer: 1 }, { ...good, drain: null }, { ...good, slots: [slot(0)] }]) {
      expect(refused(record)).toBeUndefined()
      expect(readRecord(record, { domain: 'test', name: 'node-a' }).ok).toBe(true)
    }
  })
})

/** What no schema can say; the agent looks at it besides. */
const BEYOND: readonly Refusal[] = ['bad-address', 'bad-prefix', 'bad-key', 'domain', 'key-taken']
/** What the rules of the resource (CEL) refuse, and not its fields. */
const BY_RULE: readonly Refusal[] = ['slots', 'key-taken', 'writer', 'bad-address', 'bad-prefix']

it('schema and agent agree about records that somebody wrote by hand, whatever is in them', () => {
  const paths = placesOf(good)
  const odd = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom<unknown>(
      0,
      1,
      2,
      -1,
      65_535,
      65_536,
      2 ** 53 - 1,
      2 ** 53,
      1.5,
      '',
      'a',
      '::1',
      key(1),
      key(0),
      null,
      [],
      {},
    ),
    fc.string({ unit: 'binary', maxLength: 70 }),
  )
  let taken = 0
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom(...paths), odd), { maxLength: 3 }), (changes) => {
      let record: unknown = good
      for (const [path, value] of changes) record = put(record, path, value)
      const plain = JSON.parse(JSON.stringify(record)) as unknown
      const fault = refused(plain)
      const judged = readRecord(plain, { domain: 'test', name: 'node-a' })
      if (judged.ok) taken++
      // Nothing that an agent would take is kept from it; and what gets by was to be judged by the agent.
      if (judged.ok) expect(fault).toBeUndefined()
      else if (fault === undefined) expect(BEYOND).toContain(judged.error.reason)
      // The API server counts code points where the agent counts UTF-16: of texts that are no address anyway.
      else if (misfit(nodeRecordSchema, plain) === undefined) expect(BY_RULE).toContain(judged.error.reason)
    }),
    { numRuns: 3_000, seed: 4 },
  )
  expect(taken).toBeGreaterThan(300)
})

type Path = readonly (string | number)[]

function placesOf(value: unknown, path: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [path]
  const below = Object.entries(value).flatMap(([name, child]) =>
    placesOf(child, [...path, Array.isArray(value) ? Number(name) : name]),
  )
  return path.length === 0 ? below : [path, ...below]
}

function put(into: unknown, [step, ...rest]: Path, value: unknown): unknown {
  if (step === undefined) return value
  if (typeof into !== 'object' || into === null) return into
  const child = put((into as Record<string | number, unknown>)[step], rest, value)
  if (Array.isArray(into)) return into.map((one: unknown, i) => (i === step ? child : one))
  return { ...into, [step]: child }
}

describe('an update of a record', () => {
  it.each<readonly [string, object, string | undefined]>([
    ['is newer', { revision: 8 }, undefined],
    ['is the same', {}, undefined],
    ['is older', { revision: 6 }, 'an older record must not replace a newer one of the same node'],
    ['is of the node made anew, which counts from 0', { nodeUID: 'v', revision: 0, created: 9 }, undefined],
    [
      'says that the node is older than it said',
      { revision: 8, created: 0 },
      'the time of the first record of a node does not change, because it decides who owns a key or a prefix',
    ],
    ['moves to another domain', { revision: 8, domain: 'other' }, 'a node does not change its domain'],
    ['has a new key of a higher generation', { slots: [slot(0, { publicKey: key(9), gen: 1 }), slot(1)] }, undefined],
    [
      'has a new key of the same generation',
      { slots: [slot(0, { publicKey: key(9) }), slot(1)] },
      'a new key has a higher generation, so that a retired key never comes back',
    ],
    ['gives a slot up', { slots: [slot(0)] }, undefined],
  ])('that %s', (_, change, message) => {
    expect(refused({ ...good, ...change }, good)).toBe(message)
  })
})

it('the status of a node is counted and bounded, and is no record', () => {
  const report = {
    ...{ revision: 1, updated: 2, blockedBy: ['node-b'], warnings: [] },
    peers: { expected: 3, active: 2, strict: 0, unproven: 1 },
    slots: [{ id: 0, programmed: 3, proven: 2, keySince: 1 }],
    rotation: { phase: 'waiting', slot: 0, since: 1 },
  }
  const status = (change: object): string | undefined =>
    statuses?.({ metadata: { name: 'node-a' }, report: { ...report, ...change } })
  expect(status({})).toBeUndefined()
  expect(status({ rotation: { phase: 'idle', slot: null, since: 1 } })).toBeUndefined()
  expect(status({ blockedBy: Array<string>(11).fill('node-b') })).toBeDefined()
  expect(status({ peers: { ...report.peers, unproven: -1 } })).toBeDefined()
  expect(status({ slots: undefined })).toBeDefined()
  expect(statuses?.(object(good))).toBeDefined()
})

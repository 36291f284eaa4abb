import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { createLedgerThread, type LedgerThread } from '../../src/agent/ledger-thread.ts'
import { silentLog } from '../../src/core/log.ts'
import { createLearningMemory } from '../../src/fqdn/shared/learning-memory.ts'
import type { LedgerInit } from '../../src/identity/ledger-protocol.ts'
import { makePuppet, type Puppet, soon } from '../support/puppet-thread.ts'

let folder: string
let puppet: Puppet
let ledger: LedgerThread
let restarts: number

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'atk-ledger-'))
  puppet = makePuppet()
  restarts = 0
  const learning = createLearningMemory({
    clients: 2,
    slotsPerClient: 4,
    maxEntries: 16,
    minTtlSeconds: 0,
    graceSeconds: 0,
    seed: [1, 2],
  })
  ledger = createLedgerThread(
    {
      learning,
      kicks: [],
      maps: {} as LedgerInit['maps'],
      proxyPort: 10053,
      policyEntries: 16,
      ipcacheEntries: 16,
      limits: { maxAddressesPerName: 1, maxNamesPerEndpoint: 1, maxEntriesPerEndpoint: 16, maxEntries: 16 },
      conntrackIntervalMs: 1000,
      nodeAddresses: ['192.0.2.1'],
      stateDir: join(folder, 'state'),
      snapshotIntervalMs: 1000,
    },
    puppet.entry,
    silentLog,
    () => void restarts++,
  )
  mkdirSync(join(folder, 'state'))
  await ledger.thread.start()
  await soon(() => expect(puppet.starts).toHaveLength(1))
})
afterEach(async () => {
  puppet.die()
  await ledger.thread.stop()
  puppet.close()
  rmSync(folder, { recursive: true })
})

const types = (): (string | undefined)[] => puppet.heard.map(({ type }) => type)
const policy = (): SharedArrayBuffer => new SharedArrayBuffer(8)
const ack = (generation: number): unknown => ({ type: 'ack', generation, failedEndpoints: [], ms: 1 })
const refused = (generation: number): unknown => ({ type: 'refused', generation, message: 'no' })
const chunk = (text: string): ArrayBuffer => Uint8Array.from(Buffer.from(text)).buffer
const state = (sequence: number, text: string, last: boolean): unknown => ({
  type: 'state',
  sequence,
  chunk: chunk(text),
  last,
})
const snapshot = (): string => readFileSync(join(folder, 'state', 'names.snapshot'), 'utf8')

const heard = (messages: number): Promise<void> => soon(() => expect(puppet.heard).toHaveLength(messages))

/** The puppet dies and is back. */
async function rebirth(): Promise<void> {
  const lives = puppet.starts.length
  puppet.die()
  await soon(() => expect(puppet.starts).toHaveLength(lives + 1))
}

it('resolves an apply with its generation or a newer one, and rejects what is refused', async () => {
  const first = ledger.apply(1, policy())
  const second = ledger.apply(2, policy())
  await soon(() => expect(types()).toEqual(['snapshot', 'snapshot']))
  puppet.say(ack(2))
  await Promise.all([first, second])
  const third = ledger.apply(3, policy())
  await heard(3)
  puppet.say(refused(3))
  await expect(third).rejects.toThrow('no')
})

it('hands the next thread the newest policy, what is settled and the addresses of the node of today', async () => {
  const first = ledger.apply(1, policy())
  await heard(1)
  puppet.say(ack(1))
  await first
  ledger.settled(1)
  ledger.nodes(['192.0.2.2'])
  const second = ledger.apply(2, policy())
  await soon(() => expect(types()).toEqual(['snapshot', 'settled', 'nodes', 'snapshot']))
  await rebirth()
  await soon(() => expect(puppet.heard.slice(4)).toHaveLength(2))
  expect(puppet.heard.slice(4)).toMatchObject([
    { type: 'snapshot', generation: 2 },
    { type: 'settled', generation: 1 },
  ])
  expect(puppet.starts[0]).toMatchObject({ restarted: false, nodeAddresses: ['192.0.2.1'] })
  expect(puppet.starts[1]).toMatchObject({ restarted: true, nodeAddresses: ['192.0.2.2'] })
  expect(restarts).toBe(1)
  // The apply that the dead thread never answered.
  puppet.say(ack(2))
  await second
})

it('hands the next thread the policy in force, not one that was refused', async () => {
  const first = ledger.apply(1, policy())
  await heard(1)
  puppet.say(ack(1))
  await first
  const second = ledger.apply(2, policy())
  await heard(2)
  puppet.say(refused(2))
  await expect(second).rejects.toThrow('no')
  await rebirth()
  await soon(() => expect(puppet.heard.slice(2)).toMatchObject([{ type: 'snapshot', generation: 1 }]))
})

it('hands the next thread no policy when the only one there was is refused', async () => {
  const first = ledger.apply(1, policy())
  await heard(1)
  puppet.say(refused(1))
  await expect(first).rejects.toThrow('no')
  await rebirth()
  ledger.settled(0)
  await soon(() => expect(types()).toEqual(['snapshot', 'settled']))
})

it('writes the parts of a snapshot as one file and says so', async () => {
  puppet.say(state(1, 'one ', false))
  puppet.say(state(1, 'two', true))
  await soon(() => expect(puppet.heard).toMatchObject([{ type: 'stateWritten', sequence: 1, ok: true }]))
  expect(snapshot()).toBe('one two')
  expect(ledger.unsaved).toBeUndefined()
})

it('leaves out parts of a snapshot that was given up', async () => {
  puppet.say(state(1, 'half ', false))
  puppet.say(state(2, 'whole', true))
  await soon(() => expect(puppet.heard).toMatchObject([{ type: 'stateWritten', sequence: 2, ok: true }]))
  expect(snapshot()).toBe('whole')
})

it('forgets the parts that a dead thread left behind', async () => {
  puppet.say(state(1, 'half ', false))
  await rebirth()
  puppet.say(state(1, 'whole', true))
  await soon(() => expect(puppet.heard).toMatchObject([{ type: 'stateWritten', ok: true }]))
  expect(snapshot()).toBe('whole')
})

it('tells that a snapshot could not be written, keeps the one before, and recovers', async () => {
  puppet.say(state(1, 'before', true))
  await soon(() => expect(puppet.heard).toHaveLength(1))
  const path = join(folder, 'state')
  // Root may write everywhere, but not over a folder.
  mkdirSync(join(path, `names.snapshot.tmp-${process.pid}`))
  puppet.say(state(2, 'after', true))
  await soon(() => expect(puppet.heard[1]).toMatchObject({ type: 'stateWritten', sequence: 2, ok: false }))
  expect(ledger.unsaved).toContain('EISDIR')
  expect(snapshot()).toBe('before')
  rmSync(join(path, `names.snapshot.tmp-${process.pid}`), { recursive: true })
  puppet.say(state(3, 'again', true))
  await soon(() => expect(puppet.heard[2]).toMatchObject({ sequence: 3, ok: true }))
  expect(ledger.unsaved).toBeUndefined()
  expect(snapshot()).toBe('again')
})

it('says while the journal cannot be written, until a snapshot is', async () => {
  puppet.say({ type: 'problem', what: 'journal', message: 'cannot be appended to' })
  await soon(() => expect(ledger.unsaved).toBe('the journal cannot be appended to'))
  puppet.say(state(1, 'all of it', true))
  await soon(() => expect(ledger.unsaved).toBeUndefined())
})

it('answers questions by their number', async () => {
  const first = ledger.ask({ kind: 'address', address: '192.0.2.9' })
  const second = ledger.ask({ kind: 'address', address: 'nonsense' })
  await soon(() => expect(types()).toEqual(['query', 'query']))
  puppet.say({ type: 'answer', id: puppet.heard[1]?.['id'], answer: { kind: 'error', message: 'not an IP address' } })
  puppet.say({ type: 'answer', id: puppet.heard[0]?.['id'], answer: { kind: 'names', total: 0, names: [] } })
  expect(await first).toMatchObject({ kind: 'names' })
  expect(await second).toMatchObject({ kind: 'error' })
})

it('gives the tcp thread a new line once its rings are empty', async () => {
  const reset = ledger.resetTcp()
  await soon(() => expect(puppet.heard).toMatchObject([{ type: 'resetClient', client: 0 }]))
  puppet.say({ type: 'clientReset', client: 0, ringGeneration: 1 })
  const port = await reset
  port.close()
})

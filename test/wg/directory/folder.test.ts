import { existsSync, mkdtempSync, readFileSync, rmSync, unlinkSync } from 'node:fs'
import { chmod, link, lstat, mkdir, readdir, rename, symlink, unlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Log } from '../../../src/core/log.ts'
import type { DirectoryEvent } from '../../../src/wg/directory/directory.ts'
import { documentOf, specOf } from '../../../src/wg/directory/document.ts'
import { FolderDirectory, type FolderOptions } from '../../../src/wg/directory/folder.ts'
import { readRecord } from '../../../src/wg/directory/read-record.ts'
import type { NodeRecord } from '../../../src/wg/directory/record.ts'

const RESCAN_MS = 40
/** Scans rest longer where a loaded machine makes them slow. */
const PATIENCE_MS = 10_000

let root = ''
let folder = ''
const open: FolderDirectory[] = []

beforeEach(async () => {
  root = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'wir-folder-'))
  folder = join(root, 'keys')
  await mkdir(folder)
})

afterEach(async () => {
  for (const directory of open.splice(0)) await directory.stop()
  rmSync(root, { recursive: true, force: true })
})

const KEY = { a: 'QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=', b: 'QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=' }

const record = (node: string, revision = 0): NodeRecord => ({
  domain: 'test',
  node,
  nodeUID: `uid-${node}`,
  bootID: 'boot-1',
  created: 1,
  revision,
  endpoints: [{ ip: '192.0.2.1' }],
  prefixes: ['10.1.1.0/24'],
  nodeIPs: [],
  slots: [
    { id: 0, port: 51871, publicKey: KEY.a, gen: 0, since: 1 },
    { id: 1, port: 51872, publicKey: KEY.b, gen: 0, since: 1 },
  ],
  drain: null,
  caps: ['two-slot/1'],
})

class Heard {
  readonly events: DirectoryEvent[] = []
  readonly told: string[] = []

  readonly tell = (event: DirectoryEvent): void => {
    this.events.push(event)
    this.told.push(
      event.kind === 'record'
        ? `record ${event.name} ${(event.value as NodeRecord | undefined)?.revision ?? 'refused'}`
        : event.kind === 'removed'
          ? `removed ${event.name}`
          : event.kind,
    )
  }

  async until(wanted: string, from = 0): Promise<void> {
    for (const end = performance.now() + PATIENCE_MS; !this.told.slice(from).includes(wanted); await sleep(5)) {
      if (performance.now() > end) throw new Error(`never told ${wanted}: ${this.told.join(', ')}`)
    }
  }
}

async function start(
  node: string,
  options: Partial<FolderOptions> = {},
): Promise<{ directory: FolderDirectory; heard: Heard }> {
  const directory = new FolderDirectory({ path: folder, node, rescanMs: RESCAN_MS, ...options })
  const heard = new Heard()
  open.push(directory)
  await directory.start(heard.tell)
  return { directory, heard }
}

const put = (node: string, revision = 0): Promise<void> =>
  writeFile(join(folder, `${node}.yaml`), documentOf(record(node, revision)))
const scans = (n: number): Promise<void> => sleep(n * RESCAN_MS * 2)

test('a record is read back as it was published', async () => {
  const a = await start('node-a')
  await a.directory.publish(record('node-a', 7))
  const text = readFileSync(join(folder, 'node-a.yaml'), 'utf8')
  expect(specOf(text, 'node-a')).toEqual(record('node-a', 7))
  expect(readRecord(specOf(text, 'node-a'), { domain: 'test', name: 'node-a' }).ok).toBe(true)
  expect((await lstat(join(folder, 'node-a.yaml'))).mode & 0o777).toBe(0o644)
  expect(await readdir(folder)).toEqual(['node-a.yaml'])
})

test('everything that stands at the start is told before complete, and each other’s changes after it', async () => {
  await put('node-b', 3)
  const a = await start('node-a')
  expect(a.heard.told).toEqual(['record node-b 3', 'complete'])
  const c = await start('node-c')
  await c.directory.publish(record('node-c', 1))
  await a.heard.until('record node-c 1')
  await c.directory.publish(record('node-c', 2))
  await a.heard.until('record node-c 2')
  expect(a.heard.told.filter((line) => line === 'complete')).toHaveLength(1)
})

test('a change is heard of at once where the file system tells, and without it by comparison', async () => {
  const a = await start('node-a', { rescanMs: 60_000 })
  const began = performance.now()
  await put('node-b', 1)
  await a.heard.until('record node-b 1')
  expect(performance.now() - began).toBeLessThan(1000)
})

test('a record is removed when two listings have not seen it, and not by one', async () => {
  await put('node-b')
  const a = await start('node-a', { rescanMs: 300 })
  await a.directory.publish(record('node-a'))
  await sleep(100)
  await unlink(join(folder, 'node-b.yaml'))
  await sleep(350)
  expect(a.heard.told).not.toContain('removed node-b')
  await a.heard.until('removed node-b')
})

test('a record that is replaced by another writer’s rename was never gone', async () => {
  const b = await start('node-b')
  const a = await start('node-a', { rescanMs: 5 })
  await a.directory.publish(record('node-a'))
  for (let i = 0; i < 40; i++) await b.directory.publish(record('node-b', i))
  await a.heard.until('record node-b 39')
  expect(a.heard.told.filter((line) => line.startsWith('removed') || line.endsWith('refused'))).toEqual([])
})

test.each<[string, string | Buffer]>([
  ['cut short', documentOf(record('node-b')).slice(0, 200)],
  ['empty', ''],
  ['no YAML', '{{{{'],
  ['deeply nested', '['.repeat(60_000)],
  ['binary', Buffer.from([0xff, 0xfe, 0, 1])],
  ['too large', documentOf(record('node-b')) + '#'.repeat(65 * 1024)],
  ['another kind', documentOf(record('node-b')).replace('WireGuardNode', 'WireGuardEdge')],
  ['another node’s', documentOf(record('node-c'))],
  ['two documents', `${documentOf(record('node-b'))}---\n${documentOf(record('node-b'))}`],
  [
    'built of aliases',
    'a: &a [x]\napiVersion: sekisho.dev/v1alpha1\nkind: WireGuardNode\nmetadata: {name: node-b}\nspec: {x: *a}',
  ],
])('a file that is %s is a record that is refused, and no record that is removed', async (_what, content) => {
  await put('node-b', 1)
  const a = await start('node-a')
  await a.directory.publish(record('node-a'))
  await writeFile(join(folder, 'node-b.yaml'), content)
  await a.heard.until('record node-b refused')
  await scans(3)
  expect(a.heard.told).not.toContain('removed node-b')
  const last = a.heard.events.findLast((event) => event.kind === 'record' && event.name === 'node-b')
  expect(last).toMatchObject({ value: undefined })
  await put('node-b', 2)
  await a.heard.until('record node-b 2')
})

test('links, folders and other names are not read', async () => {
  await writeFile(join(root, 'elsewhere'), documentOf(record('node-l')))
  await symlink(join(root, 'elsewhere'), join(folder, 'node-l.yaml'))
  await mkdir(join(folder, 'node-d.yaml'))
  await writeFile(join(folder, 'Node_X.yaml'), documentOf(record('node-x')))
  await writeFile(join(folder, '.node-h.yaml.0123456789abcdef'), 'half')
  await writeFile(join(folder, 'notes.txt'), 'hello')
  await link(join(root, 'elsewhere'), join(folder, 'node-m.yaml'))
  const a = await start('node-a')
  expect(a.heard.told.sort()).toEqual(
    ['complete', 'record node-d refused', 'record node-l refused', 'record node-m refused'].sort(),
  )
})

test('what a writer of ours left when it died is taken away, what others write is not', async () => {
  const old = new Date(Date.now() - 3_600_000)
  for (const name of ['.node-a.yaml.0123456789abcdef', '.node-b.yaml.0123456789abcdef']) {
    await writeFile(join(folder, name), 'half')
    await utimes(join(folder, name), old, old)
  }
  await writeFile(join(folder, '.node-a.yaml.fedcba9876543210'), 'young')
  await start('node-a')
  expect((await readdir(folder)).sort()).toEqual(['.node-a.yaml.fedcba9876543210', '.node-b.yaml.0123456789abcdef'])
})

test('a folder that is not there is lost, and heard of when it comes', async () => {
  await rename(folder, `${folder}-away`)
  const a = await start('node-a')
  expect(a.heard.told).toEqual(['lost'])
  await expect(a.directory.publish(record('node-a'))).rejects.toMatchObject({ code: 'SEKISHO_WG_DIRECTORY' })
  await rename(`${folder}-away`, folder)
  await put('node-b', 1)
  await a.heard.until('complete')
  expect(a.heard.told).toEqual(['lost', 'record node-b 1', 'complete'])
  await a.directory.publish(record('node-a'))
})

test.each([true, false])(
  'an empty folder in the place of ours takes nobody away (published: %s)',
  async (published) => {
    await put('node-b', 1)
    await put('node-c', 1)
    const a = await start('node-a')
    if (published) await a.directory.publish(record('node-a'))
    await scans(1)
    await rename(folder, `${folder}-mounted`)
    await mkdir(folder)
    await a.heard.until('lost')
    await scans(4)
    expect(a.heard.told.filter((line) => line.startsWith('removed'))).toEqual([])
    expect(await readdir(folder)).toEqual([])
    await expect(a.directory.publish(record('node-a', 1))).rejects.toThrow('another folder')
    rmSync(folder, { recursive: true })
    await rename(`${folder}-mounted`, folder)
    const from = a.heard.told.length
    await put('node-b', 2)
    await a.heard.until('record node-b 2', from)
    await a.heard.until('complete', from)
    await a.directory.publish(record('node-a', 1))
  },
)

test('our own record is published again when somebody deletes it', async () => {
  await put('node-b', 1)
  const a = await start('node-a')
  await a.directory.publish(record('node-a', 4))
  await scans(1)
  await unlink(join(folder, 'node-a.yaml'))
  for (const end = performance.now() + PATIENCE_MS; !existsSync(join(folder, 'node-a.yaml')); await sleep(5)) {
    expect(performance.now()).toBeLessThan(end)
  }
  expect(specOf(readFileSync(join(folder, 'node-a.yaml'), 'utf8'), 'node-a')).toEqual(record('node-a', 4))
})

test('our own record is put right when somebody changes it, and what is newest wins', async () => {
  const a = await start('node-a')
  await a.directory.publish(record('node-a', 4))
  await put('node-a', 99)
  await a.directory.publish(record('node-a', 5))
  await put('node-a', 99)
  const own = (): unknown => specOf(readFileSync(join(folder, 'node-a.yaml'), 'utf8'), 'node-a')
  for (const end = performance.now() + PATIENCE_MS; (own() as NodeRecord).revision !== 5; await sleep(5)) {
    expect(performance.now()).toBeLessThan(end)
  }
})

/** In one turn of the event loop, so that no listing comes between two. */
function unlinkAll(names: readonly string[]): void {
  for (const name of names) unlinkSync(join(folder, name))
}

test('when all files are deleted at once nobody is called removed, and who lives comes back', async () => {
  const a = await start('node-a')
  const b = await start('node-b')
  await put('node-c', 1)
  await a.directory.publish(record('node-a', 1))
  await b.directory.publish(record('node-b', 1))
  await a.heard.until('record node-b 1')
  await a.heard.until('record node-c 1')
  await scans(1)
  unlinkAll(await readdir(folder))
  await scans(6)
  expect((await readdir(folder)).sort()).toEqual(['node-a.yaml', 'node-b.yaml'])
  expect([...a.heard.told, ...b.heard.told].filter((line) => line.startsWith('removed'))).toEqual([])
  // One that is deleted alone afterwards is.
  await b.directory.stop()
  await unlink(join(folder, 'node-b.yaml'))
  await a.heard.until('removed node-b')
  expect(a.heard.told).not.toContain('removed node-c')
})

test('when most others vanish at once and ours does not, nobody is called removed either', async () => {
  for (const node of ['node-b', 'node-c', 'node-d']) await put(node, 1)
  const a = await start('node-a')
  await a.directory.publish(record('node-a', 1))
  await scans(1)
  unlinkAll(['node-b.yaml', 'node-c.yaml', 'node-d.yaml'])
  await scans(6)
  expect(a.heard.told.filter((line) => line.startsWith('removed'))).toEqual([])
})

test('what vanished together with ours is called removed when it stays away', async () => {
  await put('node-b', 1)
  const a = await start('node-a', { togetherMs: 400 })
  await a.directory.publish(record('node-a', 1))
  await scans(1)
  unlinkAll(await readdir(folder))
  await sleep(250)
  expect(a.heard.told).not.toContain('removed node-b')
  await a.heard.until('removed node-b')
})

test('a withdrawn record is gone for others, and is not put back', async () => {
  const a = await start('node-a')
  const b = await start('node-b')
  await a.directory.publish(record('node-a', 1))
  await b.directory.publish(record('node-b', 1))
  await b.heard.until('record node-a 1')
  await a.directory.withdraw()
  await b.heard.until('removed node-a')
  await scans(3)
  expect(await readdir(folder)).toEqual(['node-b.yaml'])
})

test('a folder that cannot be written is an error with a code, and leaves nothing behind', async () => {
  await mkdir(join(folder, 'node-a.yaml'))
  const a = await start('node-a')
  await expect(a.directory.publish(record('node-a'))).rejects.toMatchObject({
    code: 'SEKISHO_WG_DIRECTORY',
    hint: expect.stringContaining(folder) as string,
  })
  expect(await readdir(folder)).toEqual(['node-a.yaml'])
})

test('more records than the limit: who is known stays, the rest is left out and said', async () => {
  const warnings: string[] = []
  const log: Log = { debug() {}, info() {}, error() {}, warn: (_fields, message) => void warnings.push(message) }
  for (const node of ['node-k', 'node-l']) await put(node, 1)
  const a = await start('node-a', { maxRecords: 3, log })
  for (let i = 0; i < 6; i++) await put(`flood-${i}`, 1)
  await scans(3)
  await put('node-k', 2)
  await put('node-l', 2)
  await a.heard.until('record node-k 2')
  await a.heard.until('record node-l 2')
  expect(a.heard.told.filter((line) => line.startsWith('record flood')).length).toBeLessThanOrEqual(1)
  for (const end = performance.now() + PATIENCE_MS; warnings.length === 0; await sleep(5)) {
    expect(performance.now()).toBeLessThan(end)
  }
  expect(warnings.join()).toContain('too many records')
})

test('a file that nobody may read is refused alone', async () => {
  await put('node-b', 1)
  await chmod(join(folder, 'node-b.yaml'), 0)
  await put('node-c', 1)
  const a = await start('node-a')
  // Root reads it all the same.
  expect(a.heard.told).toContain(process.geteuid?.() === 0 ? 'record node-b 1' : 'record node-b refused')
  expect(a.heard.told).toContain('record node-c 1')
})

test('nothing is told after a stop', async () => {
  const a = await start('node-a')
  await a.directory.stop()
  const before = a.heard.told.length
  await put('node-b', 1)
  await scans(3)
  expect(a.heard.told).toHaveLength(before)
})

test('the folder tells when it was last read whole, also while nothing changes in it and while it is gone', async () => {
  const directory = new FolderDirectory({ path: folder, node: 'n1', rescanMs: RESCAN_MS })
  open.push(directory)
  expect(directory.ageMs()).toBeUndefined()
  const heard = new Heard()
  await directory.start(heard.tell)
  await heard.until('complete')
  await sleep(RESCAN_MS * 5)
  expect(heard.told).toEqual(['complete'])
  for (const end = performance.now() + PATIENCE_MS; (directory.ageMs() ?? 0) > RESCAN_MS * 2; await sleep(5)) {
    if (performance.now() > end) throw new Error('it grows older while it is read')
  }
  await rename(folder, `${folder}.away`)
  await sleep(RESCAN_MS * 8)
  expect(directory.ageMs()).toBeGreaterThan(RESCAN_MS * 6)
})

test.each([
  ['seven thousand keys', Array.from({ length: 7000 }, (_, i) => `k${i}: 1`).join('\n')],
  ['a flow of nine thousand keys', `{${Array.from({ length: 6000 }, (_, i) => `k${i}`).join(',')}}`],
  ['lists in lists', '['.repeat(60_000)],
  ['maps in maps', '{a: '.repeat(15_000)],
  ['questions', '? '.repeat(30_000)],
  ['lists in lists in a line', '- '.repeat(30_000)],
])('a text of %s costs nobody time', (_, text) => {
  const small = text.slice(0, 20_000)
  const begun = performance.now()
  expect([specOf(`${text}\n...\n`, 'n1'), specOf(`${small}\n...\n`, 'n1')]).toEqual([undefined, undefined])
  expect(performance.now() - begun).toBeLessThan(250)
})

test('the largest record there can be is read', () => {
  const six = (i: number): string => `2001:db8:1111:2222:3333:4444:5555:${(0x1000 + i).toString(16)}`
  const most: NodeRecord = {
    ...record('n1', Number.MAX_SAFE_INTEGER),
    node: `${'a'.repeat(252)}b`,
    endpoints: Array.from({ length: 16 }, (_, i) => ({ ip: six(i) })),
    prefixes: Array.from({ length: 64 }, (_, i) => `${six(i)}/128`),
    nodeIPs: Array.from({ length: 32 }, (_, i) => six(i)),
    drain: { slot: 0, seq: Number.MAX_SAFE_INTEGER, since: Number.MAX_SAFE_INTEGER, reason: 'Compromise' },
    caps: Array.from({ length: 32 }, (_, i) => 'c'.repeat(60) + String(i)),
  }
  expect(specOf(documentOf(most), most.node)).toEqual(most)
})

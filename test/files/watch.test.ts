import { mkdtemp, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readFileSet } from '../../src/files/tree.ts'
import { watchPaths } from '../../src/files/watch.ts'

let root = ''
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'sekisho-files-'))
})
afterEach(() => rm(root, { recursive: true, force: true }))

describe('a file set', () => {
  it('is every policy file of a directory in order, and single files as named', async () => {
    await mkdir(join(root, 'd'))
    for (const name of ['b.yaml', 'a.yml', 'c.json', 'note.txt', '.hidden.yaml'])
      await writeFile(join(root, 'd', name), name)
    await writeFile(join(root, 'single'), 'single')
    const set = await readFileSet([join(root, 'd'), join(root, 'single')])
    expect(set.files.map((file) => file.text)).toEqual(['a.yml', 'b.yaml', 'c.json', 'single'])
    expect(set.problems).toEqual([])
  })

  it('names the paths that cannot be read', async () => {
    const set = await readFileSet([join(root, 'none.yaml')])
    expect(set.files).toEqual([])
    expect(set.problems).toHaveLength(1)
    expect(set.problems[0]?.path).toBe(join(root, 'none.yaml'))
  })
})

/** Runs `act` and resolves with the ms until the watcher called, or rejects after a second. */
async function timeToChange(paths: string[], act: () => Promise<void>, pollMs?: number): Promise<number> {
  let called: () => void = () => undefined
  const change = new Promise<void>((resolve) => (called = resolve))
  const watcher = watchPaths({
    paths,
    onChange: async () => called(),
    ...(pollMs === undefined ? {} : { pollMs }),
  })
  await watcher.start()
  try {
    const before = performance.now()
    await act()
    await Promise.race([
      change,
      new Promise((_, reject) => setTimeout(() => reject(new Error('no change was seen')), 1000)),
    ])
    return performance.now() - before
  } finally {
    await watcher.stop()
  }
}

describe('a watch', () => {
  it('sees a file written in place', async () => {
    const path = join(root, 'p.yaml')
    await writeFile(path, 'one')
    expect(await timeToChange([path], () => writeFile(path, 'other'))).toBeLessThan(500)
  })

  it('sees a file replaced by rename', async () => {
    const path = join(root, 'p.yaml')
    await writeFile(path, 'one')
    await writeFile(join(root, 'tmp'), 'two')
    expect(await timeToChange([path], () => rename(join(root, 'tmp'), path))).toBeLessThan(500)
  })

  it('sees the links of a ConfigMap swapped', async () => {
    for (const version of ['v1', 'v2']) {
      await mkdir(join(root, version))
      await writeFile(join(root, version, 'p.yaml'), version)
    }
    await symlink('v1', join(root, '..data'))
    await symlink('..data/p.yaml', join(root, 'p.yaml'))
    await symlink('v2', join(root, 'next'))
    await timeToChange([root], () => rename(join(root, 'next'), join(root, '..data')))
    expect((await readFileSet([root])).files.map((file) => file.text)).toEqual(['v2'])
  })

  it('finds a directory that comes later', async () => {
    const directory = join(root, 'later')
    const act = async (): Promise<void> => {
      await mkdir(directory)
      await writeFile(join(directory, 'p.yaml'), 'x')
    }
    expect(await timeToChange([directory], act, 100)).toBeLessThan(1000)
  })

  it('stays quiet when nothing changes', async () => {
    const path = join(root, 'p.yaml')
    await writeFile(path, 'one')
    await expect(timeToChange([path], () => writeFile(join(root, 'beside.txt'), 'x'), 100)).rejects.toThrow('no change')
  })
})

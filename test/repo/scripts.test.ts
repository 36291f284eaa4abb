import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { files, read, ROOT } from './tree.ts'

const scripts = files(/\.sh$|^bin\/|^\.ci\/run$/)

test.each(scripts)('%s is executable, and its shell can read it', (path) => {
  accessSync(join(ROOT, path), constants.X_OK)
  const shell = /^#!\/bin\/(sh|bash)\n/.exec(read(path))?.[1]
  expect(shell).toBeDefined()
  const done = spawnSync(shell ?? '', ['-n', path], { cwd: ROOT, encoding: 'utf8' })
  expect(done.stderr).toBe('')
  expect(done.status).toBe(0)
})

test('shellcheck has nothing to say', () => {
  const done = spawnSync('shellcheck', [...scripts], { cwd: ROOT, encoding: 'utf8' })
  // ENOENT: `make setup` installs it.
  expect(done.error).toBeUndefined()
  expect(done.stdout).toBe('')
  expect(done.status).toBe(0)
})

test('the targets that pages name exist', () => {
  const makefiles = read('Makefile') + read('lab/lab.mk')
  const pages = files(/^[A-Z]+\.md$|^docs\/.*\.md$|^deploy\/.*\.md$/)
    .map(read)
    .join('\n')
  const named = new Set([...pages.matchAll(/(?:^|`)make ([a-z][a-z0-9-]*)/gm)].map(([, target]) => target))
  expect(named.size).toBeGreaterThan(5)
  for (const target of named)
    expect(makefiles, `make ${target}`).toMatch(new RegExp(`^([a-z0-9 -]+ )?${target}( [a-z0-9 -]+)?:`, 'm'))
})

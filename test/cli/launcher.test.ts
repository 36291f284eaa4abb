import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync, copyFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { VERSION } from '../../src/core/version.ts'

const launcher = join(import.meta.dirname, '../../bin/sekisho')
let dir = ''

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'sekisho-launcher-'))
})
afterEach(() => {
  rmSync(dir, { recursive: true })
})

test('runs through a chain of links from any folder', () => {
  symlinkSync(launcher, join(dir, 'one'))
  symlinkSync('one', join(dir, 'two'))
  expect(execFileSync(join(dir, 'two'), ['version'], { cwd: '/', encoding: 'utf8' })).toContain(VERSION)
})

test('files that hang leave threads for netlink, unless somebody says how many', () => {
  const threads = (env: NodeJS.ProcessEnv): string => {
    mkdirSync(join(dir, 'home/bin'), { recursive: true })
    mkdirSync(join(dir, 'home/src'), { recursive: true })
    mkdirSync(join(dir, 'home/node_modules/fastify'), { recursive: true })
    copyFileSync(launcher, join(dir, 'home/bin/sekisho'))
    writeFileSync(join(dir, 'home/src/main.ts'), 'console.log(process.env.UV_THREADPOOL_SIZE)')
    const path = `${dirname(process.execPath)}:/usr/bin:/bin`
    return execFileSync(join(dir, 'home/bin/sekisho'), [], { encoding: 'utf8', env: { PATH: path, ...env } }).trim()
  }
  expect(threads({})).toBe('16')
  expect(threads({ UV_THREADPOOL_SIZE: '9' })).toBe('9')
})

test('an old Node is passed over, and the message says what to do', () => {
  mkdirSync(join(dir, 'bin'))
  copyFileSync(launcher, join(dir, 'bin/sekisho'))
  const old = join(dir, 'node')
  writeFileSync(old, '#!/bin/sh\necho 20\n')
  chmodSync(old, 0o755)
  const done = spawnSync(join(dir, 'bin/sekisho'), ['version'], {
    encoding: 'utf8',
    env: { PATH: `${dir}:/usr/bin:/bin` },
  })
  const system = spawnSync('/usr/bin/node', ['-p', 'process.versions.node'], { encoding: 'utf8' }).stdout ?? ''
  expect(done.status).toBe(69)
  // Where the system's own Node is new enough, the packages are what is missing here.
  expect(done.stderr).toContain(Number.parseInt(system) >= 24 ? 'packages are missing' : 'Node 24 or later is needed')
  expect(done.stderr).toContain(`make -C '${dir}' setup`)
})

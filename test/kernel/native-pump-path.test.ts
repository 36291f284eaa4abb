import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { PATH_EPOLL, PATH_IO_URING } from '../../src/native/binding.ts'

const fixture = (name: string): string => new URL(`./fixtures/${name}`, import.meta.url).pathname
const directory = mkdtempSync(join(tmpdir(), 'sekisho-pump-'))
const launcher = join(directory, 'without-io-uring')

const paths = (...before: string[]): unknown => {
  const [command = '', ...args] = [...before, process.execPath, fixture('pump-path.ts')]
  return JSON.parse(execFileSync(command, args, { encoding: 'utf8' }))
}

beforeAll(() => execFileSync('gcc', ['-Wall', '-Werror', '-o', launcher, fixture('without-io-uring.c')]))
afterAll(() => rmSync(directory, { recursive: true }))

test('io_uring is taken where the kernel gives it', () => {
  expect(paths()).toEqual({
    auto: { got: PATH_IO_URING, received: 1, left: 0 },
    epoll: { got: PATH_EPOLL, received: 1, left: 0 },
    io_uring: { got: PATH_IO_URING, received: 1, left: 0 },
  })
})

test('where it is forbidden, epoll is taken, and asking for io_uring says why it cannot be had', () => {
  expect(paths(launcher)).toEqual({
    auto: { got: PATH_EPOLL, received: 1, left: 0 },
    epoll: { got: PATH_EPOLL, received: 1, left: 0 },
    io_uring: { syscall: 'io_uring_setup', errnoName: 'EPERM', left: 0, live: 0 },
  })
})

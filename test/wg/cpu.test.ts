import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { createCpuSampler } from '../../src/wg/cpu-sampler.ts'
import { kernelOwner, parseStat } from '../../src/wg/cpu.ts'

const made: string[] = []
afterEach(() => {
  for (const folder of made.splice(0)) rmSync(folder, { recursive: true })
})

const KTHREAD = 0x0020_8060
const stat = (pid: number, name: string, flags: number, user: number, system: number, startedAt = 5): string =>
  `${pid} (${name}) S 2 0 0 0 -1 ${flags} 0 0 0 0 ${user} ${system} 0 0 20 0 1 0 ${startedAt} 0 0 18446744073709551615\n`

interface Entry {
  readonly stat: string
  readonly cmdline?: string
}

function proc(): { readonly root: string; readonly put: (pid: number, entry: Entry) => void } {
  const root = mkdtempSync(join(tmpdir(), 'srf-proc-'))
  made.push(root)
  mkdirSync(join(root, 'sys'))
  return {
    root,
    put(pid, entry) {
      mkdirSync(join(root, String(pid)), { recursive: true })
      writeFileSync(join(root, String(pid), 'stat'), entry.stat)
      writeFileSync(join(root, String(pid), 'cmdline'), entry.cmdline ?? '')
    },
  }
}

const DEVICES = [
  { slot: 0, device: 'kwg0' },
  { slot: 1, device: 'kwg1' },
] as const

test('a line of stat is read from the last parenthesis on', () => {
  expect(parseStat(stat(7, 'a) b (c', KTHREAD, 3, 4, 99))).toEqual({
    pid: 7,
    name: 'a) b (c',
    kernel: true,
    ticks: 7,
    startedAt: 99,
  })
  expect(parseStat(stat(8, 'node', 0x40_4000, 1, 1))).toMatchObject({ kernel: false, ticks: 2 })
  for (const text of ['', '7', '7 (x', '7 x) S', '7 (x) S 1 2', stat(7, 'x', NaN, 1, 1), ') 7 ( S']) {
    expect(parseStat(text)).toBeUndefined()
  }
})

test('our own line is read', () => {
  const own = parseStat(readFileSync('/proc/self/stat', 'utf8'))
  expect(own).toMatchObject({ pid: process.pid, kernel: false })
  expect(own?.ticks).toBeGreaterThan(0)
})

test.each([
  ['kworker/3:1-wg-crypt-kwg0', { device: 'kwg0', work: 'crypt' }],
  ['kworker/3:1+wg-crypt-kwg1', { device: 'kwg1', work: 'crypt' }],
  ['kworker/u8:2-wg-kex-a-b_0', { device: 'a-b_0', work: 'kex' }],
  ['napi/kwg0-8193', { device: 'kwg0', work: 'napi' }],
  ['kworker/3:1-events', undefined],
  ['kworker/u9:0', undefined],
  ['wg-crypt-kwg0', undefined],
  ['kworker/3:1-xwg-crypt-kwg0', undefined],
])('%s is the thread of %j', (name, owner) => {
  expect(kernelOwner(name)).toEqual(owner)
})

test('what a worker used since the last sample belongs to the queue it worked on last', async () => {
  const { root, put } = proc()
  const sampler = createCpuSampler({ devices: DEVICES, proc: root })
  put(2, { stat: stat(2, 'kthreadd', KTHREAD, 0, 1) })
  put(30, { stat: stat(30, 'kworker/0:1-events', KTHREAD, 0, 1000) })
  put(31, { stat: stat(31, 'kworker/1:1+wg-crypt-kwg1', KTHREAD, 0, 500) })
  await sampler.sample()
  // What was used before the first look is nobody's.
  expect(sampler.totals()).toEqual([])
  put(30, { stat: stat(30, 'kworker/0:1-wg-crypt-kwg0', KTHREAD, 0, 1250) })
  put(31, { stat: stat(31, 'kworker/1:1-wg-crypt-kwg1', KTHREAD, 0, 600) })
  put(32, { stat: stat(32, 'napi/kwg0-8193', KTHREAD, 0, 70) })
  await sampler.sample()
  put(30, { stat: stat(30, 'kworker/0:1-mm_percpu_wq', KTHREAD, 0, 2000) })
  // Another thread with an old number.
  put(31, { stat: stat(31, 'kworker/1:1-wg-crypt-kwg1', KTHREAD, 0, 900, 77) })
  put(32, { stat: stat(32, 'napi/kwg0-8193', KTHREAD, 0, 75) })
  await sampler.sample()
  expect(sampler.visible).toBe(true)
  expect(sampler.totals()).toEqual([
    { slot: 0, work: 'crypt', seconds: 2.5 },
    { slot: 1, work: 'crypt', seconds: 1 },
    { slot: 0, work: 'napi', seconds: 0.05 },
  ])
})

test('processes of the userspace driver count by the device they were started with', async () => {
  const { root, put } = proc()
  const sampler = createCpuSampler({ devices: DEVICES, command: '/usr/bin/wireguard-go', proc: root })
  const at = (ticks: number): void => {
    put(40, { stat: stat(40, 'wireguard-go', 0, ticks, 1), cmdline: 'wireguard-go\0kwg1\0' })
    put(41, { stat: stat(41, 'wireguard-go', 0, ticks, 1), cmdline: 'wireguard-go\0wg7\0' })
    put(42, { stat: stat(42, 'nginx', 0, ticks, 1), cmdline: 'nginx\0kwg1\0' })
  }
  at(100)
  await sampler.sample()
  at(300)
  await sampler.sample()
  expect(sampler.totals()).toEqual([{ slot: 1, work: undefined, seconds: 2 }])
  expect(sampler.visible).toBe(false)
})

test('a number that a stranger had is looked at again after a while', async () => {
  const { root, put } = proc()
  const sampler = createCpuSampler({ devices: DEVICES, proc: root })
  put(50, { stat: stat(50, 'bash', 0, 1, 1) })
  await sampler.sample()
  for (let i = 0; i < 8; i++) {
    put(50, { stat: stat(50, 'kworker/0:1-wg-kex-kwg0', KTHREAD, 0, i * 100, 60) })
    await sampler.sample()
  }
  expect(sampler.totals()).toEqual([{ slot: 0, work: 'kex', seconds: 2 }])
})

test('the timer samples until it is stopped; a folder that is not there costs nothing', async () => {
  const sampler = createCpuSampler({ devices: DEVICES, proc: '/nonexistent', intervalMs: 1 })
  await sampler.start()
  await sampler.stop()
  expect(sampler.totals()).toEqual([])
  const real = createCpuSampler({ devices: DEVICES, intervalMs: 5 })
  await real.start()
  await real.stop()
  // A container without the host's PID namespace sees no kernel threads.
  const second = existsSync('/proc/2/comm') ? readFileSync('/proc/2/comm', 'utf8') : ''
  expect(real.visible).toBe(second === 'kthreadd\n')
})

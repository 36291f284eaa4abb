import { expect, it, vi } from 'vitest'
import { silentLog } from '../../src/core/log.ts'
import { superviseThread } from '../../src/threads/supervisor.ts'

const entry = (code: string): URL => new URL(`data:text/javascript,${encodeURIComponent(code)}`)

const flags = (): Int32Array => new Int32Array(new SharedArrayBuffer(8))

function options(code: string, shared: Int32Array, onMessage: (message: unknown) => void = () => undefined) {
  const ring = (): void => {
    Atomics.notify(shared, 0)
  }
  return {
    name: 'subject',
    entry: entry(`import { parentPort, workerData } from 'node:worker_threads'; ${code}`),
    data: () => ({ workerData: shared }),
    onMessage,
    askToStop: () => {
      Atomics.store(shared, 0, 1)
      ring()
    },
    wake: ring,
    log: silentLog,
    stopMs: 300,
  }
}

it('starts a thread that dies again', async () => {
  const shared = flags()
  const seen: unknown[] = []
  let third: () => void = () => undefined
  const thirdStart = new Promise<void>((resolve) => (third = resolve))
  const thread = superviseThread(
    options(`parentPort.postMessage(Atomics.add(workerData, 1, 1)); throw new Error('dies')`, shared, (message) => {
      seen.push(message)
      if (seen.length === 3) third()
    }),
  )
  await thread.start()
  await thirdStart
  await thread.stop()
  expect(seen.slice(0, 3)).toEqual([0, 1, 2])
  expect(thread.restarts).toBeGreaterThanOrEqual(2)
  expect(thread.alive).toBe(false)
})

it('lets a thread end by itself when asked', async () => {
  const shared = flags()
  const thread = superviseThread(options(`Atomics.wait(workerData, 0, 0); Atomics.store(workerData, 1, 7)`, shared))
  await thread.start()
  await thread.stop()
  expect(shared[1]).toBe(7)
  expect(thread.alive).toBe(false)
})

it('ends a thread that does not listen', async () => {
  const shared = flags()
  let ready: () => void = () => undefined
  const up = new Promise<void>((resolve) => (ready = resolve))
  const thread = superviseThread(options(`parentPort.postMessage(1); for (;;) Math.random()`, shared, () => ready()))
  await thread.start()
  await up
  const before = performance.now()
  await thread.stop()
  expect(performance.now() - before).toBeLessThan(2000)
  expect(thread.alive).toBe(false)
})

it('has one thread only, also when it is stopped and started while the next one is being prepared', async () => {
  const shared = flags()
  let prepared: () => void = () => undefined
  let preparing = 0
  const thread = superviseThread({
    ...options(`Atomics.add(workerData, 1, 1) === 0 ? process.exit(1) : Atomics.wait(workerData, 0, 0)`, shared),
    beforeRestart: () =>
      new Promise<void>((resolve) => {
        preparing++
        prepared = resolve
      }),
  })
  await thread.start()
  await vi.waitFor(() => expect(preparing).toBe(1))
  await thread.stop()
  await thread.start()
  prepared()
  await vi.waitFor(() => expect(shared[1]).toBe(2))
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(shared[1]).toBe(2)
  await thread.stop()
  expect(thread.alive).toBe(false)
})

it('tries again when a thread cannot be started again', async () => {
  const shared = flags()
  let attempts = 0
  let preparations = 0
  const base = options(`Atomics.add(workerData, 1, 1) === 0 ? process.exit(1) : Atomics.wait(workerData, 0, 0)`, shared)
  const thread = superviseThread({
    ...base,
    data() {
      if (++attempts === 2) throw new Error('not yet')
      return base.data()
    },
    beforeRestart: () => (++preparations === 2 ? Promise.reject(new Error('nor now')) : Promise.resolve()),
  })
  await thread.start()
  await vi.waitFor(() => expect(shared[1]).toBe(2), 5000)
  expect([attempts, preparations, thread.restarts]).toEqual([3, 3, 1])
  await thread.stop()
})

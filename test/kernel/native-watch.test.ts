import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, test } from 'vitest'
import { loadNative } from '../../src/native/load.ts'
import { whenReadable } from '../../src/native/readable.ts'
import { LOOPBACK4, openDescriptors, thrownBy } from '../native/support.ts'

const ROUNDS = 1000
const native = loadNative()
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5000
  while (!condition() && performance.now() < deadline) await turn()
  expect(condition()).toBe(true)
}

afterEach(() => expect(native.liveHandles()).toBe(0))

describe('a watch', () => {
  test('calls once for each time it is armed, when there is something to read', async () => {
    const event = native.openEvent()
    let calls = 0
    const watch = native.watchOpen(event, () => calls++)
    native.kick(event)
    await pause(20)
    expect(calls).toBe(0)
    native.watchArm(watch)
    await pause(20)
    expect(calls).toBe(1)
    // What nobody has read is still there.
    native.watchArm(watch)
    await pause(20)
    expect(calls).toBe(2)
    native.watchClose(watch)
    native.close(event)
  })

  test('is silent while there is nothing, and quick when something comes', async () => {
    const event = native.openEvent()
    let calls = 0
    const watch = native.watchOpen(event, () => calls++)
    native.watchArm(watch)
    await pause(100)
    expect(calls).toBe(0)
    const kickedAt = performance.now()
    native.kick(event)
    await until(() => calls === 1)
    expect(performance.now() - kickedAt).toBeLessThan(50)
    native.watchClose(watch)
    native.close(event)
  })

  test('is called for the error of a socket', async () => {
    const listener = native.openUdpListener({ address: LOOPBACK4, port: 0, transparent: false })
    const port = native.localPort(listener)
    native.close(listener)
    const upstream = native.openTcpUpstream({ server: LOOPBACK4, port })
    let calls = 0
    const watch = native.watchOpen(upstream, () => calls++)
    native.watchArm(watch)
    await until(() => calls === 1)
    native.watchClose(watch)
    native.close(upstream)
  })

  test('that is closed is not called any more, and takes no orders', async () => {
    const event = native.openEvent()
    let calls = 0
    const watch = native.watchOpen(event, () => calls++)
    native.watchArm(watch)
    native.kick(event)
    native.watchClose(watch)
    await pause(20)
    expect(calls).toBe(0)
    expect(thrownBy(() => native.watchArm(watch)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
    expect(thrownBy(() => native.watchClose(watch)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
    native.close(event)
  })

  test('cannot be had of what nobody can wait for, what is closed, and twice', () => {
    const errnoOf = (fd: number): string | undefined => thrownBy(() => native.watchOpen(fd, () => undefined)).errnoName
    const file = openSync('/proc/self/exe', 'r')
    expect(errnoOf(file)).toBe('EPERM')
    closeSync(file)
    expect(errnoOf(file)).toBe('EBADF')
    const event = native.openEvent()
    const watch = native.watchOpen(event, () => undefined)
    expect(errnoOf(event)).toBe('EEXIST')
    native.watchClose(watch)
    native.close(event)
  })

  test('may close itself and open another one from its call', async () => {
    const event = native.openEvent()
    native.kick(event)
    let calls = 0
    const again = (): void => {
      const watch = native.watchOpen(event, () => {
        native.watchClose(watch)
        if (++calls < 10) again()
      })
      native.watchArm(watch)
    }
    again()
    await until(() => calls === 10)
    native.close(event)
  })

  test(`${ROUNDS} rounds leave no descriptor and no handle`, async () => {
    const event = native.openEvent()
    native.kick(event)
    let calls = 0
    const before = openDescriptors()
    for (let i = 0; i < ROUNDS; i++) {
      const watch = native.watchOpen(event, () => calls++)
      native.watchArm(watch)
      if (i % 2 === 0) await turn()
      native.watchClose(watch)
    }
    await turn()
    expect(calls).toBeGreaterThan(0)
    expect(openDescriptors()).toBe(before)
    native.close(event)
  })

  test('that JavaScript has let go of is freed by the collector', async () => {
    setFlagsFromString('--expose-gc')
    const gc = runInNewContext('gc') as () => void
    const events = Array.from({ length: 50 }, () => native.openEvent())
    for (const event of events) native.watchArm(native.watchOpen(event, () => undefined))
    expect(native.liveHandles()).toBe(50)
    const deadline = performance.now() + 5000
    while (native.liveHandles() > 0 && performance.now() < deadline) {
      gc()
      await turn()
    }
    for (const event of events) native.close(event)
  })

  test('does not keep a thread alive, and ends with it: at its exit, amid a call, and when it is terminated', async () => {
    for (const mode of ['leave', 'exit', 'stay']) {
      const before = openDescriptors()
      const worker = new Worker(new URL('./fixtures/watch-thread.ts', import.meta.url), { workerData: { mode } })
      const exit = once(worker, 'exit')
      const [{ event }] = (await once(worker, 'message')) as [{ event: number }]
      if (mode === 'stay') await worker.terminate()
      await exit
      expect(openDescriptors()).toBe(before + 1)
      native.close(event)
    }
  })
})

describe('whenReadable', () => {
  test('acts at once, then rests, however much comes', async () => {
    const event = native.openEvent()
    native.kick(event)
    const times: number[] = []
    const end = whenReadable(native, event, 50, () => times.push(performance.now()))
    await pause(270)
    end()
    end()
    expect(times.length).toBeGreaterThanOrEqual(3)
    expect(times.length).toBeLessThanOrEqual(6)
    const rests = times.slice(1).map((time, i) => time - (times[i] ?? 0))
    expect(Math.min(...rests)).toBeGreaterThan(45)
    await pause(60)
    const calls = times.length
    await pause(60)
    expect(times.length).toBe(calls)
    native.close(event)
  })

  test('may be ended by what it calls', async () => {
    const event = native.openEvent()
    native.kick(event)
    let calls = 0
    const end = whenReadable(native, event, 1, () => {
      calls++
      end()
    })
    await pause(30)
    expect(calls).toBe(1)
    native.close(event)
  })
})

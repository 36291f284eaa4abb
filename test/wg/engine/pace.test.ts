import { describe, expect, it } from 'vitest'
import { Executor, type ExecutorParts } from '../../../src/wg/engine/executor.ts'
import { Faults } from '../../../src/wg/engine/faults.ts'
import { BURST, Pace } from '../../../src/wg/engine/pace.ts'
import { silentLog } from '../../../src/core/log.ts'
import { FakeClock } from '../../support/wg/fake-clock.ts'

describe('the pace of handshakes', () => {
  it('lets a small fleet begin at once', () => {
    const pace = new Pace()
    expect(pace.take(BURST, BURST, 0)).toBe(BURST)
    expect(pace.take(1, BURST, 0)).toBe(0)
    expect(pace.waitMs(BURST, 0)).toBeGreaterThan(0)
  })

  it.each([1_000, 5_000, 20_000])('spreads %i over seconds, and never over more than eight', (peers) => {
    const pace = new Pace()
    let [left, now, most] = [peers, 0, 0]
    while (left > 0) {
      const taken = pace.take(left, peers, now)
      if (now > 0) most = Math.max(most, taken)
      left -= taken
      now += 100
    }
    expect(now).toBeGreaterThan(1_900)
    expect(now).toBeLessThanOrEqual(8_100)
    expect(most).toBeLessThanOrEqual(Math.max(26, peers / 80 + 1))
  })

  it('forgives a quiet time, once', () => {
    const pace = new Pace()
    pace.take(BURST, 1_000, 0)
    expect(pace.take(10_000, 1_000, 3_600_000)).toBe(BURST)
  })
})

describe('a thousand peers that come at once', () => {
  const uids = Array.from({ length: 1_000 }, (_, i) => `uid-${i}`)

  function bed(keepalive: number) {
    const clock = new FakeClock()
    const sets: number[] = []
    const removed: number[] = []
    const calls: number[] = []
    const driver = {
      async setPeers(_: string, { set = [], remove = [] }: { set?: readonly unknown[]; remove?: readonly string[] }) {
        calls.push(set.length)
        for (const _one of set) sets.push(clock.monotonicMs())
        for (const _one of remove) removed.push(clock.monotonicMs())
      },
    }
    const parts = {
      driver,
      devices: ['a', 'b'],
      peers: {
        keepalive,
        wanted: (uid: string) => ({ uid, publicKey: `key of ${uid}`, endpoints: [], allowedIps: [], keepalive }),
        routes: () => undefined,
        get: () => undefined,
      },
      routes: { egress: () => undefined },
      state: () => ({ peers: { size: uids.length, get: () => undefined, *[Symbol.iterator]() {} } }),
      dump: () => undefined,
      clock,
      faults: new Faults(silentLog, clock),
      retryMs: 250,
    } as unknown as ExecutorParts
    return { clock, sets, removed, calls, executor: new Executor(parts) }
  }

  it('are put into a device at once where none begins a handshake, with few calls', async () => {
    const { clock, sets, calls, executor } = bed(0)
    for (const uid of uids) executor.markProgram(uid, 0)
    await clock.advance(10)
    expect(sets.length).toBe(uids.length)
    expect(calls.length).toBe(Math.ceil(uids.length / 64))
    expect(executor.idle).toBe(true)
    for (const uid of uids) executor.markProgram(uid, 0, { replaces: `old key of ${uid}` })
    calls.length = 0
    await clock.advance(10)
    // Each key that is taken out costs the kernel more than one that is put in.
    expect(Math.max(...calls)).toBe(16)
    await executor.stop()
  })

  it('are put into a device over seconds, and what must go goes at once', async () => {
    const { clock, sets, removed, executor } = bed(25)
    const begun = clock.monotonicMs()
    for (const uid of uids) executor.markProgram(uid, 0)
    await clock.advance(50)
    expect(sets.length).toBe(BURST)
    expect(executor.idle).toBe(false)
    expect(executor.unsettled('uid-999', executor.mark)).toBe(true)
    executor.markDrop(0, 'old')
    await clock.advance(10)
    expect(removed.length).toBe(1)
    await clock.until(() => executor.idle, 60_000)
    expect(sets.length).toBe(uids.length)
    expect(clock.monotonicMs() - begun).toBeGreaterThan(1_500)
    expect(clock.monotonicMs() - begun).toBeLessThan(3_000)
    const perSecond = sets.filter((at) => at > begun + 500 && at <= begun + 1_500).length
    expect(perSecond).toBeLessThanOrEqual(300)
    await executor.stop()
  })
})

import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { DEAD, MAX_PROBES, StandingTable, standingTableBytes } from '../../src/fqdn/shared/standing-table.ts'

const make = (entries = 100): StandingTable => new StandingTable(new SharedArrayBuffer(standingTableBytes(entries)))

describe('the table of standing mappings', () => {
  it('knows what was inserted and raises it', () => {
    const table = make()
    const slot = table.insert(5, 6, 100)
    expect(table.raise(5, 6, 90)).toBe(true)
    expect(table.until(slot)).toBe(100)
    expect(table.raise(5, 6, 200)).toBe(true)
    expect(table.until(slot)).toBe(200)
    expect(table.raise(5, 7, 200)).toBe(false)
    expect(table.raise(4, 6, 200)).toBe(false)
  })

  it('lets a raise win over a kill that judged an older expiry', () => {
    const table = make()
    const slot = table.insert(5, 6, 100)
    expect(table.raise(5, 6, 150)).toBe(true)
    expect(table.kill(slot, 100)).toBe(false)
    expect(table.kill(slot, 150)).toBe(true)
    expect(table.raise(5, 6, 999)).toBe(false)
    expect(table.until(slot)).toBe(DEAD)
  })

  it('finds keys behind one that was freed, and uses its place again', () => {
    const table = make()
    const slots = [1, 2, 3, 4].map((hi) => table.insert(7, hi, 100))
    table.killNow(slots[1] as number)
    table.free(slots[1] as number)
    expect([1, 2, 3, 4].map((hi) => table.raise(7, hi, 100))).toEqual([true, false, true, true])
    expect(table.insert(7, 9, 100)).toBe(slots[1])
    expect(table.raise(7, 9, 100)).toBe(true)
  })

  it('forgets used-up places when nothing lies behind them', () => {
    const table = make()
    for (let round = 0; round < 10_000; round++) {
      const slots = [1, 2, 3].map((hi) => table.insert(round * 31, hi, 100))
      for (const slot of [slots[1], slots[2], slots[0]]) {
        table.killNow(slot as number)
        table.free(slot as number)
      }
    }
    // Had places stayed used up, the whole table would be one long probe by now.
    const slots = Array.from({ length: MAX_PROBES }, (_, hi) => table.insert(12345, hi, 100))
    expect(slots.every((slot, i) => slot === (slots[0] as number) + i)).toBe(true)
  })

  it('refuses a key beyond the longest probe, and workers then ask', () => {
    const table = make()
    for (let hi = 0; hi < MAX_PROBES; hi++) expect(table.insert(1, hi, 100)).toBeGreaterThanOrEqual(0)
    expect(table.insert(1, 1000, 100)).toBe(-1)
    expect(table.raise(1, 1000, 100)).toBe(false)
  })

  it('keeps its word to threads that raise while entries die and slots change hands', { timeout: 30_000 }, async () => {
    const buffer = new SharedArrayBuffer(standingTableBytes(100))
    const table = new StandingTable(buffer)
    // Keys that fight for the same places.
    const keys = Array.from({ length: 6 }, (_, i): [number, number] => [40 + (i % 2), 1000 + i])
    const control = new SharedArrayBuffer(4 * (4 + keys.length))
    const words = new Int32Array(control)
    const entry = new URL('./fixtures/raiser.ts', import.meta.url)
    const workers = [0, 1].map(
      (index) => new Worker(entry, { workerData: { table: buffer, control, keys, index }, execArgv: [] }),
    )
    const ends = workers.map((worker) => new Promise<number>((resolve) => worker.once('message', resolve)))
    while (Atomics.load(words, 1) < workers.length) await new Promise((resolve) => setTimeout(resolve, 5))
    let kills = 0
    let lost = 0
    // As long as it takes on a machine that does other things too; an idle one needs the least.
    const least = performance.now() + 500
    const most = performance.now() + 20_000
    const raised = (): boolean => Atomics.load(words, 2) > 50_000 && Atomics.load(words, 3) > 50_000
    const enough = (now: number): boolean => now > most || (now > least && kills > 20 && lost > 0 && raised())
    const slots = keys.map(() => -1)
    for (let i = 0; !enough(performance.now()); i++) {
      const k = i % keys.length
      const [lo, hi] = keys[k] as [number, number]
      const slot = slots[k] as number
      if (slot < 0) {
        Atomics.store(words, 4 + k, 0)
        slots[k] = table.insert(lo, hi, 500)
        continue
      }
      const seen = table.until(slot)
      if (!table.kill(slot, seen)) {
        lost++
        continue
      }
      kills++
      // A thread may still be noting what it was promised before.
      const raises = [Atomics.load(words, 2), Atomics.load(words, 3)]
      while (Atomics.load(words, 2) === raises[0] || Atomics.load(words, 3) === raises[1])
        Atomics.wait(words, 0, 0, 0.02)
      expect(Atomics.load(words, 4 + k)).toBeLessThanOrEqual(seen)
      table.free(slot)
      slots[k] = -1
    }
    Atomics.store(words, 0, 1)
    const promised = await Promise.all(ends)
    await Promise.all(workers.map((worker) => worker.terminate()))
    expect(kills).toBeGreaterThan(20)
    expect(promised.every((n) => n > 100)).toBe(true)
    expect(lost).toBeGreaterThan(0)
  })
})

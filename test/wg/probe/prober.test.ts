import { randomFillSync } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { parseIp } from '../../../src/core/ip.ts'
import { silentLog } from '../../../src/core/log.ts'
import { PROBE_ERRNO, PROBE_LENGTH, PROBE_PORT, PROBE_WORDS } from '../../../src/native/binding.ts'
import { createProber, TURN_MS, type CountingProber } from '../../../src/wg/probe/prober.ts'
import { TURN, type ProbeDoor } from '../../../src/wg/probe/slot-socket.ts'
import type { ProbeResult } from '../../../src/wg/seams.ts'

const PORT = 51_873
/** One socket a slot; this one is that of slot 0. */
const FIRST = 1

/** Sockets in memory. */
class Door implements ProbeDoor {
  /** Of the first socket: turns of the event loop in which something was sent or read, and how many. */
  readonly sent: { readonly turn: number; readonly count: number }[] = []
  readonly read: { readonly turn: number; readonly count: number }[] = []
  readonly numbers = new Set<string>()
  /** Of those that are sent in order, this one is not taken. */
  refused = -1
  waiting = 0
  #turn = 0
  #all = 0
  #fds = 0
  readonly #timer = setInterval(() => undefined, 1)
  #stopped = false

  constructor() {
    const count = (): void => {
      this.#turn++
      if (!this.#stopped) setImmediate(count)
    }
    setImmediate(count)
  }

  stop(): void {
    this.#stopped = true
    clearInterval(this.#timer)
  }

  openProbeSocket(): number {
    return ++this.#fds
  }

  probeSend(fd: number, data: Uint8Array, stride: number, records: Uint32Array, count: number): number {
    if (fd !== FIRST) return 0
    this.sent.push({ turn: this.#turn, count })
    let failed = 0
    for (let i = 0; i < count; i++) {
      this.numbers.add(Buffer.from(data.subarray(i * stride + 8, i * stride + 16)).toString('hex'))
      const refused = this.#all++ === this.refused
      records[i * PROBE_WORDS + PROBE_ERRNO] = refused ? 101 : 0
      if (refused) failed++
    }
    return failed
  }

  probeReceive(fd: number, data: Uint8Array, stride: number, records: Uint32Array): number {
    if (fd !== FIRST) return 0
    const count = Math.min(this.waiting, data.length / stride)
    this.waiting -= count
    if (count > 0) this.read.push({ turn: this.#turn, count })
    for (let i = 0; i < count; i++) {
      records.set([0, PORT + 1], i * PROBE_WORDS + PROBE_LENGTH)
      records[i * PROBE_WORDS + PROBE_PORT] = PORT + 1
    }
    return count
  }

  close(): void {
    // Nothing is open.
  }
}

const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5))
}

describe('a prober of thousands', () => {
  let door: Door
  let prober: CountingProber
  const results: ProbeResult[] = []
  afterEach(async () => {
    await prober.stop()
    door.stop()
  })

  const start = async (): Promise<void> => {
    door = new Door()
    results.length = 0
    prober = createProber(
      { devices: ['a0', 'a1'], port: PORT, addresses: [parseIp('10.0.0.1')], mtu: () => 1400 },
      { native: door, clock: systemClock, random: (words) => void randomFillSync(words), log: silentLog },
    )
    await prober.start({ result: (one) => results.push(one), announce: () => undefined })
    const ip = (i: number): string => `10.1.${i >> 8}.${i & 255}`
    prober.setTargets(Array.from({ length: 6000 }, (_, i) => ({ uid: `${i}`, addresses: [parseIp(ip(i))] })))
  }
  const sizes = (some: readonly { readonly count: number }[]): number[] => some.map(({ count }) => count)
  const turns = (some: readonly { readonly turn: number }[]): number => new Set(some.map(({ turn }) => turn)).size

  it('sends what it is asked in one go in batches, a turn of the event loop each', async () => {
    await start()
    door.refused = 700
    for (let i = 0; i < 1000; i++) prober.ask(`${i}`, 0)
    expect(door.sent).toEqual([])
    await until(() => door.numbers.size === 1000 && results.length > 0)
    expect(sizes(door.sent)).toEqual([TURN, TURN, TURN, 1000 - 3 * TURN])
    // The first of them may be in the turn before.
    expect(turns(door.sent)).toBeGreaterThanOrEqual(3)
    expect(results[0]).toEqual({ uid: '700', slot: 0, answered: false })
    expect(prober.counters()).toMatchObject({ asked: 1000, sendErrors: 1 })
  })

  it('sends at once, and loses nothing, when more is asked than it has room for', async () => {
    await start()
    for (let i = 0; i < 6000; i++) prober.ask(`${i}`, 0)
    expect(door.numbers.size).toBe(4096)
    await until(() => door.numbers.size === 6000)
    expect(sizes(door.sent.slice(1))).toEqual([...new Array<number>(7).fill(TURN), 6000 - 4096 - 7 * TURN])
    expect(turns(door.sent.slice(1))).toBeGreaterThanOrEqual(7)
  })

  it('reads in batches, a turn of the event loop each, and no more in a time than it should', async () => {
    await start()
    const from = performance.now()
    door.waiting = 6 * TURN
    await until(() => door.waiting === 0)
    expect(performance.now() - from).toBeGreaterThan(TURN_MS)
    expect(sizes(door.read)).toEqual(new Array<number>(6).fill(TURN))
    expect(turns(door.read)).toBeGreaterThanOrEqual(5)
    expect(prober.counters().dropped.port).toBe(6 * TURN)
  })
})

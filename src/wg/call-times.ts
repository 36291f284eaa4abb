import { performance } from 'node:perf_hooks'
import type { WgDriver } from './ports.ts'

/** What the kernel, or the program, is asked; a closed set. `routes`: the look at routes, rules and settings. */
export const CALLS = ['create', 'delete', 'read', 'configure', 'peers', 'restart', 'key', 'routes'] as const
export type Call = (typeof CALLS)[number]

/** A key change of thousands of peers holds the lock of the routing tables for a second, and all calls wait for it. */
export const CALL_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15] as const

export interface CallTime {
  /** One a bucket, and one above. */
  readonly counts: number[]
  /** Seconds. */
  sum: number
}

/** How long calls took, those that failed too. */
export class CallTimes {
  readonly totals: Readonly<Record<Call, CallTime>>

  constructor() {
    const none = (): CallTime => ({ counts: new Array<number>(CALL_BUCKETS.length + 1).fill(0), sum: 0 })
    this.totals = Object.fromEntries(CALLS.map((call) => [call, none()])) as Record<Call, CallTime>
  }

  async time<T>(call: Call, work: Promise<T>): Promise<T> {
    const begun = performance.now()
    try {
      return await work
    } finally {
      this.#add(call, (performance.now() - begun) / 1000)
    }
  }

  /** The same driver, its calls timed from when they are asked for: with what they waited for others. */
  timed(driver: WgDriver): WgDriver {
    const time = <T>(call: Call, work: Promise<T>): Promise<T> => this.time(call, work)
    return {
      kind: driver.kind,
      features: () => driver.features(),
      create: (name, options) => time('create', driver.create(name, options)),
      delete: (name) => time('delete', driver.delete(name)),
      read: (name) => time('read', driver.read(name)),
      configure: (name, options) => time('configure', driver.configure(name, options)),
      setPeers: (name, batch) => time('peers', driver.setPeers(name, batch)),
      restart: (name) => time('restart', driver.restart(name)),
      rotateKey: (name) => time('key', driver.rotateKey(name)),
      close: () => driver.close(),
    }
  }

  #add(call: Call, seconds: number): void {
    const total = this.totals[call]
    const found = CALL_BUCKETS.findIndex((bound) => seconds <= bound)
    const at = found < 0 ? CALL_BUCKETS.length : found
    total.counts[at] = (total.counts[at] ?? 0) + 1
    total.sum += seconds
  }
}

import type { EngineClock } from '../../../src/wg/engine/types.ts'
import { EventQueue } from './event-queue.ts'

const START_WALL = 1_700_000_000_000

/** Time that goes by only when it is told to. */
export class FakeClock implements EngineClock {
  /** Called after every timer. */
  watch: () => void = () => undefined
  #now = 1_000_000
  readonly #queue = new EventQueue<{ act: (() => void) | undefined }>()

  monotonicMs(): number {
    return this.#now
  }

  wallMs(): number {
    return START_WALL + this.#now
  }

  setTimer(act: () => void, ms: number): () => void {
    const timer: { act: (() => void) | undefined } = { act }
    this.#queue.put(this.#now + ms, timer)
    return () => {
      timer.act = undefined
    }
  }

  /** Runs what is due within `ms`, each with all that follows from it without more waiting. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms
    for (;;) {
      await new Promise(setImmediate)
      const next = this.#queue.take(until)
      if (next === undefined) break
      if (next.value.act === undefined) continue
      this.#now = Math.max(this.#now, next.at)
      next.value.act()
      await new Promise(setImmediate)
      this.watch()
    }
    this.#now = until
  }

  /** Runs until `done` or `ms` are over; gives how long it took. */
  async until(done: () => boolean, ms: number): Promise<number> {
    const begun = this.#now
    while (!done() && this.#now - begun < ms) await this.advance(50)
    return this.#now - begun
  }
}

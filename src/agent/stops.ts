import type { Log } from '../core/log.ts'

/** What was started, to be stopped in the reverse order. */
export interface Stops {
  add(stop: () => Promise<void> | void): void
  /** Each once; one that fails is logged, and the others are stopped all the same. */
  run(): Promise<void>
}

export function createStops(log: Log): Stops {
  const stops: (() => Promise<void> | void)[] = []
  return {
    add(stop) {
      stops.push(stop)
    },
    async run() {
      for (const stop of stops.splice(0).reverse()) {
        try {
          await stop()
        } catch (error) {
          log.error({ err: error }, 'a part did not stop cleanly')
        }
      }
    },
  }
}

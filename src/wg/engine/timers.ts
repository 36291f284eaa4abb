import type { Faults } from './faults.ts'
import type { EngineClock } from './types.ts'

const WHAT = { ask: 'asking peers', tick: 'looking after rotations', targets: 'telling whom to ask' } as const
type Name = keyof typeof WHAT

/** Timers by name: a later one takes the place of an earlier. What a part throws in one is told, and ends nothing. */
export class Timers {
  readonly #clock: EngineClock
  readonly #faults: Faults
  readonly #cancels = new Map<Name, () => void>()
  #stopped = false

  constructor(clock: EngineClock, faults: Faults) {
    this.#clock = clock
    this.#faults = faults
  }

  after(name: Name, ms: number, act: () => void): void {
    this.#cancels.get(name)?.()
    if (this.#stopped) return
    const guarded = (): void => {
      try {
        act()
      } catch (error) {
        // Uncaught it would end the agent, and the gate with it.
        this.#faults.tell(WHAT[name], error)
      }
    }
    this.#cancels.set(name, this.#clock.setTimer(guarded, ms))
  }

  every(name: Name, ms: number, act: () => void): void {
    this.after(name, ms, () => {
      this.every(name, ms, act)
      act()
    })
  }

  stop(): void {
    this.#stopped = true
    for (const cancel of this.#cancels.values()) cancel()
  }
}

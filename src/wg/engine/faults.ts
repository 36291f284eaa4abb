import type { Log } from '../../core/log.ts'
import type { EngineClock } from './types.ts'

/** One line a minute for each kind of fault. */
const SAY_EVERY_MS = 60_000

/** Counts what fails, and tells of it without filling the log. What failed is done again by whoever asked for it. */
export class Faults {
  count = 0
  readonly #log: Log
  readonly #clock: EngineClock
  readonly #said = new Map<string, { at: number; silent: number }>()

  constructor(log: Log, clock: EngineClock) {
    this.#log = log
    this.#clock = clock
  }

  /** `what` comes from a closed set: it is what the limit goes by. */
  tell(what: string, error: unknown, fields: object = {}): void {
    this.count++
    this.#say(what, { err: error, ...fields }, `${what} failed; it is tried again`)
  }

  /** What others did wrong: said as seldom, and not counted here. */
  note(what: string, fields: object): void {
    this.#say(what, fields, what)
  }

  #say(what: string, fields: object, text: string): void {
    const now = this.#clock.monotonicMs()
    const last = this.#said.get(what)
    if (last !== undefined && now - last.at < SAY_EVERY_MS) {
      last.silent++
      return
    }
    this.#said.set(what, { at: now, silent: 0 })
    const more = last === undefined || last.silent === 0 ? {} : { unsaid: last.silent }
    this.#log.warn({ ...fields, ...more }, text)
  }
}

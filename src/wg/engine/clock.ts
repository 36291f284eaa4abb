import { systemClock } from '../../core/clock.ts'
import type { EngineClock } from './types.ts'

/** The clocks of the machine. Timers do not keep the process alive. */
export const engineClock: EngineClock = {
  ...systemClock,
  setTimer(act, ms) {
    const timer = setTimeout(act, ms)
    timer.unref()
    return () => {
      clearTimeout(timer)
    }
  },
}

export const sleep = (clock: EngineClock, ms: number): Promise<void> =>
  new Promise((resolve) => {
    clock.setTimer(resolve, ms)
  })

/** True when `work` ended, however, within `ms`. */
export async function endsWithin(clock: EngineClock, ms: number, work: Promise<unknown>): Promise<boolean> {
  let cancel: () => void = () => undefined
  const late = new Promise<boolean>((resolve) => {
    cancel = clock.setTimer(() => {
      resolve(false)
    }, ms)
  })
  const done = work.then(
    () => true,
    () => true,
  )
  const ended = await Promise.race([done, late])
  cancel()
  return ended
}

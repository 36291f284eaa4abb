import { setPriority } from 'node:os'

/** Nice values; on Linux they belong to threads (sched(7), "The nice value"). */
const BEHIND = 10
const AHEAD = -5

function tryNice(value: number): void {
  try {
    // 0 is the calling thread.
    setPriority(0, value)
  } catch {
    // A container may forbid it (CAP_SYS_NICE, seccomp); then all threads are equal.
  }
}

/** The calling thread works when others do not need the processor: long computations that nobody waits for by the millisecond. */
export const giveWay = (): void => tryNice(BEHIND)

/** The calling thread goes before others: it does little at a time, and a pod waits for it. */
export const goAhead = (): void => tryNice(AHEAD)

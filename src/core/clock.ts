/** Time is handed in; nothing below a composition root reads a clock of its own. */
export interface Clock {
  /** CLOCK_MONOTONIC in milliseconds: the same clock on every thread, and the kernel's `bpf_ktime_get_ns`. */
  monotonicMs(): number
  /** Wall clock in milliseconds since 1970, for what a human or a file reads. */
  wallMs(): number
}

/** process.hrtime reads CLOCK_MONOTONIC, so all threads and the BPF programs agree on it. */
export const systemClock: Clock = {
  monotonicMs() {
    const [seconds, nanoseconds] = process.hrtime()
    return seconds * 1000 + nanoseconds / 1e6
  },
  wallMs: () => Date.now(),
}

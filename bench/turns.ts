/** Processor time of the calling thread so far, ms. */
export const cpuMs = (): number => {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

/** The longest turn of the event loop, ms of the processor. Looks at every turn, which costs two hundredths of one itself. */
export class Turns {
  longest = 0
  #last = cpuMs()
  readonly #timer = setInterval(() => {
    const now = cpuMs()
    this.longest = Math.max(this.longest, now - this.#last)
    this.#last = now
  }, 1)

  stop(): number {
    clearInterval(this.#timer)
    return this.longest
  }
}

/** Says what goes on: one line that is written over on a terminal, a line a scenario elsewhere. */
export class Progress {
  readonly #terminal = process.stderr.isTTY
  readonly #started = performance.now()

  #seconds(): string {
    return `${((performance.now() - this.#started) / 1000).toFixed(0).padStart(4)} s`
  }

  scenario(text: string): void {
    process.stderr.write(`${this.#terminal ? '\r\x1b[K' : ''}${this.#seconds()}  ${text}\n`)
  }

  step(text: string): void {
    if (this.#terminal) process.stderr.write(`\r\x1b[K${this.#seconds()}    ${text}`)
  }

  done(): void {
    if (this.#terminal) process.stderr.write('\r\x1b[K')
  }
}

import type { RandomFill } from './ports.ts'

/** Sixteen-bit random numbers, drawn from the source 4096 at a time. */
export class RandomPool {
  readonly #words = new Uint16Array(4096)
  readonly #fill: RandomFill
  #at = 4096

  constructor(fill: RandomFill) {
    this.#fill = fill
  }

  next(): number {
    if (this.#at === this.#words.length) {
      this.#fill(this.#words)
      this.#at = 0
    }
    const word = this.#words[this.#at]!
    // Used once: what stays in memory tells nothing about ids in flight.
    this.#words[this.#at++] = 0
    return word
  }
}

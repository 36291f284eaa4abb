/**
 * Numbers of one range. Given out by a cursor that goes round, so a freed number comes back as late as can be:
 * an entry that somebody else left in a map under an old number must not gain a new meaning.
 */
export class NumberPool {
  readonly #first: number
  readonly #last: number
  readonly #used = new Set<number>()
  cursor: number

  constructor(first: number, last: number) {
    this.#first = first
    this.#last = last
    this.cursor = first
  }

  has(number: number): boolean {
    return number >= this.#first && number <= this.#last
  }

  /** 0 when the range is used up. */
  take(): number {
    const size = this.#last - this.#first + 1
    if (this.#used.size >= size) return 0
    for (;;) {
      const number = this.cursor
      this.cursor = number === this.#last ? this.#first : number + 1
      if (this.#used.has(number)) continue
      this.#used.add(number)
      return number
    }
  }

  /** Takes this very number (restore, or a number found in the kernel); false when it is in use or out of range. */
  claim(number: number): boolean {
    if (!this.has(number) || this.#used.has(number)) return false
    this.#used.add(number)
    return true
  }

  give(number: number): void {
    this.#used.delete(number)
  }
}

/**
 * Open addressing from a hash to a small integer (a row of someone's columns). Fixed size, linear probing,
 * removal by shifting back, so it neither grows nor leaves tombstones. `hashes` is the owner's column.
 */
export class IntIndex {
  readonly #slots: Int32Array
  readonly #mask: number
  readonly #hashes: Int32Array

  constructor(capacity: number, hashes: Int32Array) {
    let size = 16
    while (size < 2 * capacity) size *= 2
    this.#slots = new Int32Array(size)
    this.#mask = size - 1
    this.#hashes = hashes
  }

  /** The first row with this hash that `same` takes, or -1. */
  find(hash: number, same: (row: number) => boolean): number {
    for (let at = hash & this.#mask; ; at = (at + 1) & this.#mask) {
      const row = (this.#slots[at] as number) - 1
      if (row < 0) return -1
      if (this.#hashes[row] === hash && same(row)) return row
    }
  }

  add(row: number): void {
    let at = (this.#hashes[row] as number) & this.#mask
    while (this.#slots[at] !== 0) at = (at + 1) & this.#mask
    this.#slots[at] = row + 1
  }

  remove(row: number): void {
    const slots = this.#slots
    const mask = this.#mask
    let at = (this.#hashes[row] as number) & mask
    while (slots[at] !== row + 1) {
      if (slots[at] === 0) return
      at = (at + 1) & mask
    }
    for (let next = (at + 1) & mask; slots[next] !== 0; next = (next + 1) & mask) {
      const home = (this.#hashes[(slots[next] as number) - 1] as number) & mask
      // The row may move back to `at` unless its home lies in (at, next].
      if (((next - home) & mask) < ((next - at) & mask)) continue
      slots[at] = slots[next] as number
      at = next
    }
    slots[at] = 0
  }
}

/** Numbers rows of columns: freed rows first, then the next never used, so untouched memory stays untouched. */
export class RowPool {
  readonly capacity: number
  #free: number[] = []
  #high = 0

  constructor(capacity: number) {
    this.capacity = capacity
  }

  /** -1 when every row is in use. */
  take(): number {
    const row = this.#free.pop()
    if (row !== undefined) return row
    return this.#high < this.capacity ? this.#high++ : -1
  }

  give(row: number): void {
    this.#free.push(row)
  }

  get used(): number {
    return this.#high - this.#free.length
  }

  /** Rows ever used are below this. */
  get high(): number {
    return this.#high
  }
}

/** 32 bits of a few words, for indexes inside this process. */
export function mixWords(a: number, b: number): number {
  let h = Math.imul(a ^ Math.imul(b, 0x9e3779b1), 0x85ebca6b)
  h ^= h >>> 15
  h = Math.imul(h, 0xc2b2ae35)
  return h ^ (h >>> 16)
}

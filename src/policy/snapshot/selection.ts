import * as L from './layout.ts'
import type { Sections } from './layout.ts'

/** Which rules of which shapes name a selector or a prefix. */
export class Selection {
  readonly #fqdnOffsets: Uint32Array
  readonly #fqdnPairs: Uint32Array
  readonly #prefixOffsets: Uint32Array
  readonly #prefixPairs: Uint32Array
  readonly #excepts: Uint32Array
  readonly #flags: Uint32Array

  constructor(sections: Sections) {
    this.#fqdnOffsets = sections.words('fqdnOffsets', 1)
    this.#fqdnPairs = sections.words('fqdnPairs', L.SELECTION_WORDS)
    this.#prefixOffsets = sections.words('prefixOffsets', 1)
    this.#prefixPairs = sections.words('prefixPairs', L.SELECTION_WORDS)
    this.#excepts = sections.words('excepts', 1)
    this.#flags = sections.words('shapeFlags', 1)
    const { selectors, shapes } = sections.header
    if (this.#fqdnOffsets.length !== selectors + 1 || this.#flags.length !== shapes) throw L.damaged('selection tables')
  }

  /** Rules of the shape that name the selector, added to `found`. */
  rulesByFqdn(shape: number, selector: number, found: number[]): void {
    this.#rules(this.#fqdnOffsets, this.#fqdnPairs, shape, selector, [], found)
  }

  /** Rules of the shape that name the prefix and except none of `prefixes`, added to `found`. */
  rulesByPrefix(shape: number, prefix: number, prefixes: readonly number[], found: number[]): void {
    this.#rules(this.#prefixOffsets, this.#prefixPairs, shape, prefix, prefixes, found)
  }

  #rules(
    offsets: Uint32Array,
    pairs: Uint32Array,
    shape: number,
    of: number,
    prefixes: readonly number[],
    found: number[],
  ): void {
    const end = offsets[of + 1] ?? 0
    let low = offsets[of] ?? 0
    let high = end
    while (low < high) {
      const middle = (low + high) >>> 1
      if (pairs[middle * L.SELECTION_WORDS]! < shape) low = middle + 1
      else high = middle
    }
    for (let i = low; i < end && pairs[i * L.SELECTION_WORDS] === shape; i++) {
      const except = pairs[i * L.SELECTION_WORDS + 2]!
      if (!this.#excepted(except, prefixes)) found.push(pairs[i * L.SELECTION_WORDS + 1]!)
    }
  }

  #excepted(list: number, prefixes: readonly number[]): boolean {
    const count = this.#excepts[list] ?? 0
    for (let i = 1; i <= count; i++) if (prefixes.includes(this.#excepts[list + i] ?? -1)) return true
    return false
  }

  /** Calls back with shapes that name the selector, ascending, a shape perhaps more than once. */
  shapesByFqdn(selector: number, take: (shape: number) => void): void {
    eachShape(this.#fqdnOffsets, this.#fqdnPairs, selector, take)
  }

  shapesByPrefix(prefix: number, take: (shape: number) => void): void {
    eachShape(this.#prefixOffsets, this.#prefixPairs, prefix, take)
  }

  /** Shapes with the flag of the layout. */
  shapesWith(flag: number, take: (shape: number) => void): void {
    for (let shape = 0; shape < this.#flags.length; shape++) if ((this.#flags[shape]! & flag) !== 0) take(shape)
  }

  has(shape: number, flag: number): boolean {
    return ((this.#flags[shape] ?? 0) & flag) !== 0
  }
}

function eachShape(offsets: Uint32Array, pairs: Uint32Array, of: number, take: (shape: number) => void): void {
  const end = offsets[of + 1] ?? 0
  for (let i = offsets[of] ?? 0; i < end; i++) take(pairs[i * L.SELECTION_WORDS]!)
}

const C1 = 0xcc9e2d51 | 0
const C2 = 0x1b873593 | 0
const C3 = 0x85ebca6b | 0
const C4 = 0xc2b2ae35 | 0

const rotate = (x: number, by: number): number => (x << by) | (x >>> (32 - by))

function finish(h: number): number {
  h ^= h >>> 16
  h = Math.imul(h, C3)
  h ^= h >>> 13
  h = Math.imul(h, C4)
  return h ^ (h >>> 16)
}

/**
 * 64-bit seeded hash of (endpoint, name, address), as two 32-bit lanes in `lo` and `hi`; allocates nothing.
 * The lanes mix the same words with different constants and seeds (the rounds of MurmurHash3, public domain).
 *
 * The hash stands for the key in the shared table, so two keys can be taken for one. What that costs is bounded:
 * a worker believes that an address stands in the map and releases an answer whose first packet the kernel then
 * drops, and the other entry lives a little longer. Nothing is ever allowed by it, because only the ledger writes
 * maps and it compares whole keys. The seed is random per process, so no one outside can construct such a pair;
 * by chance it takes 2^32 standing mappings to expect one.
 */
export class PairHash {
  lo = 0
  hi = 0
  #lo = 0
  #hi = 0
  readonly #seedLo: number
  readonly #seedHi: number

  constructor(seedLo: number, seedHi: number) {
    this.#seedLo = seedLo | 0
    this.#seedHi = seedHi | 0
  }

  #mix(word: number): void {
    this.#lo = (Math.imul(rotate(this.#lo ^ Math.imul(rotate(Math.imul(word, C1), 15), C2), 13), 5) + 0xe6546b64) | 0
    this.#hi = (Math.imul(rotate(this.#hi ^ Math.imul(rotate(Math.imul(word, C4), 17), C3), 11), 9) + 0x52dce729) | 0
  }

  /** Takes the part that all addresses of one answer share. */
  start(endpointId: number, name: Uint8Array, offset: number, length: number): void {
    this.#lo = this.#seedLo
    this.#hi = this.#seedHi
    this.#mix((endpointId << 16) ^ length)
    const end = offset + length
    let at = offset
    for (; at + 4 <= end; at += 4) {
      this.#mix(
        (name[at] as number) |
          ((name[at + 1] as number) << 8) |
          ((name[at + 2] as number) << 16) |
          ((name[at + 3] as number) << 24),
      )
    }
    let rest = 0
    for (let shift = 0; at < end; at++, shift += 8) rest |= (name[at] as number) << shift
    this.#mix(rest)
  }

  /** Completes the hash with one addr16; may be called again for the next address. */
  address(bytes: Uint8Array, offset: number): void {
    const lo = this.#lo
    const hi = this.#hi
    for (let at = offset; at < offset + 16; at += 4) {
      this.#mix(
        (bytes[at] as number) |
          ((bytes[at + 1] as number) << 8) |
          ((bytes[at + 2] as number) << 16) |
          ((bytes[at + 3] as number) << 24),
      )
    }
    this.lo = finish(this.#lo ^ this.#hi)
    this.hi = finish(this.#hi + Math.imul(this.lo, C1))
    this.#lo = lo
    this.#hi = hi
  }
}

import { IntIndex, mixWords, RowPool } from '../core/int-index.ts'

/** No change is waiting for the row. */
export const SETTLED = -1

/**
 * What the ipcache holds and what is about to be written, by (addr16, bits; IPv4 lengths + 96). Number 0 is
 * "no entry". Columns of fixed size, as in the fqdn room.
 */
export class IpcacheMirror {
  readonly bytes: Uint8Array
  readonly bits: Uint8Array
  readonly written: Int32Array
  /** The number to be written, or SETTLED. */
  readonly wanted: Int32Array
  /** Last reconcile pass that met or wrote the entry. */
  readonly seen: Int32Array
  readonly #hashes: Int32Array
  readonly #index: IntIndex
  readonly #rows: RowPool
  readonly #seed: number
  #key: Uint8Array = new Uint8Array(16)
  #keyAt = 0
  #keyBits = 0
  readonly #same = (row: number): boolean => {
    if (this.bits[row] !== this.#keyBits) return false
    for (let i = 0; i < 16; i++) if (this.bytes[row * 16 + i] !== this.#key[this.#keyAt + i]) return false
    return true
  }

  constructor(capacity: number, seed: number) {
    this.bytes = new Uint8Array(capacity * 16)
    this.bits = new Uint8Array(capacity)
    this.written = new Int32Array(capacity)
    this.wanted = new Int32Array(capacity)
    this.seen = new Int32Array(capacity)
    this.#hashes = new Int32Array(capacity)
    this.#index = new IntIndex(capacity, this.#hashes)
    this.#rows = new RowPool(capacity)
    this.#seed = seed
  }

  get count(): number {
    return this.#rows.used
  }

  get high(): number {
    return this.#rows.high
  }

  #hashOf(key: Uint8Array, at: number, bits: number): number {
    let h = this.#seed ^ bits
    for (let i = at; i < at + 16; i += 4) {
      const word =
        (key[i] as number) |
        ((key[i + 1] as number) << 8) |
        ((key[i + 2] as number) << 16) |
        ((key[i + 3] as number) << 24)
      h = mixWords(h ^ word, this.#seed + i - at)
    }
    return h
  }

  find(key: Uint8Array, at: number, bits: number): number {
    this.#key = key
    this.#keyAt = at
    this.#keyBits = bits
    return this.#index.find(this.#hashOf(key, at, bits), this.#same)
  }

  /** -1 when full. */
  findOrAdd(key: Uint8Array, at: number, bits: number): number {
    const found = this.find(key, at, bits)
    if (found >= 0) return found
    const row = this.#rows.take()
    if (row < 0) return -1
    for (let i = 0; i < 16; i++) this.bytes[row * 16 + i] = key[at + i] as number
    this.bits[row] = bits
    this.written[row] = 0
    this.wanted[row] = SETTLED
    this.seen[row] = 0
    this.#hashes[row] = this.#hashOf(key, at, bits)
    this.#index.add(row)
    return row
  }

  remove(row: number): void {
    this.#index.remove(row)
    this.written[row] = 0
    this.wanted[row] = SETTLED
    this.#rows.give(row)
  }
}

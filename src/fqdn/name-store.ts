import { IntIndex, RowPool } from '../core/int-index.ts'
import type { PairHash } from './shared/pair-hash.ts'

const CHUNK = 65_536
const CLASS_STEP = 16

/** Wire names, each kept once, in chunks of equal slots (sixteen sizes). A row number stands for the name. */
export class NameStore {
  /** Label set that the policy gives to the name. */
  readonly set: Int32Array
  /** First (endpoint, name) pair, -1 none. */
  readonly pairs: Int32Array
  readonly #place: Int32Array
  readonly #length: Uint8Array
  readonly #hashes: Int32Array
  readonly #index: IntIndex
  readonly #rows: RowPool
  readonly #hash: PairHash
  readonly #chunks: Uint8Array[] = []
  readonly #chunkStep: number[] = []
  readonly #free: number[][] = Array.from({ length: CLASS_STEP + 1 }, () => [])
  #sought: Uint8Array = new Uint8Array(0)
  #soughtAt = 0
  #soughtLength = 0
  readonly #same = (row: number): boolean => {
    const length = this.#length[row] as number
    if (length !== this.#soughtLength) return false
    const chunk = this.chunk(row)
    const at = this.offset(row)
    for (let i = 0; i < length; i++) if (chunk[at + i] !== this.#sought[this.#soughtAt + i]) return false
    return true
  }

  constructor(capacity: number, hash: PairHash) {
    this.set = new Int32Array(capacity)
    this.pairs = new Int32Array(capacity)
    this.#place = new Int32Array(capacity)
    this.#length = new Uint8Array(capacity)
    this.#hashes = new Int32Array(capacity)
    this.#index = new IntIndex(capacity, this.#hashes)
    this.#rows = new RowPool(capacity)
    this.#hash = hash
  }

  get count(): number {
    return this.#rows.used
  }

  get high(): number {
    return this.#rows.high
  }

  /** Where the octets are: `chunk(row)` from `offset(row)`, `length(row)` of them. */
  chunk(row: number): Uint8Array {
    return this.#chunks[(this.#place[row] as number) >>> 12] as Uint8Array
  }

  offset(row: number): number {
    const place = this.#place[row] as number
    return (place & 0xfff) * (this.#chunkStep[place >>> 12] as number)
  }

  length(row: number): number {
    return this.#length[row] as number
  }

  #hashOf(name: Uint8Array, offset: number, length: number): number {
    this.#hash.start(0, name, offset, length)
    this.#hash.address(ZERO, 0)
    return this.#hash.lo
  }

  find(name: Uint8Array, offset: number, length: number): number {
    this.#sought = name
    this.#soughtAt = offset
    this.#soughtLength = length
    return this.#index.find(this.#hashOf(name, offset, length), this.#same)
  }

  /** The name must not be there yet. -1 when full. */
  add(name: Uint8Array, offset: number, length: number): number {
    const row = this.#rows.take()
    if (row < 0) return -1
    const place = this.#placeFor(length)
    this.#place[row] = place
    this.#length[row] = length
    this.#hashes[row] = this.#hashOf(name, offset, length)
    const chunk = this.chunk(row)
    const at = this.offset(row)
    for (let i = 0; i < length; i++) chunk[at + i] = name[offset + i] as number
    this.set[row] = 0
    this.pairs[row] = -1
    this.#index.add(row)
    return row
  }

  remove(row: number): void {
    this.#index.remove(row)
    this.#free[Math.ceil((this.#length[row] as number) / CLASS_STEP)]?.push(this.#place[row] as number)
    this.#length[row] = 0
    this.#rows.give(row)
  }

  /** False for a row that holds no name at the moment. */
  used(row: number): boolean {
    return this.#length[row] !== 0
  }

  #placeFor(length: number): number {
    const size = Math.ceil(length / CLASS_STEP)
    const free = this.#free[size] as number[]
    const place = free.pop()
    if (place !== undefined) return place
    const step = size * CLASS_STEP
    const chunk = this.#chunks.length
    this.#chunks.push(new Uint8Array(CHUNK))
    this.#chunkStep.push(step)
    for (let i = Math.floor(CHUNK / step) - 1; i > 0; i--) free.push(chunk * 4096 + i)
    return chunk * 4096
  }
}

const ZERO = new Uint8Array(16)

import { IntIndex, RowPool } from '../core/int-index.ts'
import type { LabelSets } from './ports.ts'
import type { PairHash } from './shared/pair-hash.ts'

/**
 * Resolved addresses. Each has a bag of label sets: how many entries give it which set. What the identity is
 * made of is the union of the bag, kept up to date; so a hundred thousand names on one address cost one counter
 * as long as the policy gives them the same labels.
 */
export class AddressStore {
  /** addr16 of row r at 16 r. */
  readonly bytes: Uint8Array
  /** Union of the bag. */
  readonly union: Int32Array
  /** First entry, -1 none. */
  readonly entries: Int32Array
  /** Last conntrack pass that saw a live connection. */
  readonly livePass: Int32Array
  /** Rows whose union changed since the last `drain`. */
  readonly changed: number[] = []
  readonly #inChanged: Uint8Array
  readonly #bag: Int32Array
  readonly #hashes: Int32Array
  readonly #index: IntIndex
  readonly #rows: RowPool
  readonly #sets: LabelSets
  readonly #hash: PairHash
  /** Bag nodes: set, count, next; more nodes than rows only when names differ in labels. */
  readonly #nodes: RowPool
  readonly #nodeSet: Int32Array
  readonly #nodeCount: Int32Array
  readonly #nodeNext: Int32Array
  #sought: Uint8Array = new Uint8Array(16)
  #soughtAt = 0
  readonly #same = (row: number): boolean => {
    for (let i = 0; i < 16; i++) if (this.bytes[row * 16 + i] !== this.#sought[this.#soughtAt + i]) return false
    return true
  }

  constructor(capacity: number, sets: LabelSets, hash: PairHash) {
    this.bytes = new Uint8Array(16 * capacity)
    this.union = new Int32Array(capacity)
    this.entries = new Int32Array(capacity)
    this.livePass = new Int32Array(capacity)
    this.#inChanged = new Uint8Array(capacity)
    this.#bag = new Int32Array(capacity)
    this.#hashes = new Int32Array(capacity)
    this.#index = new IntIndex(capacity, this.#hashes)
    this.#rows = new RowPool(capacity)
    this.#sets = sets
    this.#hash = hash
    // Every entry holds at most one node, and twice that while a name moves from one set to another.
    this.#nodes = new RowPool(2 * capacity)
    this.#nodeSet = new Int32Array(2 * capacity)
    this.#nodeCount = new Int32Array(2 * capacity)
    this.#nodeNext = new Int32Array(2 * capacity)
  }

  get count(): number {
    return this.#rows.used
  }

  get high(): number {
    return this.#rows.high
  }

  #hashOf(bytes: Uint8Array, offset: number): number {
    this.#hash.start(0, bytes, offset, 0)
    this.#hash.address(bytes, offset)
    return this.#hash.lo
  }

  find(bytes: Uint8Array, offset: number): number {
    this.#sought = bytes
    this.#soughtAt = offset
    return this.#index.find(this.#hashOf(bytes, offset), this.#same)
  }

  /** -1 when full. */
  findOrAdd(bytes: Uint8Array, offset: number): number {
    const found = this.find(bytes, offset)
    if (found >= 0) return found
    const row = this.#rows.take()
    if (row < 0) return -1
    for (let i = 0; i < 16; i++) this.bytes[row * 16 + i] = bytes[offset + i] as number
    this.#hashes[row] = this.#hashOf(bytes, offset)
    this.union[row] = 0
    this.entries[row] = -1
    this.livePass[row] = 0
    this.#bag[row] = -1
    this.#inChanged[row] = 0
    this.#index.add(row)
    return row
  }

  /** Queues the row for `drain`. */
  touch(row: number): void {
    if (this.#inChanged[row] === 1) return
    this.#inChanged[row] = 1
    this.changed.push(row)
  }

  addSet(row: number, set: number): void {
    let node = this.#bag[row] as number
    while (node >= 0 && this.#nodeSet[node] !== set) node = this.#nodeNext[node] as number
    if (node >= 0) {
      this.#nodeCount[node] = (this.#nodeCount[node] as number) + 1
      return
    }
    node = this.#nodes.take()
    this.#sets.retain(set)
    this.#nodeSet[node] = set
    this.#nodeCount[node] = 1
    this.#nodeNext[node] = this.#bag[row] as number
    this.#bag[row] = node
    this.#setUnion(row, this.#sets.union(this.union[row] as number, set))
  }

  removeSet(row: number, set: number): void {
    let before = -1
    let node = this.#bag[row] as number
    while (node >= 0 && this.#nodeSet[node] !== set) {
      before = node
      node = this.#nodeNext[node] as number
    }
    if (node < 0) return
    const count = (this.#nodeCount[node] as number) - 1
    this.#nodeCount[node] = count
    if (count > 0) return
    const next = this.#nodeNext[node] as number
    if (before < 0) this.#bag[row] = next
    else this.#nodeNext[before] = next
    this.#nodes.give(node)
    let union = 0
    for (let left = this.#bag[row] as number; left >= 0; left = this.#nodeNext[left] as number) {
      const wider = this.#sets.union(union, this.#nodeSet[left] as number)
      this.#sets.release(union)
      union = wider
    }
    this.#setUnion(row, union)
    this.#sets.release(set)
  }

  /** Takes over the reference on `union`. */
  #setUnion(row: number, union: number): void {
    const old = this.union[row] as number
    this.union[row] = union
    if (old !== union) this.touch(row)
    this.#sets.release(old)
  }

  /** How many different label sets the address has; 0 when no entry is left. */
  bagSize(row: number): number {
    let n = 0
    for (let node = this.#bag[row] as number; node >= 0; node = this.#nodeNext[node] as number) n++
    return n
  }

  /**
   * Hands over the rows whose union changed, at most `max`, and forgets rows that no entry uses any more.
   * Returns how many were handed over.
   */
  drain(max: number, take: (row: number, bytes: Uint8Array, offset: number, union: number) => void): number {
    let n = 0
    while (n < max) {
      const row = this.changed.pop()
      if (row === undefined) break
      n++
      this.#inChanged[row] = 0
      take(row, this.bytes, row * 16, this.union[row] as number)
      if (this.entries[row] === -1 && this.#inChanged[row] === 0) {
        this.#index.remove(row)
        this.entries[row] = -2
        this.#rows.give(row)
      }
    }
    return n
  }

  /** False for a row that holds no address at the moment. */
  used(row: number): boolean {
    return (this.entries[row] as number) >= -1
  }
}

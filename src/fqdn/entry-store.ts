import { IntIndex, mixWords, RowPool } from '../core/int-index.ts'

/** No pair: the address is kept though nobody knows a name for it (an orphan). */
export const NO_PAIR = -1

/** (endpoint, name, address) entries and their place in two lists: of the pair and of the address. */
export class EntryStore {
  readonly pair: Int32Array
  readonly address: Int32Array
  /** Slot in the table of standing mappings, -1 none. */
  readonly slot: Int32Array
  /** Expiry while `slot` is -1; else the table's counts. */
  readonly until: Int32Array
  /** Label set of an orphan. */
  readonly set: Int32Array
  /** Number of the learning that last touched the entry: it is not evicted for the sake of the same answer. */
  readonly touched: Int32Array
  /** Number of the learning that made the entry: tells a row that was given to another entry since. */
  readonly born: Int32Array
  readonly nextOfPair: Int32Array
  readonly #previousOfPair: Int32Array
  readonly nextOfAddress: Int32Array
  readonly #previousOfAddress: Int32Array
  readonly #hashes: Int32Array
  readonly #index: IntIndex
  readonly #rows: RowPool
  readonly #pairHeads: Int32Array
  readonly #addressHeads: Int32Array
  #soughtPair = 0
  #soughtAddress = 0
  readonly #same = (row: number): boolean =>
    this.pair[row] === this.#soughtPair && this.address[row] === this.#soughtAddress

  constructor(capacity: number, pairHeads: Int32Array, addressHeads: Int32Array) {
    const column = (): Int32Array => new Int32Array(capacity)
    this.pair = column()
    this.address = column()
    this.slot = column()
    this.until = column()
    this.set = column()
    this.touched = column()
    this.born = column()
    this.nextOfPair = column()
    this.#previousOfPair = column()
    this.nextOfAddress = column()
    this.#previousOfAddress = column()
    this.#hashes = column()
    this.#index = new IntIndex(capacity, this.#hashes)
    this.#rows = new RowPool(capacity)
    this.#pairHeads = pairHeads
    this.#addressHeads = addressHeads
  }

  get count(): number {
    return this.#rows.used
  }

  get high(): number {
    return this.#rows.high
  }

  get full(): boolean {
    return this.#rows.used >= this.#rows.capacity
  }

  find(pair: number, address: number): number {
    this.#soughtPair = pair
    this.#soughtAddress = address
    return this.#index.find(mixWords(pair, address), this.#same)
  }

  /** -1 when full. */
  add(pair: number, address: number, until: number): number {
    const row = this.#rows.take()
    if (row < 0) return -1
    this.pair[row] = pair
    this.address[row] = address
    this.slot[row] = -1
    this.until[row] = until
    this.set[row] = 0
    this.touched[row] = 0
    this.born[row] = 0
    this.#hashes[row] = mixWords(pair, address)
    this.#index.add(row)
    if (pair !== NO_PAIR) {
      const head = this.#pairHeads[pair] as number
      this.nextOfPair[row] = head
      this.#previousOfPair[row] = -1
      if (head >= 0) this.#previousOfPair[head] = row
      this.#pairHeads[pair] = row
    }
    const head = this.#addressHeads[address] as number
    this.nextOfAddress[row] = head
    this.#previousOfAddress[row] = -1
    if (head >= 0) this.#previousOfAddress[head] = row
    this.#addressHeads[address] = row
    return row
  }

  remove(row: number): void {
    this.#index.remove(row)
    const pair = this.pair[row] as number
    if (pair !== NO_PAIR) {
      const next = this.nextOfPair[row] as number
      const previous = this.#previousOfPair[row] as number
      if (previous >= 0) this.nextOfPair[previous] = next
      else this.#pairHeads[pair] = next
      if (next >= 0) this.#previousOfPair[next] = previous
    }
    const next = this.nextOfAddress[row] as number
    const previous = this.#previousOfAddress[row] as number
    if (previous >= 0) this.nextOfAddress[previous] = next
    else this.#addressHeads[this.address[row] as number] = next
    if (next >= 0) this.#previousOfAddress[next] = previous
    this.address[row] = -1
    this.#rows.give(row)
  }

  used(row: number): boolean {
    return this.address[row] !== -1
  }
}

import { IntIndex, mixWords, RowPool } from '../core/int-index.ts'

/** One endpoint's names: a list from the oldest to the newest. */
export interface EndpointNames {
  readonly slot: number
  readonly id: number
  /** namespace/name: a number used again by another pod finds nothing of the old one. */
  readonly key: string
  oldest: number
  newest: number
  names: number
  entries: number
}

/** (endpoint, name) pairs and their place in two lists: of the endpoint and of the name. */
export class PairStore {
  readonly endpoint: Int32Array
  readonly name: Int32Array
  readonly entries: Int32Array
  readonly entryCount: Int32Array
  /** Last conntrack pass in which some address of the pair was alive. */
  readonly livePass: Int32Array
  readonly nextOfName: Int32Array
  readonly #previousOfName: Int32Array
  readonly newer: Int32Array
  readonly #older: Int32Array
  readonly #hashes: Int32Array
  readonly #index: IntIndex
  readonly #rows: RowPool
  readonly #nameHeads: Int32Array
  #soughtEndpoint = 0
  #soughtName = 0
  readonly #same = (row: number): boolean =>
    this.endpoint[row] === this.#soughtEndpoint && this.name[row] === this.#soughtName

  /** `nameHeads`: the name store's column of first pairs. */
  constructor(capacity: number, nameHeads: Int32Array) {
    const column = (): Int32Array => new Int32Array(capacity)
    this.endpoint = column()
    this.name = column()
    this.entries = column()
    this.entryCount = column()
    this.livePass = column()
    this.nextOfName = column()
    this.#previousOfName = column()
    this.newer = column()
    this.#older = column()
    this.#hashes = column()
    this.#index = new IntIndex(capacity, this.#hashes)
    this.#rows = new RowPool(capacity)
    this.#nameHeads = nameHeads
  }

  get count(): number {
    return this.#rows.used
  }

  get high(): number {
    return this.#rows.high
  }

  find(endpointSlot: number, name: number): number {
    this.#soughtEndpoint = endpointSlot
    this.#soughtName = name
    return this.#index.find(mixWords(endpointSlot, name), this.#same)
  }

  /** -1 when full. */
  add(owner: EndpointNames, name: number): number {
    const row = this.#rows.take()
    if (row < 0) return -1
    this.endpoint[row] = owner.slot
    this.name[row] = name
    this.entries[row] = -1
    this.entryCount[row] = 0
    this.livePass[row] = 0
    this.#hashes[row] = mixWords(owner.slot, name)
    this.#index.add(row)
    const head = this.#nameHeads[name] as number
    this.nextOfName[row] = head
    this.#previousOfName[row] = -1
    if (head >= 0) this.#previousOfName[head] = row
    this.#nameHeads[name] = row
    this.#append(owner, row)
    owner.names++
    return row
  }

  #append(owner: EndpointNames, row: number): void {
    this.#older[row] = owner.newest
    this.newer[row] = -1
    if (owner.newest >= 0) this.newer[owner.newest] = row
    else owner.oldest = row
    owner.newest = row
  }

  #unlink(owner: EndpointNames, row: number): void {
    const newer = this.newer[row] as number
    const older = this.#older[row] as number
    if (older >= 0) this.newer[older] = newer
    else owner.oldest = newer
    if (newer >= 0) this.#older[newer] = older
    else owner.newest = older
  }

  /** The pair was used: it is now the newest of its endpoint. */
  renew(owner: EndpointNames, row: number): void {
    if (owner.newest === row) return
    this.#unlink(owner, row)
    this.#append(owner, row)
  }

  remove(owner: EndpointNames, row: number): void {
    this.#index.remove(row)
    const next = this.nextOfName[row] as number
    const previous = this.#previousOfName[row] as number
    if (previous >= 0) this.nextOfName[previous] = next
    else this.#nameHeads[this.name[row] as number] = next
    if (next >= 0) this.#previousOfName[next] = previous
    this.#unlink(owner, row)
    owner.names--
    this.endpoint[row] = -1
    this.#rows.give(row)
  }

  used(row: number): boolean {
    return this.endpoint[row] !== -1
  }
}

import { AddressStore } from './address-store.ts'
import { FQDN } from './counters.ts'
import { EntryStore, NO_PAIR } from './entry-store.ts'
import { Evictor } from './evictor.ts'
import { NameStore } from './name-store.ts'
import { type EndpointNames, PairStore } from './pair-store.ts'
import type { LabelSets, NameLimits, NameMatcher } from './ports.ts'
import { PairHash } from './shared/pair-hash.ts'
import type { StandingTable } from './shared/standing-table.ts'
import { Wheel } from './wheel.ts'

export interface NameStateOptions {
  readonly limits: NameLimits
  readonly sets: LabelSets
  readonly table: StandingTable
  readonly seed: readonly [number, number]
  readonly nowSeconds: number
  /** Counters at the places of `FQDN`. */
  readonly stats: Float64Array
}

/** 0 known from now on, 1 refused by a limit. */
export type LearnStatus = 0 | 1

/** More rows than entries: an address without entries keeps its row until the map writer has seen it go. */
const ADDRESS_SLACK = 8192

/**
 * What names resolved to, for whom, until when. Rows of typed columns, sized once by `maxEntries`: nothing here is
 * garbage, nothing is ever copied to grow. The state changes no map; `addresses.drain` says what has to change.
 */
export class NameState {
  readonly names: NameStore
  readonly addresses: AddressStore
  readonly pairs: PairStore
  readonly entries: EntryStore
  readonly wheel: Wheel
  readonly table: StandingTable
  readonly stats: Float64Array
  readonly limits: NameLimits
  /** What the policy in force says about a name; changed by the policy's apply. */
  matcher: NameMatcher = () => 0
  /** The last conntrack pass that was finished, 0 none. */
  lastPass = 0
  /** The pair being learned is kept even while it has no entry. */
  pinned = NO_PAIR
  learning = 0
  /** A limit was reached: the next conntrack pass is wanted though nothing is over time. */
  pressed = false
  readonly #endpoints = new Map<number, EndpointNames>()
  readonly #slots: (EndpointNames | undefined)[] = []
  readonly #sets: LabelSets
  readonly #hash: PairHash
  readonly #evictor: Evictor
  #pass = 0
  #passOpen = false
  readonly #untilOf = (entry: number): number => this.until(entry)

  constructor(options: NameStateOptions) {
    const capacity = options.limits.maxEntries
    this.limits = options.limits
    this.stats = options.stats
    this.table = options.table
    this.#sets = options.sets
    this.#hash = new PairHash(options.seed[0], options.seed[1])
    this.names = new NameStore(capacity + 1, this.#hash)
    this.addresses = new AddressStore(capacity + ADDRESS_SLACK, options.sets, this.#hash)
    this.pairs = new PairStore(capacity + 1, this.names.pairs)
    this.entries = new EntryStore(capacity, this.pairs.entries, this.addresses.entries)
    this.wheel = new Wheel(capacity, options.nowSeconds)
    this.#evictor = new Evictor(this)
  }

  count(counter: number, by = 1): void {
    this.stats[counter] = (this.stats[counter] as number) + by
  }

  endpoint(id: number): EndpointNames | undefined {
    return this.#endpoints.get(id)
  }

  get endpoints(): Iterable<EndpointNames> {
    return this.#endpoints.values()
  }

  ownerOf(pair: number): EndpointNames {
    return this.#slots[this.pairs.endpoint[pair] as number] as EndpointNames
  }

  /** The endpoint may learn from now on. Another key under a known number is a programming error: drop it first. */
  addEndpoint(id: number, key: string): void {
    if (this.#endpoints.has(id)) return
    let slot = this.#slots.indexOf(undefined)
    if (slot < 0) slot = this.#slots.length
    const owner: EndpointNames = { slot, id, key, oldest: -1, newest: -1, names: 0, entries: 0 }
    this.#slots[slot] = owner
    this.#endpoints.set(id, owner)
  }

  /** Drops at most about `max` entries of an endpoint; true when the endpoint is gone. */
  dropEndpoint(id: number, nowSeconds: number, max: number): boolean {
    const owner = this.#endpoints.get(id)
    if (owner === undefined) return true
    for (let left = max; left > 0; left--) {
      if (owner.oldest < 0) {
        this.#endpoints.delete(id)
        this.#slots[owner.slot] = undefined
        return true
      }
      const entry = this.pairs.entries[owner.oldest] as number
      this.#orphanIfLast(entry, nowSeconds)
      this.removeEntry(entry)
    }
    return false
  }

  /** A connection of another pod may still use the address: without names it waits for the next conntrack pass. */
  #orphanIfLast(entry: number, nowSeconds: number): void {
    const address = this.entries.address[entry] as number
    const set = this.addresses.union[address] as number
    if (set === 0 || this.entries.nextOfAddress[entry] !== -1 || this.addresses.entries[address] !== entry) return
    this.addOrphanRow(address, set, nowSeconds)
  }

  /** Keeps an address whose name is not known, with the labels it has in the map. False when there is no room. */
  adopt(bytes: Uint8Array, offset: number, set: number, until: number): boolean {
    const address = this.addresses.findOrAdd(bytes, offset)
    return address >= 0 && this.addOrphanRow(address, set, until)
  }

  addOrphanRow(address: number, set: number, until: number): boolean {
    if (this.entries.find(NO_PAIR, address) >= 0) return true
    const orphan = this.entries.add(NO_PAIR, address, until)
    if (orphan < 0) {
      if (this.addresses.entries[address] === -1) this.addresses.touch(address)
      return false
    }
    this.#sets.retain(set)
    this.entries.set[orphan] = set
    this.addresses.addSet(address, set)
    this.wheel.schedule(orphan, until)
    this.count(FQDN.orphans)
    return true
  }

  until(entry: number): number {
    const slot = this.entries.slot[entry] as number
    return slot >= 0 ? this.table.until(slot) : (this.entries.until[entry] as number)
  }

  /**
   * Takes one answer. `touched` gets the entries of its addresses. Names and addresses are copied.
   * Refused (1) when a limit leaves no room for some address, or the endpoint is not known.
   */
  learn(
    endpointId: number,
    name: Uint8Array,
    nameOffset: number,
    nameLength: number,
    addresses: Uint8Array,
    addressesOffset: number,
    count: number,
    until: number,
    touched: number[],
  ): LearnStatus {
    const owner = this.#endpoints.get(endpointId)
    if (owner === undefined) {
      this.count(FQDN.refusedEndpoint)
      return 1
    }
    if (count === 0) return 0
    this.learning++
    const pair = this.#pairFor(owner, name, nameOffset, nameLength)
    if (pair < 0) return 1
    this.pinned = pair
    let status: LearnStatus = 0
    for (let i = 0; i < count; i++) {
      const entry = this.#entryFor(owner, pair, addresses, addressesOffset + 16 * i, until)
      if (entry < 0) status = 1
      else touched.push(entry)
    }
    this.pinned = NO_PAIR
    if (this.pairs.entryCount[pair] === 0) this.#removePair(pair)
    return status
  }

  #pairFor(owner: EndpointNames, name: Uint8Array, offset: number, length: number): number {
    const known = this.names.find(name, offset, length)
    if (known >= 0) {
      const pair = this.pairs.find(owner.slot, known)
      if (pair >= 0) {
        this.pairs.renew(owner, pair)
        return pair
      }
    }
    if (!this.#evictor.roomForName(owner)) {
      this.count(FQDN.refusedNames)
      return -1
    }
    let row = known
    if (row < 0) {
      row = this.names.add(name, offset, length)
      if (row < 0) return -1
      this.names.set[row] = this.matcher(this.names.chunk(row), this.names.offset(row))
    }
    return this.pairs.add(owner, row)
  }

  #entryFor(owner: EndpointNames, pair: number, bytes: Uint8Array, offset: number, until: number): number {
    const { entries, addresses } = this
    let address = addresses.find(bytes, offset)
    if (address >= 0) {
      const entry = entries.find(pair, address)
      if (entry >= 0) {
        this.#raise(entry, until)
        entries.touched[entry] = this.learning
        this.count(FQDN.renewed)
        return entry
      }
    }
    if (!this.#evictor.roomForAddress(pair)) {
      this.count(FQDN.refusedAddresses)
      return -1
    }
    if (!this.#evictor.roomForShare(owner)) {
      this.count(FQDN.refusedShare)
      return -1
    }
    if (!this.#evictor.roomForEntry()) {
      this.count(FQDN.refusedEntries)
      return -1
    }
    address = addresses.findOrAdd(bytes, offset)
    if (address < 0) {
      this.count(FQDN.refusedEntries)
      return -1
    }
    const entry = entries.add(pair, address, until)
    owner.entries++
    entries.touched[entry] = this.learning
    entries.born[entry] = this.learning
    this.pairs.entryCount[pair] = (this.pairs.entryCount[pair] as number) + 1
    addresses.addSet(address, this.names.set[this.pairs.name[pair] as number] as number)
    this.wheel.schedule(entry, until)
    this.count(FQDN.learned)
    return entry
  }

  #raise(entry: number, until: number): void {
    const slot = this.entries.slot[entry] as number
    if (slot >= 0) this.table.extend(slot, until)
    else if ((this.entries.until[entry] as number) < until) this.entries.until[entry] = until
  }

  /** The map has the address: workers may answer from the table from now on. */
  makeStanding(entry: number): void {
    const pair = this.entries.pair[entry] as number
    if (pair === NO_PAIR || (this.entries.slot[entry] as number) >= 0) return
    const name = this.pairs.name[pair] as number
    this.#hash.start(this.ownerOf(pair).id, this.names.chunk(name), this.names.offset(name), this.names.length(name))
    this.#hash.address(this.addresses.bytes, (this.entries.address[entry] as number) * 16)
    const slot = this.table.insert(this.#hash.lo, this.#hash.hi, this.entries.until[entry] as number)
    if (slot < 0) this.count(FQDN.tableFull)
    this.entries.slot[entry] = slot
  }

  /** The map could not be brought in line for this address: its answers go the slow way until it is. */
  unstand(address: number): void {
    for (let e = this.addresses.entries[address] as number; e >= 0; e = this.entries.nextOfAddress[e] as number) {
      this.#takeSlot(e)
    }
  }

  #takeSlot(entry: number): void {
    const slot = this.entries.slot[entry] as number
    if (slot < 0) return
    this.entries.until[entry] = this.table.killNow(slot)
    this.table.free(slot)
    this.entries.slot[entry] = -1
  }

  removeEntry(entry: number): void {
    const { entries, pairs, addresses } = this
    this.#takeSlot(entry)
    this.wheel.remove(entry)
    const pair = entries.pair[entry] as number
    const address = entries.address[entry] as number
    const set = pair === NO_PAIR ? entries.set[entry] : this.names.set[pairs.name[pair] as number]
    entries.remove(entry)
    addresses.removeSet(address, set as number)
    if (addresses.entries[address] === -1) addresses.touch(address)
    if (pair === NO_PAIR) {
      this.#sets.release(set as number)
      this.count(FQDN.orphans, -1)
      return
    }
    this.ownerOf(pair).entries--
    const left = (pairs.entryCount[pair] as number) - 1
    pairs.entryCount[pair] = left
    if (left === 0 && pair !== this.pinned) this.#removePair(pair)
  }

  #removePair(pair: number): void {
    const name = this.pairs.name[pair] as number
    this.pairs.remove(this.ownerOf(pair), pair)
    if (this.names.pairs[name] !== -1) return
    this.#sets.release(this.names.set[name] as number)
    this.names.remove(name)
  }

  /** True when the last finished conntrack pass, or the one under way, saw a connection to the entry's address. */
  isLive(entry: number): boolean {
    return (
      this.lastPass > 0 && (this.addresses.livePass[this.entries.address[entry] as number] as number) >= this.lastPass
    )
  }

  /**
   * Asks the policy again about names from row `from` on, until about `max` entries were moved.
   * Returns the row to go on with, or -1 at the end.
   */
  reevaluate(from: number, max: number): number {
    let work = 0
    for (let row = from; row < this.names.high; row++) {
      if (work >= max) return row
      work++
      if (!this.names.used(row)) continue
      const set = this.matcher(this.names.chunk(row), this.names.offset(row))
      const old = this.names.set[row] as number
      if (set === old) {
        this.#sets.release(set)
        continue
      }
      this.names.set[row] = set
      for (let pair = this.names.pairs[row] as number; pair >= 0; pair = this.pairs.nextOfName[pair] as number) {
        for (let e = this.pairs.entries[pair] as number; e >= 0; e = this.entries.nextOfPair[e] as number) {
          const address = this.entries.address[e] as number
          this.addresses.addSet(address, set)
          this.addresses.removeSet(address, old)
          work++
        }
      }
      this.#sets.release(old)
    }
    return -1
  }

  /** Label set that names give to an address, 0 none. */
  labelsOf(addr16: Uint8Array, offset: number): number {
    const row = this.addresses.find(addr16, offset)
    return row < 0 ? 0 : (this.addresses.union[row] as number)
  }

  /** Queues addresses from row `from` on for a new look; the row to go on with, -1 at the end. */
  touchAddresses(from: number, max: number): number {
    const end = Math.min(from + max, this.addresses.high)
    for (let row = from; row < end; row++) if (this.addresses.used(row)) this.addresses.touch(row)
    return end < this.addresses.high ? end : -1
  }

  /** Moves what is over time to limbo, at most `max`; true when nothing is left to move. */
  advance(nowSeconds: number, max: number): boolean {
    return this.wheel.advance(nowSeconds, max, this.#untilOf)
  }

  get passOpen(): boolean {
    return this.#passOpen
  }

  /** Conntrack could not be read: nothing is judged dead, all wait for the next pass. */
  abandonPass(): void {
    this.#passOpen = false
    for (let e = this.wheel.firstOfPass(); e >= 0; e = this.wheel.firstOfPass()) this.wheel.backToLimbo(e)
  }

  /** A conntrack pass begins: it decides about what is in limbo now. */
  beginPass(): void {
    this.#pass++
    this.#passOpen = true
    this.wheel.turnLimbo()
  }

  /** A live connection to this addr16. All addresses of a name live as long as one of them does. */
  markLive(bytes: Uint8Array, offset: number): void {
    const address = this.addresses.find(bytes, offset)
    if (address < 0 || this.addresses.livePass[address] === this.#pass) return
    this.addresses.livePass[address] = this.#pass
    for (let e = this.addresses.entries[address] as number; e >= 0; e = this.entries.nextOfAddress[e] as number) {
      const pair = this.entries.pair[e] as number
      if (pair !== NO_PAIR) this.pairs.livePass[pair] = this.#pass
    }
  }

  endPass(): void {
    this.lastPass = this.#pass
    this.pressed = false
    this.#passOpen = false
    this.count(FQDN.passes)
  }

  /** Removes what the finished pass found dead, at most `max`; true when nothing is left of the pass. */
  reap(nowSeconds: number, max: number): boolean {
    for (let left = max; left > 0; left--) {
      const entry = this.wheel.firstOfPass()
      if (entry < 0) return true
      const pair = this.entries.pair[entry] as number
      const pairLive = pair !== NO_PAIR && (this.pairs.livePass[pair] as number) >= this.lastPass
      if (pairLive || this.isLive(entry)) {
        this.wheel.backToLimbo(entry)
        this.count(FQDN.keptByConntrack)
        continue
      }
      const slot = this.entries.slot[entry] as number
      const until = this.until(entry)
      if (until > nowSeconds || (slot >= 0 && !this.table.kill(slot, until))) {
        this.wheel.remove(entry)
        this.wheel.schedule(entry, Math.max(until, nowSeconds + 1))
        continue
      }
      this.removeEntry(entry)
      this.count(FQDN.expired)
    }
    return this.wheel.firstOfPass() < 0
  }

  /** Writes the gauges. */
  gauge(): void {
    this.stats[FQDN.names] = this.names.count
    this.stats[FQDN.pairs] = this.pairs.count
    this.stats[FQDN.entries] = this.entries.count
    this.stats[FQDN.addresses] = this.addresses.count
  }
}

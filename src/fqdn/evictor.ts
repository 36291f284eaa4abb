import { FQDN } from './counters.ts'
import { type EntryStore, NO_PAIR } from './entry-store.ts'
import type { EndpointNames, PairStore } from './pair-store.ts'
import type { NameLimits } from './ports.ts'

/** Names looked at for a victim before the endpoint's limit gives way a little. */
const NAME_PROBES = 64
/** Entries looked at for a victim before an answer is refused. */
const ENTRY_PROBES = 1024
const ENTRY_SAMPLE = 32

/** What the evictor sees of the state. */
export interface Evictable {
  readonly pairs: PairStore
  readonly entries: EntryStore
  readonly limits: NameLimits
  readonly lastPass: number
  readonly learning: number
  readonly pinned: number
  pressed: boolean
  count(counter: number): void
  removeEntry(entry: number): void
  isLive(entry: number): boolean
  until(entry: number): number
}

/**
 * Who has to go when a limit is reached. `maxEntries` and an endpoint's share of it are hard: what finds no victim is refused. The limits per name
 * and per endpoint are soft: when everything looked at has a live connection they give way by a quarter, and only
 * then an answer is refused. An entry with a live connection never goes while another one can. How much is known of
 * connections is as old as the last conntrack pass.
 */
export class Evictor {
  readonly #state: Evictable
  #hand = 0

  constructor(state: Evictable) {
    this.#state = state
  }

  #evict(entry: number): void {
    this.#state.removeEntry(entry)
    this.#state.count(FQDN.evictedEntries)
  }

  roomForName(owner: EndpointNames): boolean {
    const { pairs, limits } = this.#state
    if (owner.names < limits.maxNamesPerEndpoint) return true
    this.#state.pressed = true
    for (let probes = Math.min(NAME_PROBES, owner.names); probes > 0; probes--) {
      const oldest = owner.oldest
      if (!this.#pairLive(oldest)) {
        this.#evictPair(oldest)
        return true
      }
      pairs.renew(owner, oldest)
    }
    return owner.names < limits.maxNamesPerEndpoint * 1.25
  }

  /** Room in the endpoint's share of all entries: its name not asked for longest goes, with all its addresses. */
  roomForShare(owner: EndpointNames): boolean {
    const { pairs, limits, pinned } = this.#state
    if (owner.entries < limits.maxEntriesPerEndpoint) return true
    this.#state.pressed = true
    for (let probes = Math.min(NAME_PROBES, owner.names); probes > 0; probes--) {
      const oldest = owner.oldest
      if (oldest === pinned || this.#pairLive(oldest)) pairs.renew(owner, oldest)
      else {
        this.#evictPair(oldest)
        return true
      }
    }
    return false
  }

  /** The pair, and perhaps its name, go with their last entry. */
  #evictPair(pair: number): void {
    const { pairs } = this.#state
    for (let n = pairs.entryCount[pair] as number; n > 0; n--) this.#evict(pairs.entries[pair] as number)
    this.#state.count(FQDN.evictedNames)
  }

  #pairLive(pair: number): boolean {
    const { pairs, lastPass } = this.#state
    return lastPass > 0 && (pairs.livePass[pair] as number) >= lastPass
  }

  /** Room in `pair` for one more: the first to expire goes. */
  roomForAddress(pair: number): boolean {
    const state = this.#state
    const { pairs, entries, limits } = state
    if ((pairs.entryCount[pair] as number) < limits.maxAddressesPerName) return true
    state.pressed = true
    let victim = -1
    let soonest = Infinity
    for (let e = pairs.entries[pair] as number; e >= 0; e = entries.nextOfPair[e] as number) {
      if (entries.touched[e] === state.learning || state.isLive(e)) continue
      const until = state.until(e)
      if (until < soonest) {
        soonest = until
        victim = e
      }
    }
    if (victim >= 0) {
      this.#evict(victim)
      return true
    }
    return (pairs.entryCount[pair] as number) < limits.maxAddressesPerName * 1.25
  }

  /** Room for one more entry of anybody: of a sample, the first to expire goes. */
  roomForEntry(): boolean {
    const state = this.#state
    const { entries } = state
    if (!entries.full) return true
    state.pressed = true
    let victim = -1
    let soonest = Infinity
    let sampled = 0
    for (let probes = 0; probes < ENTRY_PROBES && sampled < ENTRY_SAMPLE; probes++) {
      const e = this.#hand
      this.#hand = (e + 1) % entries.high
      if (!entries.used(e) || entries.touched[e] === state.learning || state.isLive(e)) continue
      if (entries.pair[e] !== NO_PAIR && entries.pair[e] === state.pinned) continue
      sampled++
      const until = state.until(e)
      if (until < soonest) {
        soonest = until
        victim = e
      }
    }
    if (victim < 0) return false
    this.#evict(victim)
    return true
  }
}

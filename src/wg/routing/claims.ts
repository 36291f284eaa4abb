import { formatCidr } from '../../core/ip.ts'
import { sendsThroughTunnel } from '../activation.ts'
import type { PeerRoutes } from '../seams.ts'
import type { Slot } from '../slots.ts'
import { familyOfPrefix, type Wanted } from './plan.ts'
import { OTHER, type Prefix, type Rows } from './rows.ts'

interface Peer {
  readonly uid: string
  prefixes: ReadonlySet<Prefix>
  egress: Slot
  sends: boolean
  /** Its nexthops are base + 2 * index, and one more for IPv6; undefined while it never needed one. */
  index: number | undefined
}

/** What an earlier run left under a prefix. */
interface Remnant {
  readonly route: number | undefined
  readonly closed: boolean
}

/** Ids and prefixes that a change touched. */
export interface Touched {
  readonly ids: Set<number>
  readonly prefixes: Set<Prefix>
}

/** Nexthop numbers that are ours: two for each peer of a fleet larger than any. */
export const NEXTHOP_INDEXES = 65_536

/**
 * Which peer has which prefix and nexthop. Pure.
 *
 * A prefix may be claimed by two peers while it moves from one to the other: those that send through a tunnel come before
 * those that do not, and among them the newest claim counts. What an earlier run left stays wanted as it was found until a
 * peer claims it, or `prune`: nothing may go back to clear text because the list of peers is not read yet.
 */
export class Claims implements Wanted {
  readonly #base: number
  readonly #peers = new Map<string, Peer>()
  /** In the order of the claims. */
  readonly #claims = new Map<Prefix, Peer[]>()
  readonly #remnants = new Map<Prefix, Remnant>()
  /** Prefixes of remnants by nexthop, and where it led. */
  readonly #remnantIds = new Map<number, { readonly slot: Slot; readonly prefixes: Set<Prefix> }>()
  readonly #owners = new Map<number, Peer>()
  readonly #foreign = new Set<number>()
  #free: number[] = []
  #next = 0

  constructor(base: number) {
    this.#base = base
  }

  /** Takes over what an earlier run left; before the first `set`. `foreign`: ids in our range that are another's. */
  adopt(found: Rows, foreign: Iterable<number>): void {
    for (const id of foreign) this.#foreign.add(this.#indexOf(id))
    const all = new Set([...found.routes.keys(), ...found.closed, ...found.bound[0].keys(), ...found.bound[1].keys()])
    for (const prefix of all) {
      const route = found.routes.get(prefix)
      const slot = route === undefined ? undefined : found.nexthops.get(route)
      const known = route !== undefined && slot !== undefined && slot !== OTHER ? route : undefined
      this.#remnants.set(prefix, { route: known, closed: route !== undefined || found.closed.has(prefix) })
      if (known === undefined || slot === undefined || slot === OTHER) continue
      const entry = this.#remnantIds.get(known) ?? { slot, prefixes: new Set<Prefix>() }
      entry.prefixes.add(prefix)
      this.#remnantIds.set(known, entry)
    }
  }

  set({ uid, prefixes, egress, mode }: PeerRoutes): Touched {
    const touched: Touched = { ids: new Set(), prefixes: new Set(prefixes.map(formatCidr)) }
    const now: ReadonlySet<Prefix> = new Set(touched.prefixes)
    const peer: Peer = this.#peers.get(uid) ?? {
      uid,
      prefixes: new Set<Prefix>(),
      egress,
      sends: false,
      index: undefined,
    }
    this.#peers.set(uid, peer)
    for (const prefix of peer.prefixes) {
      if (!now.has(prefix)) this.#disclaim(peer, prefix, touched)
    }
    for (const prefix of now) {
      if (!peer.prefixes.has(prefix)) this.#claims.set(prefix, [...(this.#claims.get(prefix) ?? []), peer])
    }
    peer.prefixes = now
    peer.egress = egress
    peer.sends = sendsThroughTunnel(mode)
    if (peer.sends && peer.index === undefined) this.#give(peer)
    for (const prefix of now) this.#forget(prefix, touched)
    this.#touchIds(peer.index, touched)
    return touched
  }

  remove(uid: string): Touched {
    const touched: Touched = { ids: new Set(), prefixes: new Set() }
    const peer = this.#peers.get(uid)
    if (peer === undefined) return touched
    for (const prefix of peer.prefixes) this.#disclaim(peer, prefix, touched)
    this.#touchIds(peer.index, touched)
    this.#peers.delete(uid)
    if (peer.index !== undefined) {
      this.#owners.delete(peer.index)
      this.#free.push(peer.index)
    }
    return touched
  }

  /** Gives up what an earlier run left and no peer claims. */
  prune(): Touched {
    const touched: Touched = { ids: new Set(this.#remnantIds.keys()), prefixes: new Set(this.#remnants.keys()) }
    this.#remnants.clear()
    this.#remnantIds.clear()
    return touched
  }

  /** Everything that is wanted. */
  all(): Touched {
    const touched: Touched = {
      ids: new Set(this.#remnantIds.keys()),
      prefixes: new Set([...this.#claims.keys(), ...this.#remnants.keys()]),
    }
    for (const index of this.#owners.keys()) this.#touchIds(index, touched)
    return touched
  }

  /**
   * Slot by prefix of what an earlier run sealed. Without a route (the devices were lost while no agent ran) the first slot:
   * the pair had been proven, and goes on closed, not in clear text.
   */
  found(): Map<Prefix, Slot> {
    const found = new Map<Prefix, Slot>()
    for (const [prefix, { route, closed }] of this.#remnants) {
      const slot = route === undefined ? undefined : this.#remnantIds.get(route)?.slot
      if (closed) found.set(prefix, slot ?? 0)
    }
    return found
  }

  nexthop(id: number): Slot | undefined {
    const family = ((id - this.#base) & 1) === 0 ? 4 : 6
    const owner = this.#owners.get(this.#indexOf(id))
    if (owner?.sends === true) {
      for (const prefix of owner.prefixes) if (familyOfPrefix(prefix) === family) return owner.egress
    }
    const remnant = this.#remnantIds.get(id)
    // Prefixes that no peer claims follow the peer that took their nexthop over, while it has one.
    return remnant === undefined ? undefined : (owner?.egress ?? remnant.slot)
  }

  route(prefix: Prefix): number | undefined {
    const peer = this.#sender(prefix)
    if (peer?.index === undefined) return this.#remnants.get(prefix)?.route
    return this.#base + 2 * peer.index + (familyOfPrefix(prefix) === 4 ? 0 : 1)
  }

  closed(prefix: Prefix): boolean {
    return this.#sender(prefix) !== undefined || this.#remnants.get(prefix)?.closed === true
  }

  bound(prefix: Prefix): boolean {
    return this.#claims.has(prefix) || this.#remnants.has(prefix)
  }

  #sender(prefix: Prefix): Peer | undefined {
    return this.#claims.get(prefix)?.findLast((peer) => peer.sends)
  }

  #indexOf(id: number): number {
    return (id - this.#base) >> 1
  }

  #touchIds(index: number | undefined, { ids }: Touched): void {
    if (index === undefined) return
    ids.add(this.#base + 2 * index)
    ids.add(this.#base + 2 * index + 1)
  }

  #disclaim(peer: Peer, prefix: Prefix, touched: Touched): void {
    touched.prefixes.add(prefix)
    const left = (this.#claims.get(prefix) ?? []).filter((one) => one !== peer)
    if (left.length === 0) this.#claims.delete(prefix)
    else this.#claims.set(prefix, left)
  }

  /** A peer has spoken for the prefix. */
  #forget(prefix: Prefix, { ids }: Touched): void {
    const route = this.#remnants.get(prefix)?.route
    this.#remnants.delete(prefix)
    if (route === undefined) return
    ids.add(route)
    const entry = this.#remnantIds.get(route)
    entry?.prefixes.delete(prefix)
    if (entry?.prefixes.size === 0) this.#remnantIds.delete(route)
  }

  /** The nexthop that routes of its prefixes use already, else one that nobody has. */
  #give(peer: Peer): void {
    for (const prefix of peer.prefixes) {
      const route = this.#remnants.get(prefix)?.route
      if (route === undefined) continue
      const index = this.#indexOf(route)
      if (this.#owners.has(index)) continue
      this.#own(peer, index)
      return
    }
    this.#free = this.#free.filter((index) => !this.#owners.has(index))
    const again = this.#free.findIndex((index) => !this.#taken(index))
    if (again >= 0) {
      this.#own(peer, ...(this.#free.splice(again, 1) as [number]))
      return
    }
    while (this.#taken(this.#next)) this.#next++
    this.#own(peer, this.#next++)
  }

  #taken(index: number): boolean {
    const id = this.#base + 2 * index
    return (
      this.#owners.has(index) || this.#foreign.has(index) || this.#remnantIds.has(id) || this.#remnantIds.has(id + 1)
    )
  }

  #own(peer: Peer, index: number): void {
    peer.index = index
    this.#owners.set(index, peer)
  }
}

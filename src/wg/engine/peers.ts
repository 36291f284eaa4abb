import type { Cidr } from '../../core/ip.ts'
import { formatCidr } from '../../core/ip.ts'
import type { NodeRecord } from '../directory/record.ts'
import type { WgState } from '../machine-types.ts'
import type { Pair } from '../pair.ts'
import type { PeerRoutes } from '../seams.ts'
import type { Slot } from '../slots.ts'
import type { SelfAddresses } from './types.ts'
import {
  addressesOf,
  nodeAddressOwners,
  wantedPeer,
  wantedRoutes,
  type PeerAddresses,
  type WantedPeer,
} from './wanted.ts'

interface Made {
  readonly peer: PeerAddresses
  readonly key: string | undefined
  readonly wanted: WantedPeer | undefined
}

interface Told {
  readonly changes: number
  readonly made: Made[]
}

const NOTHING_TOLD: Told = { changes: -1, made: [] }

/** What records say of the peers of the machine, and so what devices and routes must have. */
export class Peers {
  readonly #byUid = new Map<string, PeerAddresses>()
  readonly #encryptNodes: boolean
  readonly #keepalive: number
  readonly #accept: readonly Cidr[]
  readonly #proven: (record: NodeRecord, prefixes: readonly string[]) => boolean
  readonly #state: () => WgState
  readonly #made: readonly [Map<string, Made>, Map<string, Made>] = [new Map(), new Map()]
  /** Grows with every change of a record, or of what is ours. */
  #changes = 0
  /** What was told when all were asked for, in its order. */
  readonly #turns: [Told, Told] = [NOTHING_TOLD, NOTHING_TOLD]
  #self: SelfAddresses
  #owners: ReadonlyMap<string, string> | undefined

  constructor(
    options: { readonly encryptNodes: boolean; readonly keepalive: number; readonly accept?: readonly Cidr[] },
    self: SelfAddresses,
    state: () => WgState,
    proven: (record: NodeRecord, prefixes: readonly string[]) => boolean = () => false,
  ) {
    this.#accept = options.accept ?? []
    this.#proven = proven
    this.#encryptNodes = options.encryptNodes
    this.#keepalive = options.keepalive
    this.#self = self
    this.#state = state
  }

  /** Of every peer, seconds. */
  get keepalive(): number {
    return this.#keepalive
  }

  get all(): ReadonlyMap<string, PeerAddresses> {
    return this.#byUid
  }

  setSelf(self: SelfAddresses): void {
    this.#self = self
    this.#changes++
    this.#owners = undefined
    for (const made of this.#made) made.clear()
  }

  get(uid: string): PeerAddresses | undefined {
    return this.#byUid.get(uid)
  }

  set(record: NodeRecord): PeerAddresses {
    const addresses = addressesOf(record)
    this.#byUid.set(record.nodeUID, addresses)
    this.#forget()
    return addresses
  }

  delete(uid: string): void {
    this.#byUid.delete(uid)
    for (const made of this.#made) made.delete(uid)
    this.#forget()
  }

  wanted(uid: string, slot: Slot): WantedPeer | undefined {
    const pair = this.#state().peers.get(uid)
    return pair && this.#make(pair, slot)?.wanted
  }

  /** In one go: every look at a device asks for all of them, and nearly all are what they were in the same turn before. */
  allWanted(slot: Slot): WantedPeer[] {
    const all: WantedPeer[] = []
    const before = this.#turns[slot]
    const kept: Made[] = before.changes === this.#changes ? before.made : []
    this.#turns[slot] = { changes: this.#changes, made: kept }
    let turn = 0
    for (const pair of this.#state().peers) {
      let made = kept[turn]
      const same = made?.peer.record.nodeUID === pair.uid && made.key === pair.tunnels[slot].key
      if (!same) made = this.#make(pair, slot)
      if (made === undefined) continue
      kept[turn++] = made
      if (made.wanted !== undefined) all.push(made.wanted)
    }
    return all
  }

  /** With the same object while record, key and what is ours stay the same. Undefined without a record. */
  #make(pair: Pair, slot: Slot): Made | undefined {
    const peer = this.#byUid.get(pair.uid)
    if (peer === undefined) return undefined
    const { key } = pair.tunnels[slot]
    const known = this.#made[slot].get(pair.uid)
    if (known?.peer === peer && known.key === key) return known
    const families = new Set(this.#self.endpoints.map(({ family }) => family))
    const mine = { families, keepalive: this.#keepalive, nodeIPs: this.#nodeIPs(peer) }
    const made = { peer, key, wanted: wantedPeer(peer, pair, slot, mine) }
    this.#made[slot].set(pair.uid, made)
    return made
  }

  /** Which node has which node address may be another from now on. */
  #forget(): void {
    this.#changes++
    this.#owners = undefined
    if (this.#encryptNodes) for (const made of this.#made) made.clear()
  }

  routes(uid: string): PeerRoutes | undefined {
    const pair = this.#state().peers.get(uid)
    const peer = this.#byUid.get(uid)
    return pair === undefined || peer === undefined ? undefined : wantedRoutes(peer, pair, this.#nodeIPs(peer))
  }

  #nodeIPs(peer: PeerAddresses): readonly Cidr[] {
    if (!this.#encryptNodes) return []
    this.#owners ??= nodeAddressOwners(this.#byUid.values(), {
      addresses: [...this.#self.endpoints, ...this.#self.nodeIPs],
      prefixes: this.#self.prefixes,
      accept: this.#accept,
      proven: this.#proven,
    })
    return peer.nodeIPs.filter((cidr) => this.#owners?.get(formatCidr(cidr)) === peer.record.nodeUID)
  }
}

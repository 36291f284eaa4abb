import type { Cidr } from '../../core/ip.ts'
import { formatCidr } from '../../core/ip.ts'
import type { NodeRecord } from '../directory/record.ts'
import type { WgState } from '../machine-types.ts'
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

/** What records say of the peers of the machine, and so what devices and routes must have. */
export class Peers {
  readonly #byUid = new Map<string, PeerAddresses>()
  readonly #encryptNodes: boolean
  readonly #keepalive: number
  readonly #accept: readonly Cidr[]
  readonly #proven: (record: NodeRecord, prefixes: readonly string[]) => boolean
  readonly #state: () => WgState
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

  get all(): ReadonlyMap<string, PeerAddresses> {
    return this.#byUid
  }

  setSelf(self: SelfAddresses): void {
    this.#self = self
    this.#owners = undefined
  }

  get(uid: string): PeerAddresses | undefined {
    return this.#byUid.get(uid)
  }

  set(record: NodeRecord): PeerAddresses {
    const addresses = addressesOf(record)
    this.#byUid.set(record.nodeUID, addresses)
    this.#owners = undefined
    return addresses
  }

  delete(uid: string): void {
    this.#byUid.delete(uid)
    this.#owners = undefined
  }

  wanted(uid: string, slot: Slot): WantedPeer | undefined {
    const pair = this.#state().peers.get(uid)
    const peer = this.#byUid.get(uid)
    if (pair === undefined || peer === undefined) return undefined
    const families = new Set(this.#self.endpoints.map(({ family }) => family))
    return wantedPeer(peer, pair, slot, { families, keepalive: this.#keepalive, nodeIPs: this.#nodeIPs(peer) })
  }

  *allWanted(slot: Slot): Iterable<WantedPeer> {
    for (const { uid } of this.#state().peers) {
      const wanted = this.wanted(uid, slot)
      if (wanted !== undefined) yield wanted
    }
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

import type { WgDevice, WgPeer } from '../ports.ts'

/** Of the last handshake, wall clock ms, 0 for none. */
export const stampOf = (peer: WgPeer): number => Number(peer.lastHandshakeNs / 1_000_000n)

/** Peers of a dump by their keys. The table is made when it is first needed: whoever asks for all in their order has a `Finder`. */
export class PeersByKey {
  readonly list: readonly WgPeer[]
  #places: ReadonlyMap<string, number> | undefined

  constructor(list: readonly WgPeer[]) {
    this.list = list
  }

  get(key: string): WgPeer | undefined {
    const place = this.placeOf(key)
    return place === undefined ? undefined : this.list[place]
  }

  placeOf(key: string): number | undefined {
    this.#places ??= new Map(this.list.map(({ publicKey }, i) => [publicKey, i]))
    return this.#places.get(key)
  }
}

const made = new WeakMap<WgDevice, PeersByKey>()

/** Made once a dump, as several parts look for thousands in the same one. */
export function peersByKey(dump: WgDevice): PeersByKey {
  let peers = made.get(dump)
  if (peers === undefined) {
    peers = new PeersByKey(dump.peers)
    made.set(dump, peers)
  }
  return peers
}

/**
 * For somebody who looks for the same thousands in each dump, in the same order: each is first looked for where the one that was
 * asked for in its turn was found in the dump before, and a dump has its peers in the order they were added.
 */
export class Finder {
  readonly #found: number[] = []
  #peers: PeersByKey = new PeersByKey([])
  #turn = 0

  /** From here on peers of this dump are looked for, and the turns begin again. */
  begin(peers: PeersByKey): void {
    this.#peers = peers
    this.#turn = 0
  }

  get(key: string): WgPeer | undefined {
    const place = this.placeOf(key)
    return place === undefined ? undefined : this.#peers.list[place]
  }

  placeOf(key: string): number | undefined {
    const turn = this.#turn++
    const before = this.#found[turn]
    if (before !== undefined && this.#peers.list[before]?.publicKey === key) return before
    const place = this.#peers.placeOf(key)
    if (place !== undefined) this.#found[turn] = place
    return place
  }
}

/** What the machine asks of a dump. */
export function stampsOf(dump: WgDevice, finder = new Finder()): { get(key: string): number | undefined } {
  finder.begin(peersByKey(dump))
  return {
    get(key) {
      const peer = finder.get(key)
      return peer && stampOf(peer)
    },
  }
}

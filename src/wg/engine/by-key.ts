import type { WgDevice, WgPeer } from '../ports.ts'

/** Of the last handshake, wall clock ms, 0 for none. */
export const stampOf = (peer: WgPeer): number => Number(peer.lastHandshakeNs / 1_000_000n)

const made = new WeakMap<WgDevice, ReadonlyMap<string, WgPeer>>()

/** Peers of a dump by their keys; made once, as several parts look for thousands in the same dump. */
export function peersByKey(dump: WgDevice): ReadonlyMap<string, WgPeer> {
  let peers = made.get(dump)
  if (peers === undefined) {
    peers = new Map(dump.peers.map((peer) => [peer.publicKey, peer]))
    made.set(dump, peers)
  }
  return peers
}

/** What the machine asks of a dump. */
export function stampsOf(dump: WgDevice): { get(key: string): number | undefined } {
  const peers = peersByKey(dump)
  return {
    get(key) {
      const peer = peers.get(key)
      return peer && stampOf(peer)
    },
  }
}

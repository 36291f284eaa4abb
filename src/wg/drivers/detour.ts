import { type Cidr, formatCidr } from '../../core/ip.ts'
import type { WgPeer, WgPeerBatch } from '../ports.ts'

/** True when the batch takes single allowed IPs away. */
export const takesAllowedIps = (batch: WgPeerBatch): boolean =>
  (batch.set ?? []).some((peer) => (peer.removeAllowedIps ?? []).length > 0)

/**
 * The allowed IPs to take away where single ones cannot be removed: they are moved to a peer that is removed in the same
 * request. `peers` is what the device has after everything was added, so that nothing is taken from whom it moved to.
 */
export function detour(batch: WgPeerBatch, peers: readonly WgPeer[]): readonly Cidr[] {
  const owned = new Map(peers.map((peer) => [peer.publicKey, new Set(peer.allowedIps.map(formatCidr))]))
  const gone = new Map<string, Cidr>()
  for (const peer of batch.set ?? [])
    for (const cidr of peer.removeAllowedIps ?? [])
      if (owned.get(peer.publicKey)?.has(formatCidr(cidr)) === true) gone.set(formatCidr(cidr), cidr)
  return [...gone.values()]
}

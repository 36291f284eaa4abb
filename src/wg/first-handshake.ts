import type { OwnSlot } from './machine-types.ts'
import type { Tunnel } from './pair.ts'

/**
 * A published key is with the peers after this, ms: one that begins sooner may be a stranger still, its initiation is dropped, and
 * WireGuard makes no other to that peer for 5 s (REKEY_TIMEOUT). Kubernetes tells watchers in 0.5 s.
 */
export const REACH_MS = 500
/**
 * The other end has begun after this, ms, or will not. Longer than a record takes (Kubernetes: 0.5 s) and the look of the peer
 * after it, shorter than the 2 s in which a shared folder is compared: who hears of us as late as that begins itself, as of a key
 * that is this old, at once.
 */
export const YIELD_MS = 1_500
/** Nobody can answer a key that is not published. But the directory may have taken it and not said so, ms. */
export const UNTOLD_MS = 10_000

/** The keys of the two ends of a tunnel: when each was made, wall clock ms of its owner, and its public half. */
export interface Keys {
  readonly own: { readonly since: number; readonly publicKey: string }
  readonly peer: { readonly since: number; readonly key: string | undefined }
}

/**
 * The end with the older key begins the first handshake: it is the one that hears last, for the other knew this key when it made
 * its own. So it is in each rotation of one node. Both ends read the same two times in the same two records, so they come to the
 * same answer, however wrong their clocks are; of two as old the key that sorts first begins.
 */
export function comesFirst({ own, peer }: Keys): boolean {
  // In the record are whole milliseconds.
  const since = Math.floor(own.since)
  return since === peer.since ? own.publicKey < (peer.key ?? '') : since < peer.since
}

/** Monotonic ms from which this end may begin the first handshake between two keys, whatever the other one does. */
export function beginsAt(own: OwnSlot, peer: Pick<Tunnel, 'key' | 'since'>): number {
  if (own.toldAt === undefined) return own.bornAt + UNTOLD_MS
  return own.toldAt + (comesFirst({ own, peer }) ? REACH_MS : YIELD_MS)
}

/**
 * This end leaves the first handshake of the tunnel to the other for now. Two that begin in the same moment answer each other and
 * neither takes the answer: Linux keeps one handshake a peer, so both have none, and try again after 5 s. Once there was a
 * handshake the session tells WireGuard who renews it.
 */
export const yields = (own: OwnSlot, tunnel: Pick<Tunnel, 'key' | 'since' | 'handshaken'>, now: number): boolean =>
  !tunnel.handshaken && now < beginsAt(own, tunnel)

/** A node has two WireGuard devices; the one that carries no traffic can change its key without losing a packet. */
export type Slot = 0 | 1
export const SLOTS = [0, 1] as const
export const otherSlot = (slot: Slot): Slot => (slot === 0 ? 1 : 0)

export type DrainReason = 'Rotate' | 'Repair' | 'Compromise'

/** "I am about to change the key of this slot: send to me through the other one." */
export interface Drain {
  readonly slot: Slot
  /** Grows with every drain of the node. */
  readonly seq: number
  /** Wall clock of the node that drains, ms since 1970. Only compared, so it need not be right. */
  readonly since: number
  readonly reason: DrainReason
}

/**
 * Bounds of the WireGuard protocol as measured on Linux 6.1 and 6.12, ms. A session dies at 180.0 s; in use it is renewed
 * by 131.8 s at the latest. 150 s lies between, so an egress slot is left before it can fail.
 */
export const HANDSHAKE_STALE_MS = 150_000
export const HANDSHAKE_DEAD_MS = 185_000
/** Probes in a row without an answer that make a slot suspect: under traffic 3 s (engine/probing.ts). */
export const PROBES_LOST = 3
/** What a peer says of itself in the tunnel counts this long; older, only the directory counts. */
export const ANNOUNCEMENT_FRESH_MS = 30_000

export interface Drainer {
  readonly uid: string
  readonly drain: Drain | null
}

/**
 * The slot that a pair should leave, undefined for none. When both ends drain different slots the older drain counts, and
 * of two as old the one of the smaller UID: both ends come to the same answer from the same two drains.
 */
export function bannedSlot(a: Drainer, b: Drainer): Slot | undefined {
  if (a.drain === null) return b.drain?.slot
  if (b.drain === null || a.drain.slot === b.drain.slot) return a.drain.slot
  if (a.drain.since !== b.drain.since) return a.drain.since < b.drain.since ? a.drain.slot : b.drain.slot
  return a.uid < b.uid ? a.drain.slot : b.drain.slot
}

import type { Mode, PeerMode } from './activation.ts'
import {
  ANNOUNCEMENT_FRESH_MS,
  HANDSHAKE_DEAD_MS,
  HANDSHAKE_STALE_MS,
  PROBES_LOST,
  bannedSlot,
  otherSlot,
  type Drain,
  type Drainer,
  type Slot,
} from './slots.ts'

export type SlotState = 'absent' | 'installed' | 'proven' | 'suspect' | 'dead'

/** One tunnel of a pair, as this end sees it. */
export interface Tunnel {
  /** The peer's public key in our device; undefined when it is not there. */
  readonly key: string | undefined
  readonly generation: number
  /** When the peer made the key, its wall clock, ms. */
  readonly since: number
  /** A handshake proves only when its stamp is later: wall clock ms of our own key, 0 for a peer that is new in the device. */
  readonly provesAfter: number
  /** Stamp of the last handshake seen, wall clock ms, 0 for none. */
  readonly stamp: number
  /** A handshake completed between the two keys that are current. */
  readonly handshaken: boolean
  /** No later than the last handshake, monotonic ms. */
  readonly freshAt: number
  /** A probe was answered between the two keys that are current. */
  readonly answered: boolean
  /** Probes lost in a row. */
  readonly lost: number
  readonly kickedAt: number
}

/** What a peer says of itself inside the tunnel. */
export interface Announcement extends PeerMode {
  /** Its monotonic clock when it spoke, ms: later ones win. */
  readonly sequence: number
  /** The slot it sends to us through. */
  readonly egress: Slot
  readonly drain: Drain | null
}

/** One peer, as this end sees it. Immutable. */
export interface Pair {
  readonly uid: string
  readonly name: string
  readonly bootId: string
  /** It has two slots; with one only, slot 0 is used and its rotation is lossy. */
  readonly twoSlots: boolean
  /** It answers probes; without, a handshake alone is proof. */
  readonly probes: boolean
  /** It may be left out when a rotation waits: not ready for long. */
  readonly excused: boolean
  readonly tunnels: readonly [Tunnel, Tunnel]
  readonly egress: Slot
  /** What its record says. */
  readonly drain: Drain | null
  readonly announced: Announcement | undefined
  readonly announcedAt: number
  readonly mode: Mode
}

export const NEVER = Number.NEGATIVE_INFINITY

export const ABSENT: Tunnel = {
  key: undefined,
  generation: 0,
  since: 0,
  provesAfter: 0,
  stamp: 0,
  handshaken: false,
  freshAt: NEVER,
  answered: false,
  lost: 0,
  kickedAt: NEVER,
}

/** The tunnel worked with the keys that are current; it may be silent now. */
export const everProven = (pair: Pair, slot: Slot): boolean => {
  const tunnel = pair.tunnels[slot]
  return tunnel.key !== undefined && tunnel.handshaken && (tunnel.answered || !pair.probes)
}

export function slotState(pair: Pair, slot: Slot, now: number): SlotState {
  const tunnel = pair.tunnels[slot]
  if (tunnel.key === undefined) return 'absent'
  if (!everProven(pair, slot)) return 'installed'
  const age = now - tunnel.freshAt
  if (age > HANDSHAKE_DEAD_MS) return 'dead'
  return age > HANDSHAKE_STALE_MS || tunnel.lost >= PROBES_LOST ? 'suspect' : 'proven'
}

export const usable = (pair: Pair, slot: Slot, now: number): boolean => slotState(pair, slot, now) === 'proven'

/**
 * The peer's kernel keeps up a session with us. Its agent may be dead: then probes are lost, and still it sends, through the
 * slot it last chose. So a handshake is enough, also when no probe came back since we started.
 */
export const alive = (pair: Pair, now: number): boolean =>
  pair.tunnels.some((tunnel) => tunnel.handshaken && now - tunnel.freshAt <= HANDSHAKE_DEAD_MS)

/** The drain of the peer: its own word when it is fresh, because it comes through the data plane; else its record. */
export const drainOf = (pair: Pair, now: number): Drain | null =>
  pair.announced !== undefined && now - pair.announcedAt <= ANNOUNCEMENT_FRESH_MS ? pair.announced.drain : pair.drain

/** The handshake of the slot is young enough for the session to last. */
export const fresh = (pair: Pair, slot: Slot, now: number): boolean =>
  everProven(pair, slot) && now - pair.tunnels[slot].freshAt <= HANDSHAKE_STALE_MS

/**
 * The slot to send through, the current one first among equals, and one that nobody drains before one that is drained: one that
 * works; else one whose handshake is young (probes are lost on both when only the peer's agent is dead, and then the age of the
 * handshake tells which slot still has keys); else one that worked with the present keys, when the current one did too,
 * so that a peer that comes back is met where its keys may still fit; else no change. Never clear text. `closed`: the slot whose
 * key we are changing; nobody is moved to it, whatever fails on the other one: peers do not know the new key yet.
 */
export function chooseEgress(pair: Pair, self: Drainer, now: number, closed?: Slot): Slot {
  const { egress } = pair
  if (!pair.twoSlots) return 0
  const banned = bannedSlot(self, { uid: pair.uid, drain: drainOf(pair, now) })
  // Nothing is allocated here: it runs for each of thousands of peers in every tick.
  const first = egress === banned ? otherSlot(egress) : egress
  const last = otherSlot(first)
  if (first !== closed && usable(pair, first, now)) return first
  if (last !== closed && usable(pair, last, now)) return last
  if (first !== closed && fresh(pair, first, now)) return first
  if (last !== closed && fresh(pair, last, now)) return last
  if (!everProven(pair, egress)) return egress
  if (first !== closed && everProven(pair, first)) return first
  return last !== closed && everProven(pair, last) ? last : egress
}

export function withTunnel(pair: Pair, slot: Slot, change: Partial<Tunnel>): Pair {
  const tunnel = { ...pair.tunnels[slot], ...change }
  return { ...pair, tunnels: slot === 0 ? [tunnel, pair.tunnels[1]] : [pair.tunnels[0], tunnel] }
}

/**
 * A dump showed this stamp. `wallNow`: wall clock of the dump. The stamp is trusted for order only: a clock that jumped back
 * gives an earlier stamp, and that too is a new handshake.
 */
export function observeStamp(pair: Pair, slot: Slot, stamp: number, wallNow: number, now: number): Pair {
  const tunnel = pair.tunnels[slot]
  if (stamp === tunnel.stamp || stamp === 0) return pair
  // A key that was made later than now was made by the clock before it went back: any stamp of the clock as it is came after.
  const setBack = tunnel.provesAfter > wallNow && stamp <= wallNow
  const proves = stamp > tunnel.provesAfter || setBack || (tunnel.stamp !== 0 && stamp < tunnel.stamp)
  return withTunnel(pair, slot, {
    stamp,
    handshaken: tunnel.handshaken || proves,
    freshAt: proves ? now - Math.max(0, wallNow - stamp) : tunnel.freshAt,
  })
}

/** The result of a probe through a slot. Of thousands nearly all say what is known. */
export function observeProbe(pair: Pair, slot: Slot, answered: boolean): Pair {
  const tunnel = pair.tunnels[slot]
  if (!answered) return withTunnel(pair, slot, { lost: Math.min(tunnel.lost + 1, PROBES_LOST) })
  return tunnel.answered && tunnel.lost === 0 ? pair : withTunnel(pair, slot, { answered: true, lost: 0 })
}

/** Our own key of this slot changed at `wallMs`: what was proven with the old one counts no more. */
export const forgetProof = (pair: Pair, slot: Slot, wallMs: number): Pair =>
  withTunnel(pair, slot, { handshaken: false, answered: false, lost: 0, provesAfter: wallMs, freshAt: NEVER })

/** Later words win, whatever order they arrive in. */
export function hear(pair: Pair, announcement: Announcement, now: number): Pair {
  if (pair.announced !== undefined && announcement.sequence <= pair.announced.sequence) return pair
  return { ...pair, announced: announcement, announcedAt: now }
}

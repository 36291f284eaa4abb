import { err, ok, type Result } from '../../core/errors.ts'
import { MODES } from '../activation.ts'
import type { Announcement } from '../pair.ts'
import type { Drain, DrainReason, Slot } from '../slots.ts'

/**
 * Probes on the wire, big endian, one size for both kinds so that an answer is never larger than its question:
 *
 *     0 "SKPB"   4 version   5 kind   6 slot   7 flags   8 nonce (64 bits)
 *    16 held: microseconds between question and answer at the one who answers
 *    20 mode   21 egress   22 slot of the drain   23 reason of the drain
 *    24 sequence   32 ack   40 seq of the drain   48 since of the drain (doubles)   56 zero
 *
 * Octets that a message has no use for are zero. Behind them may be anything: it only makes a probe large.
 */
export const PROBE_BYTES = 64

const MAGIC = 0x534b5042
const VERSION = 1
const ASK = 1
const ANSWER = 2
const FLAG_LEAVING = 1
const FLAG_DRAIN = 2
const REASONS: readonly DrainReason[] = ['Rotate', 'Repair', 'Compromise']

/** Why a datagram is no probe; a closed set, counted. */
export const MALFORMED = ['short', 'magic', 'version', 'kind', 'field'] as const
export type Malformed = (typeof MALFORMED)[number]

/** Sixty-four bits that cannot be guessed, as two halves. */
export interface Nonce {
  readonly high: number
  readonly low: number
}

export interface Ask extends Nonce {
  readonly kind: 'ask'
  readonly slot: Slot
}

export interface Answer extends Nonce {
  readonly kind: 'answer'
  readonly slot: Slot
  /** Microseconds. */
  readonly heldUs: number
  readonly announcement: Announcement
}

export type ProbeMessage = Ask | Answer

/** An even number of octets. */
const zero = (view: DataView, from: number, to: number): boolean => {
  for (let at = from; at < to; at += 2) if (view.getUint16(at) !== 0) return false
  return true
}

const slotAt = (view: DataView, at: number): Slot | undefined => {
  const slot = view.getUint8(at)
  return slot === 0 || slot === 1 ? slot : undefined
}

function head(view: DataView, at: number, kind: number, slot: Slot, nonce: Nonce): void {
  view.setUint32(at, MAGIC)
  view.setUint8(at + 4, VERSION)
  view.setUint8(at + 5, kind)
  view.setUint8(at + 6, slot)
  view.setUint8(at + 7, 0)
  view.setUint32(at + 8, nonce.high)
  view.setUint32(at + 12, nonce.low)
  for (let i = 16; i < PROBE_BYTES; i += 4) view.setUint32(at + i, 0)
}

/** Writes PROBE_BYTES octets at `at`. */
export function encodeAsk(ask: Omit<Ask, 'kind'>, view: DataView, at = 0): void {
  head(view, at, ASK, ask.slot, ask)
}

/** Writes PROBE_BYTES octets at `at`. */
export function encodeAnswer(answer: Omit<Answer, 'kind'>, view: DataView, at = 0): void {
  const { announcement } = answer
  const { drain } = announcement
  head(view, at, ANSWER, answer.slot, answer)
  view.setUint8(at + 7, (announcement.leaving ? FLAG_LEAVING : 0) | (drain === null ? 0 : FLAG_DRAIN))
  view.setUint32(at + 16, Math.min(0xffffffff, Math.max(0, answer.heldUs)))
  view.setUint8(at + 20, MODES.indexOf(announcement.mode))
  view.setUint8(at + 21, announcement.egress)
  view.setFloat64(at + 24, announcement.sequence)
  view.setFloat64(at + 32, announcement.ack)
  if (drain === null) return
  view.setUint8(at + 22, drain.slot)
  view.setUint8(at + 23, REASONS.indexOf(drain.reason))
  view.setFloat64(at + 40, drain.seq)
  view.setFloat64(at + 48, drain.since)
}

/** Undefined when the octets are no drain, null for none. */
function decodeDrain(view: DataView, at: number, present: boolean): Drain | null | undefined {
  if (!present) return zero(view, at + 22, at + 24) && zero(view, at + 40, at + 56) ? null : undefined
  const slot = slotAt(view, at + 22)
  const reason = REASONS[view.getUint8(at + 23)]
  const seq = view.getFloat64(at + 40)
  const since = view.getFloat64(at + 48)
  if (slot === undefined || reason === undefined) return undefined
  return Number.isSafeInteger(seq) && seq >= 0 && Number.isFinite(since) ? { slot, seq, since, reason } : undefined
}

function decodeAnnouncement(view: DataView, at: number): Announcement | undefined {
  const flags = view.getUint8(at + 7)
  const mode = MODES[view.getUint8(at + 20)]
  const egress = slotAt(view, at + 21)
  const sequence = view.getFloat64(at + 24)
  const ack = view.getFloat64(at + 32)
  const drain = decodeDrain(view, at, (flags & FLAG_DRAIN) !== 0)
  if ((flags & ~(FLAG_LEAVING | FLAG_DRAIN)) !== 0 || mode === undefined || egress === undefined) return undefined
  if (drain === undefined || !Number.isFinite(sequence) || sequence < 0 || !Number.isFinite(ack)) return undefined
  if (!zero(view, at + 56, at + PROBE_BYTES)) return undefined
  return { sequence, mode, leaving: (flags & FLAG_LEAVING) !== 0, ack, egress, drain }
}

/** Reads what came from a network. `length`: octets of the datagram, of which PROBE_BYTES from `at` are read. Never throws. */
export function decodeProbe(view: DataView, at: number, length: number): Result<ProbeMessage, Malformed> {
  if (length < PROBE_BYTES || view.byteLength - at < PROBE_BYTES) return err('short')
  if (view.getUint32(at) !== MAGIC) return err('magic')
  if (view.getUint8(at + 4) !== VERSION) return err('version')
  const kind = view.getUint8(at + 5)
  const slot = slotAt(view, at + 6)
  const high = view.getUint32(at + 8)
  const low = view.getUint32(at + 12)
  if (kind === ASK) {
    if (slot === undefined || view.getUint8(at + 7) !== 0 || !zero(view, at + 16, at + PROBE_BYTES)) return err('field')
    return ok({ kind: 'ask', slot, high, low })
  }
  if (kind !== ANSWER) return err('kind')
  const announcement = decodeAnnouncement(view, at)
  if (slot === undefined || announcement === undefined) return err('field')
  return ok({ kind: 'answer', slot, high, low, heldUs: view.getUint32(at + 16), announcement })
}

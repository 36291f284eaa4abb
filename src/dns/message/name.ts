import { MAX_LABEL_BYTES, MAX_NAME_BYTES } from '../../core/fqdn.ts'
import { REASON } from './reasons.ts'

/** A name has at most 127 labels, so an honest one needs no more pointers than this (as miekg/dns). */
const MAX_POINTERS = 126

/**
 * Copies the name at `at` into `out` in lower-case wire form. Questions are never compressed, so a pointer is refused.
 * `out` has room for 255 octets. Returns the octets of the name with the root, or a negative `REASON`.
 */
export function readPlainName(message: Uint8Array, at: number, end: number, out: Uint8Array): number {
  let length = 0
  for (;;) {
    if (at >= end) return -REASON.question_cut
    const label = message[at++]!
    if (label === 0) {
      out[length++] = 0
      return length
    }
    if (label > MAX_LABEL_BYTES) return label >= 0xc0 ? -REASON.question_compressed : -REASON.label_type
    if (at + label > end) return -REASON.question_cut
    if (length + 1 + label >= MAX_NAME_BYTES) return -REASON.name_too_long
    out[length++] = label
    for (let i = 0; i < label; i++) {
      const byte = message[at++]!
      out[length++] = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte
    }
  }
}

/**
 * Position after the name at `at` without following it: labels up to the root or up to a pointer. -1 when a label
 * runs over `end` or is of a reserved type.
 */
export function skipName(message: Uint8Array, at: number, end: number): number {
  for (;;) {
    if (at >= end) return -1
    const label = message[at]!
    if (label === 0) return at + 1
    if (label >= 0xc0) return at + 2 <= end ? at + 2 : -1
    if (label > MAX_LABEL_BYTES) return -1
    at += 1 + label
  }
}

/**
 * Expands compressed names (RFC 1035 section 4.1.4) into lower-case wire form. A pointer must point back before
 * itself; hops and octets are bounded, so every input ends.
 */
export class NameReader {
  /** Position after the name in the message. */
  next = 0
  /** Octets written, with the root. */
  length = 0

  /** Reads the name at `at` of the message in [start, end) to `out` at `outAt`. False when it is no name. */
  read(message: Uint8Array, start: number, end: number, at: number, out: Uint8Array, outAt: number): boolean {
    let length = 0
    let pointers = 0
    this.next = 0
    for (;;) {
      if (at >= end) return false
      const label = message[at]!
      if (label === 0) {
        out[outAt + length] = 0
        this.length = length + 1
        if (pointers === 0) this.next = at + 1
        return true
      }
      if (label >= 0xc0) {
        if (at + 2 > end || ++pointers > MAX_POINTERS) return false
        const target = start + (((label & 0x3f) << 8) | message[at + 1]!)
        if (target >= at) return false
        if (pointers === 1) this.next = at + 2
        at = target
        continue
      }
      if (label > MAX_LABEL_BYTES || at + 1 + label > end) return false
      if (length + 1 + label >= MAX_NAME_BYTES) return false
      out[outAt + length++] = label
      at++
      for (let i = 0; i < label; i++) {
        const byte = message[at++]!
        out[outAt + length++] = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte
      }
    }
  }
}

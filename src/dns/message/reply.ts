import {
  EDE_NONE,
  FLAG_CD,
  FLAG_QR,
  FLAG_RA,
  FLAG_RD,
  FLAG_TC,
  HEADER_BYTES,
  MASK_OPCODE,
  OWN_UDP_SIZE,
  TYPE_OPT,
} from './constants.ts'

/**
 * Turns the query at `start` into a reply of our own, in place: id, opcode, RD and CD stay, the question stays as it
 * was sent, everything after it goes. Needs `MAX_OWN_REPLY_BYTES` from `start` on.
 *
 * `questionEnd` is the position after the question, 0 for a reply without one. `withOpt` only when the query had an
 * OPT (RFC 6891 section 7); DO is echoed (RFC 3225 section 3). `ede` is an INFO-CODE of RFC 8914 or `EDE_NONE`.
 * Returns the length of the reply.
 */
export function writeReply(
  message: Uint8Array,
  start: number,
  questionEnd: number,
  rcode: number,
  truncated: boolean,
  withOpt: boolean,
  dnssecOk: boolean,
  ede: number,
): number {
  const b2 = message[start + 2]!
  const b3 = message[start + 3]!
  message[start + 2] = FLAG_QR | (b2 & (MASK_OPCODE | FLAG_RD)) | (truncated ? FLAG_TC : 0)
  message[start + 3] = FLAG_RA | (b3 & FLAG_CD) | (rcode & 0x0f)
  message[start + 4] = 0
  message[start + 5] = questionEnd === 0 ? 0 : 1
  for (let i = 6; i < 11; i++) message[start + i] = 0
  message[start + 11] = withOpt ? 1 : 0
  let at = questionEnd === 0 ? start + HEADER_BYTES : questionEnd
  if (withOpt) {
    message[at] = 0
    message[at + 1] = 0
    message[at + 2] = TYPE_OPT
    message[at + 3] = OWN_UDP_SIZE >> 8
    message[at + 4] = OWN_UDP_SIZE & 0xff
    message[at + 5] = rcode >> 4
    message[at + 6] = 0
    message[at + 7] = dnssecOk ? 0x80 : 0
    message[at + 8] = 0
    message[at + 9] = 0
    message[at + 10] = ede === EDE_NONE ? 0 : 6
    at += 11
    if (ede !== EDE_NONE) {
      message[at] = 0
      message[at + 1] = 15
      message[at + 2] = 0
      message[at + 3] = 2
      message[at + 4] = ede >> 8
      message[at + 5] = ede & 0xff
      at += 6
    }
  }
  return at - start
}

/** Writes `id` into the header at `start`. */
export function writeId(message: Uint8Array, start: number, id: number): void {
  message[start] = id >> 8
  message[start + 1] = id & 0xff
}

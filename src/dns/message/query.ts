import { HEADER_BYTES, FLAG_QR, MASK_OPCODE, OPCODE_QUERY, TYPE_OPT } from './constants.ts'
import { readPlainName, skipName } from './name.ts'
import { REASON } from './reasons.ts'

/** RFC 6891 section 6.2.3: less than 512 is 512. */
const MIN_UDP_SIZE = 512

/**
 * Reads one query in place. One instance is used for every query of a thread: `read` fills the fields and copies
 * nothing but the name.
 */
export class QueryReader {
  /** The name asked for, lower-case wire form, `nameLength` octets. */
  readonly name = new Uint8Array(256)
  nameLength = 0
  id = 0
  /** Octets 2 and 3 of the header. */
  flags = 0
  type = 0
  class = 0
  /** Absolute position after the question; 0 while there is none that could be echoed. */
  questionEnd = 0
  hasOpt = false
  udpSize = MIN_UDP_SIZE
  dnssecOk = false
  ednsVersion = 0

  /**
   * Reads the message of `length` octets at `start`. Returns a `REASON`: `ok` when it may be judged; `short` and
   * `response` must not be answered (RFC 1035 section 7.3; answering a response makes loops); `opcode` deserves
   * NOTIMP, `edns_version` BADVERS, the rest FORMERR (RFC 9619 for the counts).
   */
  read(message: Uint8Array, start: number, length: number): number {
    this.questionEnd = 0
    this.hasOpt = false
    this.udpSize = MIN_UDP_SIZE
    this.dnssecOk = false
    this.ednsVersion = 0
    if (length < HEADER_BYTES) return REASON.short
    const end = start + length
    this.id = (message[start]! << 8) | message[start + 1]!
    this.flags = (message[start + 2]! << 8) | message[start + 3]!
    if ((message[start + 2]! & FLAG_QR) !== 0) return REASON.response
    if ((message[start + 2]! & MASK_OPCODE) >> 3 !== OPCODE_QUERY) return REASON.opcode
    if (((message[start + 4]! << 8) | message[start + 5]!) !== 1) return REASON.question_count
    const answers = (message[start + 6]! << 8) | message[start + 7]!
    const authorities = (message[start + 8]! << 8) | message[start + 9]!
    const additionals = (message[start + 10]! << 8) | message[start + 11]!
    if (answers > 1 || authorities > 1 || additionals > 2) return REASON.record_count
    const nameLength = readPlainName(message, start + HEADER_BYTES, end, this.name)
    if (nameLength < 0) return -nameLength
    this.nameLength = nameLength
    let at = start + HEADER_BYTES + nameLength
    if (at + 4 > end) return REASON.question_cut
    this.type = (message[at]! << 8) | message[at + 1]!
    this.class = (message[at + 2]! << 8) | message[at + 3]!
    at += 4
    this.questionEnd = at
    const records = answers + authorities + additionals
    for (let i = 0; i < records; i++) {
      const fixed = skipName(message, at, end)
      if (fixed < 0 || fixed + 10 > end) return REASON.record_cut
      const next = fixed + 10 + ((message[fixed + 8]! << 8) | message[fixed + 9]!)
      if (next > end) return REASON.record_cut
      if (((message[fixed]! << 8) | message[fixed + 1]!) === TYPE_OPT) {
        if (i < answers + authorities) return REASON.opt_misplaced
        if (this.hasOpt) return REASON.opt_repeated
        if (message[at] !== 0) return REASON.opt_owner
        if (!optionsFit(message, fixed + 10, next)) return REASON.opt_options
        this.hasOpt = true
        this.udpSize = Math.max(MIN_UDP_SIZE, (message[fixed + 2]! << 8) | message[fixed + 3]!)
        this.ednsVersion = message[fixed + 5]!
        this.dnssecOk = (message[fixed + 6]! & 0x80) !== 0
      }
      at = next
    }
    if (at !== end) return REASON.trailing
    return this.ednsVersion === 0 ? REASON.ok : REASON.edns_version
  }
}

/** RFC 6891 section 6.1.2: code, length, that many octets, to the end. */
function optionsFit(message: Uint8Array, at: number, end: number): boolean {
  while (at < end) {
    if (at + 4 > end) return false
    at += 4 + ((message[at + 2]! << 8) | message[at + 3]!)
  }
  return at === end
}

import { FLAG_QR, FLAG_TC, HEADER_BYTES, MASK_OPCODE, MASK_RCODE, RCODE_NOERROR } from './constants.ts'
import { CLASS_IN, TYPE_A, TYPE_AAAA, TYPE_CNAME } from './constants.ts'
import { NameReader, skipName } from './name.ts'
import { REASON } from './reasons.ts'
import { isUnicast4, isUnicast6 } from './unicast.ts'

/** Longest CNAME chain taken; resolvers stop between 8 and 16. */
const MAX_CHAIN = 16
const NAME_STRIDE = 256
/** The largest TTL there is (RFC 2181 section 8), where a minimum starts. */
const MAX_TTL = 0x7fff_ffff

/**
 * Reads answers in place and collects what they say about the name that was asked for: the addresses of A and AAAA
 * records of the answer section whose owner is the question's name or on the CNAME chain that starts there, and the
 * smallest TTL on the way. The section may be in any order. A DNAME works by the CNAME that comes with it (RFC 6672
 * section 3.1). Addresses in HTTPS and SVCB hints and in the other sections are not learned.
 */
export class AnswerReader {
  /** addr16 packed, `count` of them. */
  readonly addresses: Uint8Array
  count = 0
  /** Seconds; meaningful when `count` is not 0. */
  ttl = 0
  rcode = 0
  truncated = false
  /** The question's name, lower-case wire form. */
  readonly name = new Uint8Array(NAME_STRIDE)
  nameLength = 0
  /** A and AAAA records whose owner is not on the chain. */
  strayed = 0
  /** Addresses on the chain that are no unicast destination; the answer passes and they are not learned. */
  unlearnable = 0

  readonly #max: number
  readonly #reader = new NameReader()
  readonly #owner = new Uint8Array(NAME_STRIDE)
  /** Names of the chain, a place for one more behind them where a CNAME's target is read to. */
  readonly #chain = new Uint8Array((MAX_CHAIN + 2) * NAME_STRIDE)
  readonly #chainLength = new Uint16Array(MAX_CHAIN + 1)
  /** Where in the message each name of the chain stands: owners mostly point there. */
  readonly #chainAt = new Uint32Array(MAX_CHAIN + 1)
  #chained = 0
  #minTtl = 0

  constructor(maxAddresses: number) {
    this.#max = maxAddresses
    this.addresses = new Uint8Array(maxAddresses * 16)
  }

  /**
   * Is this an answer to the question (name, type and class as sent, RFC 5452 section 9.1)? Returns `ok`,
   * `answer_short`, `answer_not_response` or `answer_question`: all but `ok` mean "not for us, go on waiting".
   * `question` holds the octets of the question from `questionAt` on.
   */
  match(
    message: Uint8Array,
    start: number,
    length: number,
    question: Uint8Array,
    questionAt: number,
    questionLength: number,
  ): number {
    if (length < HEADER_BYTES) return REASON.answer_short
    const b2 = message[start + 2]!
    if ((b2 & FLAG_QR) === 0) return REASON.answer_not_response
    if ((b2 & MASK_OPCODE) !== 0) return REASON.answer_question
    if (message[start + 4] !== 0 || message[start + 5] !== 1) return REASON.answer_question
    if (length < HEADER_BYTES + questionLength) return REASON.answer_question
    const at = start + HEADER_BYTES
    for (let i = 0; i < questionLength; i++) {
      if (message[at + i] !== question[questionAt + i]) return REASON.answer_question
    }
    this.rcode = message[start + 3]! & MASK_RCODE
    this.truncated = (b2 & FLAG_TC) !== 0
    return REASON.ok
  }

  /**
   * Reads the sections of a message that `match` took. Every octet is checked against its declared length. Returns
   * `ok` or why the message cannot be trusted; then nothing of it may reach the client.
   */
  read(message: Uint8Array, start: number, length: number, questionLength: number): number {
    this.count = 0
    this.strayed = 0
    this.unlearnable = 0
    this.#minTtl = MAX_TTL
    const end = start + length
    const questionEnd = start + HEADER_BYTES + questionLength
    this.nameLength = questionLength - 4
    for (let i = 0; i < this.nameLength; i++) {
      const byte = message[start + HEADER_BYTES + i]!
      this.name[i] = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte
    }
    const answers = (message[start + 6]! << 8) | message[start + 7]!
    const others =
      ((message[start + 8]! << 8) | message[start + 9]!) + ((message[start + 10]! << 8) | message[start + 11]!)
    const internet = message[questionEnd - 2] === 0 && message[questionEnd - 1] === CLASS_IN
    this.#startChain()
    const at = this.#scan(message, start, end, questionEnd, answers, internet)
    if (at < 0) return -at
    const problem = this.#skipRest(message, at, end, others)
    if (problem !== REASON.ok) return problem
    if (this.strayed > 0 && internet) {
      const again = this.#rescan(message, start, end, questionEnd, answers)
      if (again !== REASON.ok) return again
    }
    this.ttl = this.count === 0 ? 0 : this.#minTtl
    if (this.rcode !== RCODE_NOERROR && this.count > 0) return REASON.answer_rcode
    return REASON.ok
  }

  #startChain(): void {
    for (let i = 0; i < this.nameLength; i++) this.#chain[i] = this.name[i]!
    this.#chainLength[0] = this.nameLength
    this.#chainAt[0] = HEADER_BYTES
    this.#chained = 1
  }

  /** Walks the answer section once. Returns the position after it or a negative reason. */
  #scan(message: Uint8Array, start: number, end: number, from: number, answers: number, internet: boolean): number {
    let at = from
    for (let i = 0; i < answers; i++) {
      const fixed = skipName(message, at, end)
      if (fixed < 0 || fixed + 10 > end) return -REASON.answer_record_cut
      const data = fixed + 10
      const next = data + ((message[fixed + 8]! << 8) | message[fixed + 9]!)
      if (next > end) return -REASON.answer_record_cut
      const type = (message[fixed]! << 8) | message[fixed + 1]!
      const mine = type === TYPE_A || type === TYPE_AAAA || type === TYPE_CNAME
      if (mine && internet && message[fixed + 2] === 0 && message[fixed + 3] === CLASS_IN) {
        if (type === TYPE_A && next - data !== 4) return -REASON.answer_rdlength
        if (type === TYPE_AAAA && next - data !== 16) return -REASON.answer_rdlength
        const link = this.#linkOf(message, start, end, at)
        if (link === -2) return -REASON.answer_name
        const problem = this.#take(message, start, end, fixed, next, type, link)
        if (problem !== REASON.ok) return -problem
      }
      at = next
    }
    return at
  }

  /** Which name of the chain the owner at `at` is; -1 none, -2 no name at all. */
  #linkOf(message: Uint8Array, start: number, end: number, at: number): number {
    const first = message[at]!
    if (first >= 0xc0) {
      const target = ((first & 0x3f) << 8) | message[at + 1]!
      for (let k = 0; k < this.#chained; k++) if (this.#chainAt[k] === target) return k
    }
    if (!this.#reader.read(message, start, end, at, this.#owner, 0)) return -2
    return this.#find(this.#owner, this.#reader.length)
  }

  #find(name: Uint8Array, length: number): number {
    for (let k = 0; k < this.#chained; k++) {
      if (this.#chainLength[k] !== length) continue
      const base = k * NAME_STRIDE
      let i = 0
      while (i < length && this.#chain[base + i] === name[i]) i++
      if (i === length) return k
    }
    return -1
  }

  #take(
    message: Uint8Array,
    start: number,
    end: number,
    fixed: number,
    next: number,
    type: number,
    link: number,
  ): number {
    const data = fixed + 10
    if (type === TYPE_CNAME) {
      const base = this.#chained * NAME_STRIDE
      if (!this.#reader.read(message, start, end, data, this.#chain, base) || this.#reader.next !== next) {
        return REASON.answer_name
      }
      if (link < 0) {
        this.strayed++
        return REASON.ok
      }
      this.#keepTtl(message, fixed)
      const length = this.#reader.length
      if (!this.#known(base, length)) {
        if (this.#chained > MAX_CHAIN) return REASON.answer_chain
        this.#chainLength[this.#chained] = length
        this.#chainAt[this.#chained] = data - start
        this.#chained++
      }
      return REASON.ok
    }
    if (link < 0) {
      this.strayed++
      return REASON.ok
    }
    this.#keepTtl(message, fixed)
    return this.#keepAddress(message, data, type)
  }

  /** Is the name that was just written behind the chain on the chain already? */
  #known(base: number, length: number): boolean {
    for (let k = 0; k < this.#chained; k++) {
      if (this.#chainLength[k] !== length) continue
      let i = 0
      while (i < length && this.#chain[k * NAME_STRIDE + i] === this.#chain[base + i]) i++
      if (i === length) return true
    }
    return false
  }

  /** RFC 2181 section 8: 31 bits; with the top bit set it is 0. */
  #keepTtl(message: Uint8Array, fixed: number): void {
    const top = message[fixed + 4]!
    const ttl =
      top >= 0x80 ? 0 : (top << 24) | (message[fixed + 5]! << 16) | (message[fixed + 6]! << 8) | message[fixed + 7]!
    if (ttl < this.#minTtl) this.#minTtl = ttl
  }

  #keepAddress(message: Uint8Array, data: number, type: number): number {
    const unicast = type === TYPE_A ? isUnicast4(message, data) : isUnicast6(message, data)
    if (!unicast) {
      this.unlearnable++
      return REASON.ok
    }
    if (this.count >= this.#max) return REASON.answer_too_many
    const to = this.count * 16
    const out = this.addresses
    if (type === TYPE_A) {
      for (let i = 0; i < 10; i++) out[to + i] = 0
      out[to + 10] = 0xff
      out[to + 11] = 0xff
      for (let i = 0; i < 4; i++) out[to + 12 + i] = message[data + i]!
    } else {
      for (let i = 0; i < 16; i++) out[to + i] = message[data + i]!
    }
    this.count++
    return REASON.ok
  }

  /** Something was off the chain: follow the CNAMEs until the chain stands still, then collect once more. */
  #rescan(message: Uint8Array, start: number, end: number, from: number, answers: number): number {
    for (let pass = 0; pass <= MAX_CHAIN + 1; pass++) {
      const before = this.#chained
      this.count = 0
      this.strayed = 0
      this.unlearnable = 0
      this.#minTtl = MAX_TTL
      const at = this.#scan(message, start, end, from, answers, true)
      if (at < 0) return -at
      if (this.#chained === before) return REASON.ok
    }
    return REASON.answer_chain
  }

  #skipRest(message: Uint8Array, from: number, end: number, records: number): number {
    let at = from
    for (let i = 0; i < records; i++) {
      const fixed = skipName(message, at, end)
      if (fixed < 0 || fixed + 10 > end) return REASON.answer_record_cut
      at = fixed + 10 + ((message[fixed + 8]! << 8) | message[fixed + 9]!)
      if (at > end) return REASON.answer_record_cut
    }
    return at === end ? REASON.ok : REASON.answer_trailing
  }
}

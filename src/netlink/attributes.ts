/**
 * Attributes (struct nlattr): u16 length with the 4 octets of the header, u16 type, payload, padded to 4.
 * Words are in the order of the machine (little-endian).
 */
export const NLA_HEADER_BYTES = 4
export const NLA_F_NESTED = 0x8000
/** Everything but the two flag bits. */
export const NLA_TYPE_MASK = 0x3fff

export const align4 = (length: number): number => (length + 3) & ~3

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** One attribute with its padding. Throws RangeError beyond the 65535 octets the length field can say. */
export function attribute(type: number, payload: Uint8Array): Uint8Array {
  const length = NLA_HEADER_BYTES + payload.length
  if (length > 0xffff) throw new RangeError(`attribute ${type} of ${length} octets`)
  const out = new Uint8Array(align4(length))
  const view = new DataView(out.buffer)
  view.setUint16(0, length, true)
  view.setUint16(2, type, true)
  out.set(payload, NLA_HEADER_BYTES)
  return out
}

export function attributeU8(type: number, value: number): Uint8Array {
  return attribute(type, Uint8Array.of(value))
}

export function attributeU16(type: number, value: number): Uint8Array {
  const payload = new Uint8Array(2)
  new DataView(payload.buffer).setUint16(0, value, true)
  return attribute(type, payload)
}

export function attributeU32(type: number, value: number): Uint8Array {
  const out = new Uint8Array(NLA_HEADER_BYTES + 4)
  const view = new DataView(out.buffer)
  view.setUint16(0, out.length, true)
  view.setUint16(2, type, true)
  view.setUint32(NLA_HEADER_BYTES, value, true)
  return out
}

/** With the final NUL. */
export function attributeString(type: number, text: string): Uint8Array {
  return attribute(type, new TextEncoder().encode(`${text}\0`))
}

/** Bears NLA_F_NESTED, which the kernel demands of newer families. */
export function attributeNested(type: number, parts: readonly Uint8Array[]): Uint8Array {
  return attribute(type | NLA_F_NESTED, concatBytes(parts))
}

export interface Attribute {
  readonly type: number
  /** A view of the message, not a copy. */
  readonly payload: Uint8Array
}

/**
 * Every attribute in [offset, end). Undefined when a length runs past the end or is shorter than its header; octets
 * after the last attribute that are too few for a header must be padding (fewer than 4).
 */
export function parseAttributes(bytes: Uint8Array, offset = 0, end = bytes.length): readonly Attribute[] | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const found: Attribute[] = []
  let at = offset
  while (end - at >= NLA_HEADER_BYTES) {
    const length = view.getUint16(at, true)
    if (length < NLA_HEADER_BYTES || length > end - at) return undefined
    const type = view.getUint16(at + 2, true) & NLA_TYPE_MASK
    found.push({ type, payload: bytes.subarray(at + NLA_HEADER_BYTES, at + length) })
    at += align4(length)
  }
  return found
}

/** The last attribute of a type, as the kernel reads them. */
export function findAttribute(attributes: readonly Attribute[], type: number): Uint8Array | undefined {
  return attributes.findLast((one) => one.type === type)?.payload
}

/** Undefined when the attribute is not there or has another size. */
export function readU32(attributes: readonly Attribute[], type: number): number | undefined {
  const payload = findAttribute(attributes, type)
  if (payload?.length !== 4) return undefined
  return new DataView(payload.buffer, payload.byteOffset, 4).getUint32(0, true)
}

/** Undefined when the attribute is not there or has another size. */
export function readU16(attributes: readonly Attribute[], type: number): number | undefined {
  const payload = findAttribute(attributes, type)
  if (payload?.length !== 2) return undefined
  return new DataView(payload.buffer, payload.byteOffset, 2).getUint16(0, true)
}

/** Undefined when the attribute is not there or has another size. */
export function readU64(attributes: readonly Attribute[], type: number): bigint | undefined {
  const payload = findAttribute(attributes, type)
  if (payload?.length !== 8) return undefined
  return new DataView(payload.buffer, payload.byteOffset, 8).getBigUint64(0, true)
}

/** Undefined when the attribute is not there or has another size. */
export function readU8(attributes: readonly Attribute[], type: number): number | undefined {
  const payload = findAttribute(attributes, type)
  return payload?.length === 1 ? payload[0] : undefined
}

/** Text up to the first NUL. */
export function readString(attributes: readonly Attribute[], type: number): string | undefined {
  const payload = findAttribute(attributes, type)
  if (payload === undefined) return undefined
  const zero = payload.indexOf(0)
  return new TextDecoder().decode(zero < 0 ? payload : payload.subarray(0, zero))
}

/** Attributes within an attribute; undefined when it is not there or malformed. */
export function readNested(attributes: readonly Attribute[], type: number): readonly Attribute[] | undefined {
  const payload = findAttribute(attributes, type)
  return payload === undefined ? undefined : parseAttributes(payload)
}

/**
 * Walks attributes without making an object of each: for dumps of thousands. `next` goes to the next one and says whether
 * there is one; when there is none, `broken` tells whether a length runs past the end or is shorter than its header.
 */
export class AttributeReader {
  readonly view: DataView
  broken = false
  type = 0
  /** Where the payload begins, in `view`. */
  at: number
  /** Octets of the payload. */
  length = 0
  readonly #bytes: Uint8Array
  readonly #end: number
  #next: number

  constructor(bytes: Uint8Array, offset = 0, end = bytes.length, view?: DataView) {
    this.view = view ?? new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.at = offset
    this.#bytes = bytes
    this.#next = offset
    this.#end = end
  }

  next(): boolean {
    const left = this.#end - this.#next
    if (this.broken || left < NLA_HEADER_BYTES) return false
    const length = this.view.getUint16(this.#next, true)
    if (length < NLA_HEADER_BYTES || length > left) {
      this.broken = true
      return false
    }
    this.type = this.view.getUint16(this.#next + 2, true) & NLA_TYPE_MASK
    this.at = this.#next + NLA_HEADER_BYTES
    this.length = length - NLA_HEADER_BYTES
    this.#next += align4(length)
    return true
  }

  /** A view, not a copy. */
  payload(): Uint8Array {
    return this.#bytes.subarray(this.at, this.at + this.length)
  }

  nested(): AttributeReader {
    return new AttributeReader(this.#bytes, this.at, this.at + this.length, this.view)
  }

  /** Undefined when the payload has another size; so the others. */
  u8(): number | undefined {
    return this.length === 1 ? this.view.getUint8(this.at) : undefined
  }

  u16(): number | undefined {
    return this.length === 2 ? this.view.getUint16(this.at, true) : undefined
  }

  u32(): number | undefined {
    return this.length === 4 ? this.view.getUint32(this.at, true) : undefined
  }

  /** Exact up to 2^53. */
  u64(): number | undefined {
    if (this.length !== 8) return undefined
    return this.view.getUint32(this.at + 4, true) * 2 ** 32 + this.view.getUint32(this.at, true)
  }
}

/**
 * Writes attributes one after the other into one buffer, which grows. A nest is begun, filled and ended; the same writer
 * is used again after `reset`.
 */
export class AttributeWriter {
  #bytes = new Uint8Array(4096)
  #view = new DataView(this.#bytes.buffer)
  length = 0

  reset(): void {
    this.length = 0
  }

  /** A copy of what was written. */
  take(): Uint8Array {
    return this.#bytes.slice(0, this.length)
  }

  bytes(type: number, payload: Uint8Array): void {
    const at = this.#open(type, payload.length)
    this.#bytes.set(payload, at)
  }

  u8(type: number, value: number): void {
    const at = this.#open(type, 1)
    this.#view.setUint8(at, value)
  }

  u16(type: number, value: number): void {
    const at = this.#open(type, 2)
    this.#view.setUint16(at, value, true)
  }

  u32(type: number, value: number): void {
    const at = this.#open(type, 4)
    this.#view.setUint32(at, value, true)
  }

  /** Bears NLA_F_NESTED. The mark is for `end`. */
  begin(type: number): number {
    const mark = this.length
    this.#open(type | NLA_F_NESTED, 0)
    return mark
  }

  /** Throws RangeError beyond the 65535 octets the length field can say. */
  end(mark: number): void {
    const length = this.length - mark
    if (length > 0xffff) throw new RangeError(`a nest of ${length} octets`)
    this.#view.setUint16(mark, length, true)
  }

  /** Header and room; gives where the payload begins. The buffer is another one after it. */
  #open(type: number, size: number): number {
    const length = NLA_HEADER_BYTES + size
    if (length > 0xffff) throw new RangeError(`attribute ${type} of ${length} octets`)
    const start = this.length
    const end = start + align4(length)
    if (end > this.#bytes.length) this.#grow(end)
    // The payload is written by who called.
    for (let at = start + length; at < end; at++) this.#bytes[at] = 0
    this.#view.setUint16(start, length, true)
    this.#view.setUint16(start + 2, type, true)
    this.length = end
    return start + NLA_HEADER_BYTES
  }

  #grow(least: number): void {
    const larger = new Uint8Array(Math.max(least, this.#bytes.length * 2))
    larger.set(this.#bytes)
    this.#bytes = larger
    this.#view = new DataView(larger.buffer)
  }
}

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
  const payload = new Uint8Array(4)
  new DataView(payload.buffer).setUint32(0, value, true)
  return attribute(type, payload)
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

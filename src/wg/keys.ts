import { err, ok, type Result } from '../core/errors.ts'

/** WG_KEY_LEN. */
export const KEY_BYTES = 32

/** Why the key that somebody published is not used. */
export type KeyProblem =
  /** Not 44 characters of base64 of 32 octets in the one form it can be written. */
  | 'encoding'
  /** Another spelling of a point: not below 2^255 - 19, or with the bit that Curve25519 ignores. */
  | 'not-canonical'
  /** One of the points of small order: every shared secret with it is zero, known to all. */
  | 'low-order'
  /** A key of this node. */
  | 'own'
  /** Another node has published it before. */
  | 'taken'

/** Without a copy: dumps have thousands. */
export const encodeKey = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64')

/** Undefined when the text is not the canonical base64 of 32 octets. */
export function decodeKey(text: string): Uint8Array | undefined {
  if (text.length !== 44) return undefined
  const bytes = Buffer.from(text, 'base64')
  return bytes.length === KEY_BYTES && bytes.toString('base64') === text ? new Uint8Array(bytes) : undefined
}

/** 2^255 - 19, the lowest octet first. */
const PRIME_LOW = 0xed

function isCanonical(bytes: Uint8Array): boolean {
  const top = bytes[31] ?? 0
  if (top > 0x7f) return false
  if (top < 0x7f) return true
  return bytes.subarray(1, 31).some((octet) => octet !== 0xff) || (bytes[0] ?? 0) < PRIME_LOW
}

/**
 * The u-coordinates of order 1, 2, 4 and 8 on Curve25519 and its twist that are below the prime (the others are spellings
 * of these and not canonical).
 */
const LOW_ORDER: ReadonlySet<string> = new Set([
  '00'.repeat(32),
  `01${'00'.repeat(31)}`,
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  `ec${'ff'.repeat(30)}7f`,
])

export interface KeyOwners {
  /** Public keys of this node, of every slot. */
  readonly own: { has(key: string): boolean }
  /** True when a node other than the publisher has this key. */
  takenByOther(key: string): boolean
}

/** Judges a key that a node has published; the octets when it may be used. Never throws. */
export function checkPublishedKey(text: string, owners: KeyOwners): Result<Uint8Array, KeyProblem> {
  const bytes = decodeKey(text)
  if (bytes === undefined) return err('encoding')
  if (!isCanonical(bytes)) return err('not-canonical')
  if (LOW_ORDER.has(Buffer.from(bytes).toString('hex'))) return err('low-order')
  if (owners.own.has(text)) return err('own')
  if (owners.takenByOther(text)) return err('taken')
  return ok(bytes)
}

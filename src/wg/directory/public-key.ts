import { KEY_PATTERN } from './record.ts'

/**
 * Points of small order on Curve25519 and its twist, little-endian, with those that a decoder reduces to them (RFC 7748
 * section 6.1: the shared secret is zero). WireGuard never sends to a peer with such a key.
 */
const LOW_ORDER: ReadonlySet<string> = new Set([
  '00'.repeat(32),
  '01' + '00'.repeat(31),
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ec' + 'ff'.repeat(30) + '7f',
  'ed' + 'ff'.repeat(30) + '7f',
  'ee' + 'ff'.repeat(30) + '7f',
])

const KEY = new RegExp(KEY_PATTERN)

/** True when a text is a key in canonical base64, and one that a tunnel can come of. */
export function isUsableKey(text: string): boolean {
  if (text.length !== 44 || !KEY.test(text)) return false
  const bytes = Buffer.from(text, 'base64')
  // The top bit of the last octet is ignored by X25519 (RFC 7748 section 5).
  bytes[31] = (bytes[31] ?? 0) & 0x7f
  return !LOW_ORDER.has(bytes.toString('hex'))
}

/** Two spellings of one point: the top bit is not part of it. */
export function pointOf(text: string): string {
  const bytes = Buffer.from(text, 'base64')
  bytes[31] = (bytes[31] ?? 0) & 0x7f
  return bytes.toString('base64')
}

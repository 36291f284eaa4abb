/**
 * True for an addr16 that a connection can go to beyond the link: not unspecified, loopback, link-local, multicast,
 * broadcast or 0.0.0.0/8 (RFC 6890). Only such addresses are learned.
 */
export function isUnicast(bytes: Uint8Array, at: number): boolean {
  let zeros = 0
  while (zeros < 15 && bytes[at + zeros] === 0) zeros++
  if (zeros === 10 && bytes[at + 10] === 0xff && bytes[at + 11] === 0xff) {
    const a = bytes[at + 12] as number
    if (a === 0 || a === 127 || a >= 240) return false
    if (a === 169 && bytes[at + 13] === 254) return false
    return a < 224
  }
  // :: and ::1, and the retired ::a.b.c.d
  if (zeros >= 12) return false
  const first = bytes[at] as number
  if (first === 0xff) return false
  return !(first === 0xfe && ((bytes[at + 1] as number) & 0xc0) === 0x80)
}

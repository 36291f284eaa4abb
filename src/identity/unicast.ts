const TRANSLATOR = [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0]

/**
 * True for an addr16 that a connection can go to beyond the link: not unspecified, loopback, link-local, multicast,
 * broadcast or 0.0.0.0/8 (RFC 6890). Only such addresses are learned.
 */
export function isUnicast(bytes: Uint8Array, at: number): boolean {
  let zeros = 0
  while (zeros < 15 && bytes[at + zeros] === 0) zeros++
  if (zeros === 10 && bytes[at + 10] === 0xff && bytes[at + 11] === 0xff) {
    return isUnicast4(bytes, at + 12)
  }
  // :: and ::1, and the retired ::a.b.c.d
  if (zeros >= 12) return false
  const first = bytes[at] as number
  // Behind 6to4 (RFC 3056) and 64:ff9b::/96 (RFC 6052) lies an IPv4 address.
  if (first === 0x20 && bytes[at + 1] === 0x02) return isUnicast4(bytes, at + 2)
  if (zeros === 1 && TRANSLATOR.every((octet, i) => bytes[at + i] === octet)) return isUnicast4(bytes, at + 12)
  if (first === 0xff) return false
  return !(first === 0xfe && ((bytes[at + 1] as number) & 0xc0) === 0x80)
}

function isUnicast4(bytes: Uint8Array, at: number): boolean {
  const a = bytes[at] as number
  return a !== 0 && a !== 127 && a < 224 && !(a === 169 && bytes[at + 1] === 254)
}

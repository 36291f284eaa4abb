/**
 * True when `message[at..at+4)` is an IPv4 address a pod may be let through to: not "this network" (0/8), loopback,
 * link-local, multicast, reserved (240/4) or broadcast. An answer must not open those, whoever controls the zone.
 */
export function isUnicast4(message: Uint8Array, at: number): boolean {
  const a = message[at]!
  if (a === 0 || a === 127 || a >= 224) return false
  return a !== 169 || message[at + 1] !== 254
}

/**
 * As `isUnicast4` for 16 octets: not ::, ::1, fe80::/10, ff00::/8, nor an IPv4 address in disguise (::ffff:0:0/96). Where a
 * translator or a relay would go on to an IPv4 address (RFC 6052, RFC 3056), that one has to be one, too.
 */
export function isUnicast6(message: Uint8Array, at: number): boolean {
  const a = message[at]!
  if (a === 0xff || (a === 0xfe && (message[at + 1]! & 0xc0) === 0x80)) return false
  if (a === 0x20 && message[at + 1] === 0x02) return isUnicast4(message, at + 2)
  if (a === 0 && isTranslated(message, at)) return isUnicast4(message, at + 12)
  for (let i = 0; i < 10; i++) if (message[at + i] !== 0) return true
  if (message[at + 10] === 0xff && message[at + 11] === 0xff) return false
  // :: and ::1, and the retired ::a.b.c.d
  return message[at + 10] !== 0 || message[at + 11] !== 0
}

/** 64:ff9b::/96, the prefix of translators that everybody knows. */
function isTranslated(message: Uint8Array, at: number): boolean {
  if (message[at + 1] !== 0x64 || message[at + 2] !== 0xff || message[at + 3] !== 0x9b) return false
  for (let i = 4; i < 12; i++) if (message[at + i] !== 0) return false
  return true
}

/**
 * True when `message[at..at+4)` is an IPv4 address a pod may be let through to: not "this network" (0/8), loopback,
 * link-local, multicast or broadcast. An answer must not open those, whoever controls the zone.
 */
export function isUnicast4(message: Uint8Array, at: number): boolean {
  const a = message[at]!
  if (a === 0 || a === 127 || (a >= 224 && a <= 239)) return false
  if (a === 169) return message[at + 1] !== 254
  if (a === 255) return !(message[at + 1] === 255 && message[at + 2] === 255 && message[at + 3] === 255)
  return true
}

/** As `isUnicast4` for 16 octets: not ::, ::1, fe80::/10, ff00::/8, nor an IPv4 address in disguise (::ffff:0:0/96). */
export function isUnicast6(message: Uint8Array, at: number): boolean {
  const a = message[at]!
  if (a === 0xff || (a === 0xfe && (message[at + 1]! & 0xc0) === 0x80)) return false
  for (let i = 0; i < 10; i++) if (message[at + i] !== 0) return true
  if (message[at + 10] === 0xff && message[at + 11] === 0xff) return false
  for (let i = 10; i < 15; i++) if (message[at + i] !== 0) return true
  return message[at + 15]! > 1
}

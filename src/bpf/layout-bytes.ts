import type { Ip } from '../core/ip.ts'

/**
 * Words of a map are in the order of the machine; Node runs on little-endian machines here (amd64, arm64). Addresses
 * and ports are in network order.
 */
export const LITTLE_ENDIAN = true

/** The family octet of ipcache and lxc keys (Cilium ENDPOINT_KEY_IPV4 and _IPV6). */
export const KEY_IPV4 = 1
export const KEY_IPV6 = 2

/** The 16-octet union of map keys: IPv6 as it is, IPv4 in the first 4 octets and the rest zero (not addr16). */
export function writeUnion(ip: Ip, out: Uint8Array, offset: number): void {
  if (ip.family === 4) out.fill(0, offset + 4, offset + 16)
  out.set(ip.bytes, offset)
}

/** Reads the union; the octets are copied. Undefined when `family` is neither KEY_IPV4 nor KEY_IPV6. */
export function readUnion(family: number, bytes: Uint8Array, offset: number): Ip | undefined {
  if (family === KEY_IPV4) return { family: 4, bytes: bytes.slice(offset, offset + 4) }
  if (family === KEY_IPV6) return { family: 6, bytes: bytes.slice(offset, offset + 16) }
  return undefined
}

export const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

export const roundUp = (value: number, to: number): number => Math.ceil(value / to) * to

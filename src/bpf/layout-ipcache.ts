import type { Cidr } from '../core/ip.ts'
import { KEY_IPV4, KEY_IPV6, LITTLE_ENDIAN, readUnion, viewOf, writeUnion } from './layout-bytes.ts'

/** Prefix -> identity; Cilium 1.20 `cilium_ipcache_v2` (bpf/lib/eps.h): LPM, key 24, value 24. */
export const IPCACHE_KEY_BYTES = 24
export const IPCACHE_VALUE_BYTES = 24

/** cluster_id, pad and family always have to match: they count as prefix bits. */
const STATIC_BITS = 32

export function encodeIpcacheKey(cidr: Cidr, out: Uint8Array, offset = 0): void {
  const view = viewOf(out)
  view.setUint32(offset, STATIC_BITS + cidr.bits, LITTLE_ENDIAN)
  view.setUint16(offset + 4, 0, LITTLE_ENDIAN)
  out[offset + 6] = 0
  out[offset + 7] = cidr.ip.family === 4 ? KEY_IPV4 : KEY_IPV6
  writeUnion(cidr.ip, out, offset + 8)
}

/** Undefined for a key that this agent would never write (another cluster, an impossible length). */
export function decodeIpcacheKey(bytes: Uint8Array, offset = 0): Cidr | undefined {
  const view = viewOf(bytes)
  const bits = view.getUint32(offset, LITTLE_ENDIAN) - STATIC_BITS
  const ip = readUnion(bytes[offset + 7] ?? 0, bytes, offset + 8)
  if (ip === undefined || view.getUint16(offset + 4, LITTLE_ENDIAN) !== 0) return undefined
  if (bits < 0 || bits > ip.bytes.length * 8) return undefined
  return { ip, bits }
}

/** The identity; no tunnel endpoint, no key, no flags: what Cilium writes for world, CIDR and FQDN entries. */
export function encodeIpcacheValue(identity: number, out: Uint8Array, offset = 0): void {
  out.fill(0, offset, offset + IPCACHE_VALUE_BYTES)
  viewOf(out).setUint32(offset, identity, LITTLE_ENDIAN)
}

export const decodeIpcacheIdentity = (bytes: Uint8Array, offset = 0): number =>
  viewOf(bytes).getUint32(offset, LITTLE_ENDIAN)

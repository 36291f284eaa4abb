import type { Ip } from '../core/ip.ts'
import { LITTLE_ENDIAN, viewOf } from './layout-bytes.ts'

/** Connections; Cilium `cilium_ct4_global` and its kin (bpf/lib/conntrack.h): LRU hash, key 14 or 38, value 56. */
export const CT4_KEY_BYTES = 14
export const CT6_KEY_BYTES = 38
export const CT_VALUE_BYTES = 56

export const CT_OUT = 0
export const CT_IN = 1

export const CT_RX_CLOSING = 0x01
export const CT_TX_CLOSING = 0x02
export const CT_SEEN_NON_SYN = 0x10
export const CT_PROXY_REDIRECT = 0x40

/** Octet offsets within the value, for readers that decode nothing else. */
export const CT_LIFETIME_OFFSET = 32
export const CT_BITS_OFFSET = 36

/** A connection as its first packet had it. Stored with the addresses exchanged and the ports not. */
export interface CtKey {
  readonly source: Ip
  readonly destination: Ip
  readonly sourcePort: number
  readonly destinationPort: number
  readonly protocol: number
  /** CT_OUT: opened by a local endpoint; CT_IN: opened to one. */
  readonly direction: number
}

export interface CtValue {
  /** CLOCK_MONOTONIC in seconds. */
  readonly lifetime: number
  readonly bits: number
  readonly sourceIdentity: number
}

export const ctKeyBytes = (family: 4 | 6): number => (family === 4 ? CT4_KEY_BYTES : CT6_KEY_BYTES)

export function encodeCtKey(key: CtKey, out: Uint8Array, offset = 0): void {
  const size = key.source.bytes.length
  const view = viewOf(out)
  out.set(key.source.bytes, offset)
  out.set(key.destination.bytes, offset + size)
  view.setUint16(offset + 2 * size, key.destinationPort)
  view.setUint16(offset + 2 * size + 2, key.sourcePort)
  out[offset + 2 * size + 4] = key.protocol
  out[offset + 2 * size + 5] = key.direction
}

export function decodeCtKey(family: 4 | 6, bytes: Uint8Array, offset = 0): CtKey {
  const size = family === 4 ? 4 : 16
  const view = viewOf(bytes)
  return {
    source: { family, bytes: bytes.slice(offset, offset + size) },
    destination: { family, bytes: bytes.slice(offset + size, offset + 2 * size) },
    destinationPort: view.getUint16(offset + 2 * size),
    sourcePort: view.getUint16(offset + 2 * size + 2),
    protocol: bytes[offset + 2 * size + 4] ?? 0,
    direction: bytes[offset + 2 * size + 5] ?? 0,
  }
}

export function encodeCtValue(value: CtValue, out: Uint8Array, offset = 0): void {
  const view = viewOf(out)
  out.fill(0, offset, offset + CT_VALUE_BYTES)
  view.setUint32(offset + CT_LIFETIME_OFFSET, value.lifetime, LITTLE_ENDIAN)
  view.setUint16(offset + CT_BITS_OFFSET, value.bits, LITTLE_ENDIAN)
  view.setUint32(offset + 44, value.sourceIdentity, LITTLE_ENDIAN)
}

export function decodeCtValue(bytes: Uint8Array, offset = 0): CtValue {
  const view = viewOf(bytes)
  return {
    lifetime: view.getUint32(offset + CT_LIFETIME_OFFSET, LITTLE_ENDIAN),
    bits: view.getUint16(offset + CT_BITS_OFFSET, LITTLE_ENDIAN),
    sourceIdentity: view.getUint32(offset + 44, LITTLE_ENDIAN),
  }
}

/** In use: not yet over, and not closed by both ends. */
export const ctAlive = (lifetime: number, bits: number, nowSeconds: number): boolean =>
  lifetime > nowSeconds && (bits & (CT_RX_CLOSING | CT_TX_CLOSING)) !== (CT_RX_CLOSING | CT_TX_CLOSING)

import type { Ip } from '../core/ip.ts'
import { KEY_IPV4, KEY_IPV6, LITTLE_ENDIAN, readUnion, viewOf } from './layout-bytes.ts'

/** `struct event` of native/bpf/maps.h. */
export const EVENT_BYTES = 64

/** A dropped packet. */
export interface DropEvent {
  /** CLOCK_MONOTONIC, milliseconds. */
  readonly timeMs: number
  readonly endpointId: number
  /** Number of the reason (src/datapath/reasons.ts). */
  readonly reason: number
  /** DIRECTION_INGRESS or DIRECTION_EGRESS. */
  readonly direction: number
  /** Undefined when the packet was not understood that far. */
  readonly family: 4 | 6 | undefined
  readonly protocol: number
  readonly source: Ip | undefined
  readonly destination: Ip | undefined
  readonly sourcePort: number
  readonly destinationPort: number
  /** Identity of the destination; 0 when the packet was dropped before it was looked up. */
  readonly identity: number
  /** Octets of the frame. */
  readonly length: number
  readonly ifindex: number
}

/** Undefined when fewer than EVENT_BYTES are there. */
export function decodeEvent(bytes: Uint8Array, offset = 0): DropEvent | undefined {
  if (bytes.length - offset < EVENT_BYTES) return undefined
  const view = viewOf(bytes)
  const family = bytes[offset + 12] ?? 0
  return {
    timeMs: Number(view.getBigUint64(offset, LITTLE_ENDIAN) / 1000n) / 1000,
    endpointId: view.getUint16(offset + 8, LITTLE_ENDIAN),
    reason: bytes[offset + 10] ?? 0,
    direction: bytes[offset + 11] ?? 0,
    family: family === KEY_IPV4 ? 4 : family === KEY_IPV6 ? 6 : undefined,
    protocol: bytes[offset + 13] ?? 0,
    sourcePort: view.getUint16(offset + 14),
    destinationPort: view.getUint16(offset + 16),
    identity: view.getUint32(offset + 20, LITTLE_ENDIAN),
    length: view.getUint32(offset + 24, LITTLE_ENDIAN),
    ifindex: view.getUint32(offset + 28, LITTLE_ENDIAN),
    source: readUnion(family, bytes, offset + 32),
    destination: readUnion(family, bytes, offset + 48),
  }
}

import { LITTLE_ENDIAN, viewOf } from './layout-bytes.ts'

/** Packets by reason and direction; Cilium `cilium_metrics` (per-CPU hash, key 8, value 16). Reason 0 is "forwarded". */
export const METRICS_KEY_BYTES = 8
/** Drops by endpoint, reason and direction (per-CPU hash, key 4, value as metrics). */
export const DROP_KEY_BYTES = 4
/** Of one CPU. */
export const COUNTER_VALUE_BYTES = 16
/** Token bucket of one CPU (`struct limiter_value`): time, tokens, suppressed events. */
export const LIMITER_VALUE_BYTES = 24

export const DIRECTION_INGRESS = 1
export const DIRECTION_EGRESS = 2

export interface Counter {
  readonly packets: number
  readonly bytes: number
}

export function encodeMetricsKey(reason: number, direction: number, out: Uint8Array, offset = 0): void {
  out.fill(0, offset, offset + METRICS_KEY_BYTES)
  out[offset] = reason
  out[offset + 1] = direction
}

export const decodeMetricsKey = (bytes: Uint8Array, offset = 0): { reason: number; direction: number } => ({
  reason: bytes[offset] ?? 0,
  direction: (bytes[offset + 1] ?? 0) & 3,
})

export function encodeDropKey(
  key: { endpointId: number; reason: number; direction: number },
  out: Uint8Array,
  offset = 0,
): void {
  viewOf(out).setUint16(offset, key.endpointId, LITTLE_ENDIAN)
  out[offset + 2] = key.reason
  out[offset + 3] = key.direction
}

export const decodeDropKey = (
  bytes: Uint8Array,
  offset = 0,
): { endpointId: number; reason: number; direction: number } => ({
  endpointId: viewOf(bytes).getUint16(offset, LITTLE_ENDIAN),
  reason: bytes[offset + 2] ?? 0,
  direction: bytes[offset + 3] ?? 0,
})

/** Sums the copies of all CPUs that lie one after the other. Exact below 2^53. */
export function sumCounters(bytes: Uint8Array, offset: number, cpus: number): Counter {
  const view = viewOf(bytes)
  let packets = 0n
  let octets = 0n
  for (let cpu = 0; cpu < cpus; cpu++) {
    packets += view.getBigUint64(offset + cpu * COUNTER_VALUE_BYTES, LITTLE_ENDIAN)
    octets += view.getBigUint64(offset + cpu * COUNTER_VALUE_BYTES + 8, LITTLE_ENDIAN)
  }
  return { packets: Number(packets), bytes: Number(octets) }
}

/** Suppressed events in the buckets of all CPUs. */
export function sumSuppressed(bytes: Uint8Array, cpus: number): number {
  const view = viewOf(bytes)
  let sum = 0n
  for (let cpu = 0; cpu < cpus; cpu++) sum += view.getBigUint64(cpu * LIMITER_VALUE_BYTES + 16, LITTLE_ENDIAN)
  return Number(sum)
}

import type { BpfCalls, Fd } from '../native/binding.ts'
import {
  type Counter,
  COUNTER_VALUE_BYTES,
  decodeDropKey,
  decodeMetricsKey,
  DROP_KEY_BYTES,
  LIMITER_VALUE_BYTES,
  METRICS_KEY_BYTES,
  sumCounters,
  sumSuppressed,
} from './layout-counters.ts'
import { scanMap } from './scan.ts'

export interface ReasonCounter extends Counter {
  /** 0: forwarded. */
  readonly reason: number
  readonly direction: number
}

export interface DropCounter extends Counter {
  readonly endpointId: number
  readonly reason: number
  readonly direction: number
}

/** Totals of the programs, summed over the CPUs. */
export interface CounterMaps {
  reasons(): ReasonCounter[]
  drops(): DropCounter[]
  /** Drops that were counted and not reported as events, because of the limit. */
  suppressedEvents(): number
  /** Forgets the drops of an endpoint that is gone. */
  forget(endpointId: number): void
}

export function openCounterMaps(
  native: BpfCalls,
  fds: { readonly metrics: Fd; readonly drops: Fd; readonly limiter: Fd },
): CounterMaps {
  // The kernel keeps a copy for each CPU the machine can have.
  const cpus = native.bpfMapInfo(fds.metrics).valueOctets / COUNTER_VALUE_BYTES
  const value = new Uint8Array(COUNTER_VALUE_BYTES * cpus)
  const keysOf = (fd: Fd, size: number): Uint8Array[] => {
    const keys: Uint8Array[] = []
    scanMap(native, fd, size, value.length, (found, _values, count) => {
      for (let i = 0; i < count; i++) keys.push(found.slice(i * size, (i + 1) * size))
    })
    return keys
  }
  const read = <T>(fd: Fd, size: number, decode: (key: Uint8Array, offset: number) => T): (T & Counter)[] => {
    const all: (T & Counter)[] = []
    scanMap(native, fd, size, value.length, (keys, values, count) => {
      for (let i = 0; i < count; i++)
        all.push({ ...decode(keys, i * size), ...sumCounters(values, i * value.length, cpus) })
    })
    return all
  }
  return {
    reasons: () => read(fds.metrics, METRICS_KEY_BYTES, decodeMetricsKey),
    drops: () => read(fds.drops, DROP_KEY_BYTES, decodeDropKey),
    suppressedEvents() {
      const buckets = new Uint8Array(LIMITER_VALUE_BYTES * cpus)
      native.bpfMapLookup(fds.limiter, new Uint8Array(4), buckets)
      return sumSuppressed(buckets, cpus)
    },
    forget(endpointId) {
      const keys = keysOf(fds.drops, DROP_KEY_BYTES).filter((key) => decodeDropKey(key).endpointId === endpointId)
      for (const key of keys) native.bpfMapDelete(fds.drops, key)
    },
  }
}

import type { BpfCalls, Fd } from '../native/binding.ts'
import {
  type Counter,
  COUNTER_VALUE_BYTES,
  decodeDropKey,
  decodeMetricsKey,
  DROP_KEY_BYTES,
  METRICS_KEY_BYTES,
  sumCounters,
} from './layout-counters.ts'

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
  /** Forgets the drops of an endpoint that is gone. */
  forget(endpointId: number): void
}

/** `cpus`: possible CPUs of the machine, as the kernel keeps a copy for each. */
export function openCounterMaps(native: BpfCalls, fds: { metrics: Fd; drops: Fd }, cpus: number): CounterMaps {
  const value = new Uint8Array(COUNTER_VALUE_BYTES * cpus)
  const keysOf = (fd: Fd, size: number): Uint8Array[] => {
    const keys: Uint8Array[] = []
    const next = new Uint8Array(size)
    let key: Uint8Array | null = null
    while (native.bpfMapNextKey(fd, key, next)) {
      key = next.slice()
      keys.push(key)
    }
    return keys
  }
  const read = <T>(fd: Fd, size: number, decode: (key: Uint8Array) => T): (T & Counter)[] => {
    const found: (T & Counter)[] = []
    for (const key of keysOf(fd, size)) {
      if (native.bpfMapLookup(fd, key, value)) found.push({ ...decode(key), ...sumCounters(value, 0, cpus) })
    }
    return found
  }
  return {
    reasons: () => read(fds.metrics, METRICS_KEY_BYTES, (key) => decodeMetricsKey(key)),
    drops: () => read(fds.drops, DROP_KEY_BYTES, (key) => decodeDropKey(key)),
    forget(endpointId) {
      for (const key of keysOf(fds.drops, DROP_KEY_BYTES)) {
        if (decodeDropKey(key).endpointId === endpointId) native.bpfMapDelete(fds.drops, key)
      }
    },
  }
}

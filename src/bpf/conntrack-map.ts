import { ADDR16_BYTES } from '../core/ip.ts'
import type { BpfCalls, Fd } from '../native/binding.ts'
import {
  CT_BITS_OFFSET,
  CT_LIFETIME_OFFSET,
  CT_OUT,
  CT_VALUE_BYTES,
  CT4_KEY_BYTES,
  CT6_KEY_BYTES,
  ctAlive,
} from './layout-conntrack.ts'
import { LITTLE_ENDIAN } from './layout-bytes.ts'
import { CURSOR_BYTES, SCAN_BATCH } from './scan.ts'

export interface ConntrackMap {
  /**
   * One slice of at most `max` entries (never fewer than 64 are asked for); false when the pass over all four maps is over (the next call begins anew).
   * Calls back (endpoint address, remote address) as addr16 for every live connection a local endpoint has opened; the
   * arrays are used again for the next call. `nowSeconds`: CLOCK_MONOTONIC.
   */
  scan(max: number, nowSeconds: number, live: (endpoint: Uint8Array, remote: Uint8Array) => void): boolean
}

export interface ConntrackFds {
  readonly ct4: Fd
  readonly ct_any4: Fd
  readonly ct6: Fd
  readonly ct_any6: Fd
}

export function openConntrackMap(native: BpfCalls, fds: ConntrackFds): ConntrackMap {
  const maps: readonly { readonly fd: Fd; readonly size: 4 | 16 }[] = [
    { fd: fds.ct4, size: 4 },
    { fd: fds.ct_any4, size: 4 },
    { fd: fds.ct6, size: 16 },
    { fd: fds.ct_any6, size: 16 },
  ]
  const keys = new Uint8Array(SCAN_BATCH * CT6_KEY_BYTES)
  const values = new Uint8Array(SCAN_BATCH * CT_VALUE_BYTES)
  const view = new DataView(values.buffer)
  const cursor = new Uint8Array(CURSOR_BYTES)
  const endpoint = new Uint8Array(ADDR16_BYTES)
  const remote = new Uint8Array(ADDR16_BYTES)
  let current = 0

  const setAddr16 = (out: Uint8Array, at: number, size: 4 | 16): void => {
    if (size === 4) {
      out.fill(0, 0, 10)
      out[10] = 0xff
      out[11] = 0xff
    }
    for (let i = 0; i < size; i++) out[16 - size + i] = keys[at + i] ?? 0
  }

  const visit = (
    size: 4 | 16,
    count: number,
    nowSeconds: number,
    live: (e: Uint8Array, r: Uint8Array) => void,
  ): void => {
    const keyBytes = size === 4 ? CT4_KEY_BYTES : CT6_KEY_BYTES
    for (let i = 0; i < count; i++) {
      const key = i * keyBytes
      const value = i * CT_VALUE_BYTES
      if (keys[key + keyBytes - 1] !== CT_OUT) continue
      const lifetime = view.getUint32(value + CT_LIFETIME_OFFSET, LITTLE_ENDIAN)
      if (!ctAlive(lifetime, view.getUint16(value + CT_BITS_OFFSET, LITTLE_ENDIAN), nowSeconds)) continue
      setAddr16(endpoint, key, size)
      setAddr16(remote, key + size, size)
      live(endpoint, remote)
    }
  }

  return {
    scan(max, nowSeconds, live) {
      let left = Math.max(1, max)
      while (left > 0) {
        const map = maps[current]
        if (map === undefined) {
          current = 0
          return false
        }
        const keyBytes = map.size === 4 ? CT4_KEY_BYTES : CT6_KEY_BYTES
        // Never below what a bucket can hold; see SCAN_BATCH.
        const ask = Math.min(SCAN_BATCH, Math.max(left, MIN_SLICE))
        const read = native.bpfMapLookupBatch(
          map.fd,
          cursor,
          keys.subarray(0, ask * keyBytes),
          values.subarray(0, ask * CT_VALUE_BYTES),
          ask,
        )
        const count = read < 0 ? -1 - read : read
        visit(map.size, count, nowSeconds, live)
        left -= Math.max(1, count)
        if (read < 0) {
          current += 1
          cursor.fill(0)
        }
      }
      if (current < maps.length) return true
      current = 0
      return false
    },
  }
}

/** The longest chain of a hash bucket that is provided for: the kernel's buckets hold 1 entry on average. */
const MIN_SLICE = 64

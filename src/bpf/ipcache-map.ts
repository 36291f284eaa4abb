import type { Cidr } from '../core/ip.ts'
import type { BpfCalls, Fd } from '../native/binding.ts'
import {
  decodeIpcacheIdentity,
  decodeIpcacheKey,
  encodeIpcacheKey,
  encodeIpcacheValue,
  IPCACHE_KEY_BYTES,
  IPCACHE_VALUE_BYTES,
} from './layout-ipcache.ts'
import { scanMap } from './scan.ts'

export interface IpcacheEntry {
  readonly cidr: Cidr
  readonly identity: number
}

/** Prefix -> identity. Every entry is written atomically; a batch is not. */
export interface IpcacheMap {
  update(entries: readonly IpcacheEntry[]): void
  /** Prefixes that are not there are no error. */
  delete(cidrs: readonly Cidr[]): void
  /** A snapshot as of the call, read before the first entry is handed out. Entries of other clusters are left out. */
  dump(): Iterable<IpcacheEntry>
}

export function openIpcacheMap(native: BpfCalls, fd: Fd): IpcacheMap {
  const keysOf = (cidrs: readonly Cidr[]): Uint8Array => {
    const keys = new Uint8Array(cidrs.length * IPCACHE_KEY_BYTES)
    cidrs.forEach((cidr, i) => encodeIpcacheKey(cidr, keys, i * IPCACHE_KEY_BYTES))
    return keys
  }
  return {
    update(entries) {
      if (entries.length === 0) return
      const values = new Uint8Array(entries.length * IPCACHE_VALUE_BYTES)
      entries.forEach((entry, i) => encodeIpcacheValue(entry.identity, values, i * IPCACHE_VALUE_BYTES))
      native.bpfMapUpdateBatch(fd, keysOf(entries.map((entry) => entry.cidr)), values, entries.length)
    },
    delete(cidrs) {
      if (cidrs.length > 0) native.bpfMapDeleteBatch(fd, keysOf(cidrs), cidrs.length)
    },
    dump() {
      const found: IpcacheEntry[] = []
      scanMap(native, fd, IPCACHE_KEY_BYTES, IPCACHE_VALUE_BYTES, (keys, values, count) => {
        for (let i = 0; i < count; i++) {
          const cidr = decodeIpcacheKey(keys, i * IPCACHE_KEY_BYTES)
          if (cidr !== undefined) found.push({ cidr, identity: decodeIpcacheIdentity(values, i * IPCACHE_VALUE_BYTES) })
        }
      })
      return found
    },
  }
}

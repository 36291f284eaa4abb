import type { BpfCalls, Fd, NativeError } from '../native/binding.ts'
import { decodeU32, encodeU32 } from './layout-control.ts'
import {
  decodePolicyRow,
  encodePolicyKey,
  encodePolicyValue,
  type KernelRow,
  POLICY_KEY_BYTES,
  POLICY_VALUE_BYTES,
} from './layout-policy.ts'
import { policyInnerSpec } from './map-specs.ts'
import { scanBuffers, type ScanBuffers, scanMap } from './scan.ts'

/** A row as it was found; `altered`: what stands for its verdict is not as `update` writes it. */
export type FoundRow = KernelRow & { readonly altered?: true }

/** The rows of one policy; several endpoints may share one. Owns its descriptor. */
export interface PolicyMap {
  readonly fd: Fd
  update(rows: readonly KernelRow[]): void
  /** Rows that are not there are no error; the verdict is not looked at. */
  delete(rows: readonly KernelRow[]): void
  dump(): FoundRow[]
  /** A number of the rows as they stand: another one when anybody has changed a row since. Much cheaper than a dump. */
  digest(): number
  /** Gives up the descriptor; the kernel keeps the map as long as it is attached somewhere. Idempotent. */
  close(): void
}

/** Endpoint id -> rows. */
export interface PolicyMaps {
  create(rows: readonly KernelRow[]): PolicyMap
  /** Atomic: a packet meets the old rows or the new ones. */
  attach(endpointId: number, map: PolicyMap): void
  /**
   * Many at once, in order: the kernel waits for an RCU grace period (some 20 ms) after each change of a map of maps,
   * and once for a batch. Returns how many were attached; less than all when the one after them was refused.
   */
  attachAll(entries: readonly { readonly endpointId: number; readonly map: PolicyMap }[]): number
  /** Those that are not attached are no error. One grace period for all. */
  detachAll(endpointIds: readonly number[]): void
  attached(): Iterable<number>
}

export interface PolicyMapsOptions {
  /** Where redirect rows lead, host order. */
  readonly proxyPort: number
  /** Size of a new map. */
  readonly entries: number
}

/** What the map handles need of the native door. */
export type MapCalls = BpfCalls & { close(fd: Fd): void }

const ODD = 0x9e3779b1

/** Words of 32 bits into a hash of 32 bits: multiplied and shifted, so that every bit of a word counts. */
function mix(hash: number, bytes: Uint8Array, octets: number): number {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, octets >> 2)
  let mixed = hash
  for (const word of words) {
    mixed = Math.imul(mixed ^ word, ODD)
    mixed ^= mixed >>> 15
  }
  return mixed
}

function openPolicyMap(native: MapCalls, fd: Fd, proxyPort: number, buffers: ScanBuffers): PolicyMap {
  let open = true
  const keysOf = (rows: readonly KernelRow[]): Uint8Array => {
    const keys = new Uint8Array(rows.length * POLICY_KEY_BYTES)
    rows.forEach((row, i) => encodePolicyKey(row, keys, i * POLICY_KEY_BYTES))
    return keys
  }
  return {
    fd,
    update(rows) {
      if (rows.length === 0) return
      const values = new Uint8Array(rows.length * POLICY_VALUE_BYTES)
      rows.forEach((row, i) => encodePolicyValue(row, proxyPort, values, i * POLICY_VALUE_BYTES))
      native.bpfMapUpdateBatch(fd, keysOf(rows), values, rows.length)
    },
    delete(rows) {
      if (rows.length > 0) native.bpfMapDeleteBatch(fd, keysOf(rows), rows.length)
    },
    digest() {
      let hash = 0
      let rows = 0
      const add = (keys: Uint8Array, values: Uint8Array, count: number): void => {
        hash = mix(mix(hash, keys, count * POLICY_KEY_BYTES), values, count * POLICY_VALUE_BYTES)
        rows += count
      }
      scanMap(native, fd, POLICY_KEY_BYTES, POLICY_VALUE_BYTES, add, buffers)
      return rows * 2 ** 32 + (hash >>> 0)
    },
    dump() {
      const rows: FoundRow[] = []
      const written = new Uint8Array(POLICY_VALUE_BYTES)
      const take = (keys: Uint8Array, values: Uint8Array, count: number): void => {
        for (let i = 0; i < count; i++) {
          const found = decodePolicyRow(keys, values, i * POLICY_KEY_BYTES, i * POLICY_VALUE_BYTES)
          if (found === undefined) continue
          encodePolicyValue(found.row, proxyPort, written)
          const same = written.every((octet, j) => octet === values[i * POLICY_VALUE_BYTES + j])
          rows.push(same ? found.row : { ...found.row, altered: true })
        }
      }
      scanMap(native, fd, POLICY_KEY_BYTES, POLICY_VALUE_BYTES, take, buffers)
      return rows
    },
    close() {
      if (open) native.close(fd)
      open = false
    },
  }
}

function packU32(numbers: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * numbers.length)
  numbers.forEach((number, i) => bytes.set(encodeU32(number), 4 * i))
  return bytes
}

export function openPolicyMaps(native: MapCalls, fd: Fd, options: PolicyMapsOptions): PolicyMaps {
  const buffers = scanBuffers(POLICY_KEY_BYTES, POLICY_VALUE_BYTES)
  return {
    create(rows) {
      const inner = native.bpfMapCreate(policyInnerSpec(options.entries))
      const map = openPolicyMap(native, inner, options.proxyPort, buffers)
      try {
        map.update(rows)
      } catch (error) {
        map.close()
        throw error
      }
      return map
    },
    attach(endpointId, map) {
      native.bpfMapUpdate(fd, encodeU32(endpointId), encodeU32(map.fd))
    },
    attachAll(entries) {
      if (entries.length === 0) return 0
      const keys = packU32(entries.map(({ endpointId }) => endpointId))
      const values = packU32(entries.map(({ map }) => map.fd))
      try {
        return native.bpfMapUpdateBatch(fd, keys, values, entries.length)
      } catch (error) {
        const { written } = error as NativeError
        if (written === undefined) throw error
        return written
      }
    },
    detachAll(endpointIds) {
      if (endpointIds.length > 0) native.bpfMapDeleteBatch(fd, packU32(endpointIds), endpointIds.length)
    },
    attached() {
      const ids: number[] = []
      const next = new Uint8Array(4)
      let key: Uint8Array | null = null
      while (native.bpfMapNextKey(fd, key, next)) {
        ids.push(decodeU32(next))
        key = next.slice()
      }
      return ids
    },
  }
}

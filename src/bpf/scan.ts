import type { BpfCalls, Fd } from '../native/binding.ts'

/**
 * Entries asked for in one call. A hash map hands out whole buckets and refuses when one does not fit, so small
 * numbers are no saving.
 */
export const SCAN_BATCH = 1024

/** Octets of a cursor as `bpfMapLookupBatch` wants it. */
export const CURSOR_BYTES = 64

/** What a scan reads into; may be used again by the next one. */
export interface ScanBuffers {
  readonly keys: Uint8Array
  readonly values: Uint8Array
}

export const scanBuffers = (keyBytes: number, valueBytes: number): ScanBuffers => ({
  keys: new Uint8Array(SCAN_BATCH * keyBytes),
  values: new Uint8Array(SCAN_BATCH * valueBytes),
})

/** Reads a whole map. An entry that is changed meanwhile may be seen in either state, once or not at all. */
export function scanMap(
  native: BpfCalls,
  fd: Fd,
  keyBytes: number,
  valueBytes: number,
  visit: (keys: Uint8Array, values: Uint8Array, count: number) => void,
  { keys, values }: ScanBuffers = scanBuffers(keyBytes, valueBytes),
): void {
  const cursor = new Uint8Array(CURSOR_BYTES)
  for (;;) {
    const read = native.bpfMapLookupBatch(fd, cursor, keys, values, SCAN_BATCH)
    const count = read < 0 ? -1 - read : read
    visit(keys, values, count)
    if (read < 0) return
  }
}

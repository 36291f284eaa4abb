import type { BpfCalls, Fd } from '../native/binding.ts'

/**
 * Entries asked for in one call. A hash map hands out whole buckets and refuses when one does not fit, so small
 * numbers are no saving.
 */
export const SCAN_BATCH = 1024

/** Octets of a cursor as `bpfMapLookupBatch` wants it. */
export const CURSOR_BYTES = 64

/** Reads a whole map. An entry that is changed meanwhile may be seen in either state, once or not at all. */
export function scanMap(
  native: BpfCalls,
  fd: Fd,
  keyBytes: number,
  valueBytes: number,
  visit: (keys: Uint8Array, values: Uint8Array, count: number) => void,
): void {
  const cursor = new Uint8Array(CURSOR_BYTES)
  const keys = new Uint8Array(SCAN_BATCH * keyBytes)
  const values = new Uint8Array(SCAN_BATCH * valueBytes)
  for (;;) {
    const read = native.bpfMapLookupBatch(fd, cursor, keys, values, SCAN_BATCH)
    const count = read < 0 ? -1 - read : read
    visit(keys, values, count)
    if (read < 0) return
  }
}

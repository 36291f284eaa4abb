import { writeAddr16 } from '../core/ip.ts'
import { SETTLED } from './ipcache-mirror.ts'
import type { IpcacheWriter } from './ipcache-writer.ts'
import type { IpcacheMap } from './ports.ts'

export interface ReconcileCounts {
  /** Entries nobody here wrote; removed. */
  foreign: number
  /** Entries with another identity than was written; written again. */
  changed: number
  /** Entries that are gone; written again. */
  missing: number
}

const SLICE = 256

/**
 * Compares the kernel's ipcache with what was written and repairs it. The dump is of one moment; what the writer
 * changes while the comparison goes on is left out of it. Yields between slices.
 */
export function* reconcileIpcache(
  map: IpcacheMap,
  writer: IpcacheWriter,
  pass: number,
): Generator<void, ReconcileCounts> {
  const { mirror } = writer
  const counts: ReconcileCounts = { foreign: 0, changed: 0, missing: 0 }
  writer.beginPass(pass)
  const addr16 = new Uint8Array(16)
  const high = mirror.high
  let n = 0
  for (const { cidr, identity } of map.dump()) {
    if (n++ % SLICE === 0) yield
    writeAddr16(cidr.ip, addr16, 0)
    const bits = cidr.bits + (cidr.ip.family === 4 ? 96 : 0)
    const row = mirror.find(addr16, 0, bits)
    if (row < 0) {
      if (writer.removedInPass(addr16, bits)) continue
      map.delete([cidr])
      counts.foreign++
      continue
    }
    if (mirror.seen[row] === pass) continue
    mirror.seen[row] = pass
    if (mirror.wanted[row] !== SETTLED || mirror.written[row] === identity) continue
    writer.rewrite(row)
    counts.changed++
  }
  for (let row = 0; row < high; row++) {
    if (row % (4 * SLICE) === 0) yield
    if (mirror.seen[row] === pass || mirror.wanted[row] !== SETTLED || mirror.written[row] === 0) continue
    mirror.seen[row] = pass
    writer.rewrite(row)
    counts.missing++
  }
  writer.beginPass(0)
  return counts
}

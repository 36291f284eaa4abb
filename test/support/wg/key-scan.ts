/** Looks for secrets in the memory of another process, which must not be the one that looks. */
import { execFileSync } from 'node:child_process'
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'

export interface Scan {
  /** Octets that were searched. */
  readonly bytes: number
  /** How often each needle was found. */
  readonly hits: readonly number[]
}

const CHUNK = 8 << 20
const PAGE = 4096
/** Entry of /proc/PID/pagemap: present, or in swap (Documentation/admin-guide/mm/pagemap.rst). */
const BACKED = 0xc0

function count(haystack: Buffer, needle: Buffer): number {
  let hits = 0
  for (let at = haystack.indexOf(needle); at >= 0; at = haystack.indexOf(needle, at + 1)) hits++
  return hits
}

/** Runs of pages in [start, end) that have content. */
function* backed(pagemap: number, start: number, end: number): Generator<readonly [from: number, to: number]> {
  const entries = Buffer.alloc(((end - start) / PAGE) * 8)
  const pages = readSync(pagemap, entries, 0, entries.length, (start / PAGE) * 8) / 8
  let from = -1
  for (let i = 0; i <= pages; i++) {
    const has = i < pages && ((entries[i * 8 + 7] ?? 0) & BACKED) !== 0
    if (has && from < 0) from = i
    if (has || from < 0) continue
    yield [start + from * PAGE, start + i * PAGE]
    from = -1
  }
}

/** Ranges of memory that can hold what the process wrote: what is a file and cannot be written holds the file. */
function* mappings(pid: number): Generator<readonly [start: number, end: number]> {
  for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
    const found = /^([0-9a-f]+)-([0-9a-f]+) r(.)\S+ \S+ \S+ \d+\s*(.*)$/.exec(line)
    if (found === null || (found[3] === '-' && found[4] !== '') || /^\[v/.test(found[4] ?? '')) continue
    yield [parseInt(found[1] ?? '', 16), parseInt(found[2] ?? '', 16)]
  }
}

export function scanMemory(pid: number, needles: readonly Buffer[]): Scan {
  const overlap = Math.max(...needles.map((needle) => needle.length)) - 1
  const hits = needles.map(() => 0)
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  const pagemap = openSync(`/proc/${pid}/pagemap`, 'r')
  const buffer = Buffer.alloc(CHUNK)
  let bytes = 0
  for (const [start, end] of mappings(pid))
    for (const [from, to] of backed(pagemap, start, end))
      for (let at = from; at < to; at += CHUNK - overlap) {
        let length: number
        try {
          length = readSync(memory, buffer, 0, Math.min(CHUNK, to - at), at)
        } catch {
          // Unmapped since the list was read.
          break
        }
        bytes += length
        for (const [i, needle] of needles.entries())
          hits[i] = (hits[i] ?? 0) + count(buffer.subarray(0, length), needle)
        if (at + length >= to) break
      }
  closeSync(memory)
  closeSync(pagemap)
  return { bytes, hits }
}

/** The private key of a device in each form it could stand in memory: raw, hex in both cases, base64. */
export function privateKeyForms(device: string, inside: readonly string[] = []): Buffer[] {
  const [command = 'wg', ...args] = [...inside, 'wg', 'show', device, 'private-key']
  const raw = Buffer.from(execFileSync(command, args, { encoding: 'utf8' }).trim(), 'base64')
  if (raw.length !== 32 || raw.every((octet) => octet === 0)) throw new Error(`${device} has no private key`)
  const hex = raw.toString('hex')
  return [raw, Buffer.from(hex), Buffer.from(hex.toUpperCase()), Buffer.from(raw.toString('base64'))]
}

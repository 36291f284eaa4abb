/** Looks for secrets in the memory of another process, which must not be the one that looks. */
import { execFileSync } from 'node:child_process'
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'

export interface Scan {
  /** Octets that could be read. */
  readonly bytes: number
  /** How often each needle was found. */
  readonly hits: readonly number[]
}

const CHUNK = 8 << 20

function count(haystack: Buffer, needle: Buffer): number {
  let hits = 0
  for (let at = haystack.indexOf(needle); at >= 0; at = haystack.indexOf(needle, at + 1)) hits++
  return hits
}

export function scanMemory(pid: number, needles: readonly Buffer[]): Scan {
  const overlap = Math.max(...needles.map((needle) => needle.length)) - 1
  const hits = needles.map(() => 0)
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  const buffer = Buffer.alloc(CHUNK)
  let bytes = 0
  for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
    const found = /^([0-9a-f]+)-([0-9a-f]+) r(.)\S+ \S+ \S+ (\d+)\s*(.*)$/.exec(line)
    // What is a file and cannot be written holds the file.
    if (found === null || (found[3] === '-' && found[5] !== '') || /^\[v/.test(found[5] ?? '')) continue
    const end = parseInt(found[2] ?? '', 16)
    for (let at = parseInt(found[1] ?? '', 16); at < end; at += CHUNK - overlap) {
      let length: number
      try {
        length = readSync(memory, buffer, 0, Math.min(CHUNK, end - at), at)
      } catch {
        // Reserved, never backed.
        break
      }
      bytes += length
      for (const [i, needle] of needles.entries()) hits[i] = (hits[i] ?? 0) + count(buffer.subarray(0, length), needle)
      if (at + length >= end) break
    }
  }
  closeSync(memory)
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

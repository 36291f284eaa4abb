import { closeSync, existsSync, openSync, readFileSync, renameSync, truncateSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'

export const SNAPSHOT_FILE = 'names.snapshot'
const JOURNAL_FILE = 'names.journal'
const OLD_JOURNAL_FILE = 'names.journal.old'

/** Beyond this the journal is not appended to: main does not write snapshots any more, and says so elsewhere. */
const MAX_JOURNAL_BYTES = 64 * 1024 * 1024

/**
 * The journal's file. Appended by the ledger, not synced: it has to survive the process and not the machine. When a
 * snapshot begins, the journal so far is put aside; when main has written the snapshot, it is removed.
 */
export class JournalFile {
  readonly #path: string
  readonly #oldPath: string
  #fd = -1
  #size = 0

  constructor(directory: string) {
    this.#path = join(directory, JOURNAL_FILE)
    this.#oldPath = join(directory, OLD_JOURNAL_FILE)
  }

  /** The older part and the newer part as they are on disk. */
  read(): { old: Uint8Array; current: Uint8Array } {
    return { old: readIfThere(this.#oldPath), current: readIfThere(this.#path) }
  }

  /** Opens for appending after the first `valid` octets. Throws what node:fs throws. */
  open(valid: number): void {
    if (existsSync(this.#path)) truncateSync(this.#path, valid)
    this.#fd = openSync(this.#path, 'a', 0o600)
    this.#size = valid
  }

  /** False when nothing or not all could be written. */
  append(bytes: Uint8Array): boolean {
    if (this.#fd < 0 || this.#size + bytes.length > MAX_JOURNAL_BYTES) return false
    try {
      for (let at = 0; at < bytes.length;) at += writeSync(this.#fd, bytes, at, bytes.length - at)
      this.#size += bytes.length
      return true
    } catch {
      // Half a record would hide what follows it.
      try {
        truncateSync(this.#path, this.#size)
      } catch {
        this.close()
      }
      return false
    }
  }

  get size(): number {
    return this.#size
  }

  /** Puts the journal aside, unless an older one is still there. */
  rotate(): void {
    if (existsSync(this.#oldPath)) return
    this.close()
    renameSync(this.#path, this.#oldPath)
    this.open(0)
  }

  /** The snapshot that replaces it is on disk. */
  dropOld(): void {
    if (existsSync(this.#oldPath)) unlinkSync(this.#oldPath)
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd)
    this.#fd = -1
  }
}

export function readIfThere(path: string): Uint8Array {
  try {
    return readFileSync(path)
  } catch {
    return new Uint8Array(0)
  }
}

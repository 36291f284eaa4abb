import { createHash } from 'node:crypto'
import type { KeyEvent } from '../seams.ts'
import type { Slot } from '../slots.ts'

const KEPT = 256

/** `SHA256:` and base64 without padding, as people know it from ssh. */
export const fingerprintOf = (publicKey: string): string =>
  `SHA256:${createHash('sha256').update(Buffer.from(publicKey, 'base64')).digest('base64').replace(/=+$/, '')}`

/** The last events, and all of them to the log for auditors. */
export class KeyLog {
  readonly #write: (event: KeyEvent) => void
  readonly #events: KeyEvent[] = []

  constructor(write: (event: KeyEvent) => void) {
    this.#write = write
  }

  get events(): readonly KeyEvent[] {
    return [...this.#events]
  }

  add(event: KeyEvent['event'], slot: Slot, publicKey: string, wallMs: number): void {
    const line: KeyEvent = { time: new Date(wallMs).toISOString(), event, slot, fingerprint: fingerprintOf(publicKey) }
    this.#events.push(line)
    if (this.#events.length > KEPT) this.#events.shift()
    this.#write(line)
  }
}

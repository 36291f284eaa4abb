import { createHash } from 'node:crypto'
import type { WgState } from '../machine-types.ts'
import { alive, everProven } from '../pair.ts'
import type { KeyEvent } from '../seams.ts'
import { SLOTS, type Slot } from '../slots.ts'

const KEPT = 256

/** `SHA256:` and base64 without padding, as people know it from ssh. */
export const fingerprintOf = (publicKey: string): string =>
  `SHA256:${createHash('sha256').update(Buffer.from(publicKey, 'base64')).digest('base64').replace(/=+$/, '')}`

/** The last events, and all of them to the log for auditors. */
export class KeyLog {
  readonly #write: (event: KeyEvent) => void
  readonly #events: KeyEvent[] = []
  /** By slot: the last key of which this was told. */
  readonly #published: [string?, string?] = []
  readonly #proven: [string?, string?] = []

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

  /** Keys of an earlier run, of which it told. One that still settles is not known to be proven. */
  adopt({ slots, acknowledged, revision, rotation }: WgState): void {
    if (acknowledged < revision) return
    for (const slot of SLOTS) {
      this.#published[slot] = slots[slot].publicKey
      if (rotation.phase !== 'settling' || rotation.slot !== slot) this.#proven[slot] = slots[slot].publicKey
    }
  }

  /** The directory took a record with these keys. */
  published(slots: WgState['slots'], wallMs: number): void {
    for (const slot of SLOTS) {
      const { publicKey } = slots[slot]
      if (this.#published[slot] === publicKey) continue
      this.#published[slot] = publicKey
      this.add('published', slot, publicKey, wallMs)
    }
  }

  /** Proven is a published key when every peer with a session has shown that it knows it. */
  review({ slots, peers }: WgState, now: number, wallMs: number): void {
    for (const slot of SLOTS) {
      const { publicKey } = slots[slot]
      if (this.#proven[slot] === publicKey || this.#published[slot] !== publicKey) continue
      const living = [...peers].filter((pair) => alive(pair, now) && (pair.twoSlots || slot === 0))
      if (living.length === 0 || !living.every((pair) => everProven(pair, slot))) continue
      this.#proven[slot] = publicKey
      this.add('proven', slot, publicKey, wallMs)
    }
  }
}

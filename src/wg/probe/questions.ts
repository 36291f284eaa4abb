import type { Announcement } from '../pair.ts'
import type { Slot } from '../slots.ts'
import type { Nonce } from './codec.ts'
import type { TargetAddress } from './targets.ts'

/** Fills with numbers that cannot be guessed. */
export type RandomWords = (words: Uint32Array) => void

/** One question to a peer: a datagram in each family that both have, and answered when all of them are. */
export interface Question {
  readonly uid: string
  readonly slot: Slot
  open: number
  /** Of the slowest. */
  rttMs: number
  /** The newest. */
  announcement: Announcement | undefined
  ended: boolean
}

/** A datagram of a question that waits for its answer. */
export interface Pending extends Nonce {
  readonly question: Question
  readonly slot: Slot
  readonly address: TargetAddress
  readonly octets: number
  readonly sentAt: number
}

const POOL = 1024

/** What we have asked, by the number it must be answered with, in the order it was asked. */
export class Questions {
  /** The key is signed: such a number is kept in a pointer, and any other one is an object. */
  readonly #byLow = new Map<number, Pending>()
  readonly #pool = new Uint32Array(POOL)
  readonly #fill: RandomWords
  #at = POOL

  constructor(fill: RandomWords) {
    this.#fill = fill
  }

  get size(): number {
    return this.#byLow.size
  }

  #draw(): number {
    if (this.#at === POOL) {
      this.#fill(this.#pool)
      this.#at = 0
    }
    const word = this.#pool[this.#at] ?? 0
    // Used once: what stays in memory tells nothing about questions that are open.
    this.#pool[this.#at++] = 0
    return word
  }

  add(question: Question, address: TargetAddress, octets: number, sentAt: number): Pending {
    let low = this.#draw()
    while (this.#byLow.has(low | 0)) low = this.#draw()
    const { slot } = question
    const pending: Pending = { high: this.#draw(), low, question, slot, address, octets, sentAt }
    this.#byLow.set(low | 0, pending)
    return pending
  }

  get({ high, low }: Nonce): Pending | undefined {
    const pending = this.#byLow.get(low | 0)
    return pending?.high === high ? pending : undefined
  }

  delete(pending: Pending): void {
    this.#byLow.delete(pending.low | 0)
  }

  /** Takes out what was asked at `until` or before. */
  *expire(until: number): Generator<Pending> {
    for (const pending of this.#byLow.values()) {
      if (pending.sentAt > until) return
      this.#byLow.delete(pending.low | 0)
      yield pending
    }
  }

  /** Forgets the questions of peers that are gone. */
  forget(keep: (uid: string) => boolean): void {
    for (const pending of this.#byLow.values()) if (!keep(pending.question.uid)) this.#byLow.delete(pending.low | 0)
  }
}

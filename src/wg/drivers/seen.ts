import type { WgPeer } from '../ports.ts'

/** A peer of the dump before, and the octets it was read from: a message that stays in memory. In words of four octets. */
export interface Seen {
  readonly peer: WgPeer
  /** Undefined where nothing can be compared: they do not lie on words, or the peer went on in another message. */
  readonly words: Int32Array | undefined
  readonly at: number
  readonly length: number
}

/** Undefined where words do not lie on words, as they do in what the kernel sends. */
export function wordsOf(view: DataView): Int32Array | undefined {
  if (view.byteOffset % 4 !== 0) return undefined
  return new Int32Array(view.buffer, view.byteOffset, view.byteLength >> 2)
}

/**
 * The octets of a peer beside those of a peer of the dump before, attribute by attribute. As long as every header was the same
 * at the same place, what lies there is the same attribute; the kernel tells each of them once.
 */
export class Beside {
  #now: Int32Array | undefined
  #at = 0
  #before: Seen | undefined

  /** `at` and `length`: octets of the peer. */
  begin(words: Int32Array | undefined, at: number, length: number, before: Seen | undefined): void {
    const comparable = at % 4 === 0 && length % 4 === 0 && before?.words !== undefined && before.length === length >> 2
    this.#now = comparable ? words : undefined
    this.#before = before
    this.#at = at >> 2
  }

  /** All of it is the same. */
  get whole(): boolean {
    return this.#before !== undefined && this.#equal(this.#at, this.#before.length)
  }

  /** The payload of an attribute, in octets, and its header are as they were. Asked of every attribute, in their order. */
  same(at: number, length: number): boolean {
    if (this.#now === undefined) return false
    // The octets behind a payload are zeros in both, or the payload is told apart for nothing.
    if (!this.#equal((at >> 2) - 1, 1)) {
      this.#now = undefined
      return false
    }
    return this.#equal(at >> 2, (length + 3) >> 2)
  }

  #equal(at: number, length: number): boolean {
    const now = this.#now
    const before = this.#before?.words
    if (now === undefined || before === undefined) return false
    const back = (this.#before?.at ?? 0) - this.#at
    for (let i = at; i < at + length; i++) if (now[i] !== before[i + back]) return false
    return true
  }
}

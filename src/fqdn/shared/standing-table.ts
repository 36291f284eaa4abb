/**
 * The table of standing mappings: which (endpoint, name, address) is in the map, and until when. Open addressing
 * in a SharedArrayBuffer; workers read it for every answer and take no lock.
 *
 * Slot of four i32: hash lanes lo and hi, `until` (seconds of CLOCK_MONOTONIC, 0 = dead), state (0 empty,
 * 1 used, 2 was used). The ledger alone inserts and removes; a worker only raises `until`, by compare and swap.
 * The ledger removes in two steps: `kill` swaps the `until` it judged for 0, so either the worker's raise came
 * first and the kill fails (the entry lives on), or the kill came first and the worker's raise fails (the worker
 * takes the slow path). Only after that does the ledger touch maps. Dead and absent are the same to a worker.
 * Entries never move, for a raise could land on the place just left.
 */
const WORDS = 4
const LO = 0
const HI = 1
const UNTIL = 2
const STATE = 3
const EMPTY = 0
const USED = 1
const WAS_USED = 2

/** Longest probe; a key that finds no place within it takes the slow path for ever, which is correct and slow. */
export const MAX_PROBES = 64

export const DEAD = 0

/** Bytes for `entries` mappings at a load of at most one half. */
export function standingTableBytes(entries: number): number {
  let slots = 1024
  while (slots < 2 * entries) slots *= 2
  return slots * WORDS * 4
}

export class StandingTable {
  readonly #words: Int32Array
  readonly #mask: number

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer)
    this.#mask = this.#words.length / WORDS - 1
  }

  get slots(): number {
    return this.#mask + 1
  }

  /**
   * Worker: true when the key stands; its expiry is then at least `until`. False is "ask the ledger".
   * One atomic read an entry, `until`: what is read before it only picks the slot, and a stale look at that costs the
   * slow path at worst. After it the key is read again, for the slot may have been given to another key in between:
   * the ledger stores the key before `until`, so who has seen the new expiry sees the new key.
   */
  raise(lo: number, hi: number, until: number): boolean {
    const words = this.#words
    let slot = lo & this.#mask
    for (let probe = 0; probe < MAX_PROBES; probe++, slot = (slot + 1) & this.#mask) {
      const at = slot * WORDS
      const state = words[at + STATE]
      if (state === EMPTY) return false
      if (state !== USED || words[at + LO] !== lo || words[at + HI] !== hi) continue
      for (;;) {
        const seen = Atomics.load(words, at + UNTIL)
        if (seen === DEAD) return false
        if (seen >= until || Atomics.compareExchange(words, at + UNTIL, seen, until) === seen) break
      }
      return words[at + LO] === lo && words[at + HI] === hi
    }
    return false
  }

  /** Ledger: the mapping is in the map from now on. Returns its slot, -1 when no place was found. */
  insert(lo: number, hi: number, until: number): number {
    const words = this.#words
    let slot = lo & this.#mask
    for (let probe = 0; probe < MAX_PROBES; probe++, slot = (slot + 1) & this.#mask) {
      const at = slot * WORDS
      if (Atomics.load(words, at + STATE) === USED) continue
      Atomics.store(words, at + LO, lo)
      Atomics.store(words, at + HI, hi)
      Atomics.store(words, at + STATE, USED)
      Atomics.store(words, at + UNTIL, until)
      return slot
    }
    return -1
  }

  until(slot: number): number {
    return Atomics.load(this.#words, slot * WORDS + UNTIL)
  }

  /** Ledger: raises the expiry as a worker does. */
  extend(slot: number, until: number): void {
    const at = slot * WORDS + UNTIL
    for (;;) {
      const seen = Atomics.load(this.#words, at)
      if (seen >= until || Atomics.compareExchange(this.#words, at, seen, until) === seen) return
    }
  }

  /** Ledger: makes the mapping dead if its expiry is still `seen`. */
  kill(slot: number, seen: number): boolean {
    return Atomics.compareExchange(this.#words, slot * WORDS + UNTIL, seen, DEAD) === seen
  }

  /** Ledger: makes it dead whatever its expiry (its endpoint is gone, or it is evicted). Returns the last expiry. */
  killNow(slot: number): number {
    return Atomics.exchange(this.#words, slot * WORDS + UNTIL, DEAD)
  }

  /** A ledger that takes the place of a dead one knows none of its slots: everything is asked again. */
  clear(): void {
    const words = this.#words
    for (let at = UNTIL; at < words.length; at += WORDS) if (words[at] !== DEAD) Atomics.store(words, at, DEAD)
    for (let at = STATE; at < words.length; at += WORDS) if (words[at] !== EMPTY) Atomics.store(words, at, EMPTY)
  }

  /** Ledger, after `kill` or `killNow`. */
  free(slot: number): void {
    const words = this.#words
    const at = slot * WORDS
    Atomics.store(words, at + LO, 0)
    Atomics.store(words, at + HI, 0)
    const next = ((slot + 1) & this.#mask) * WORDS
    if (Atomics.load(words, next + STATE) !== EMPTY) {
      Atomics.store(words, at + STATE, WAS_USED)
      return
    }
    // Nothing lies behind: this slot and the used-up ones before it end no probe early.
    let back = slot
    Atomics.store(words, at + STATE, EMPTY)
    for (;;) {
      back = (back - 1) & this.#mask
      if (Atomics.load(words, back * WORDS + STATE) !== WAS_USED) return
      Atomics.store(words, back * WORDS + STATE, EMPTY)
    }
  }
}

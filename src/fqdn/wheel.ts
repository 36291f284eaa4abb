const BUCKETS = 4096
const MASK = BUCKETS - 1

/**
 * Timing wheel of one-second ticks over rows of someone's columns. What is due beyond the wheel's reach is put in
 * the farthest bucket and judged again there; so is a row whose expiry was raised meanwhile (the wheel is not
 * told). The two limbo lists hold what is over time and waits for the next look at conntrack.
 */
export class Wheel {
  readonly #head = new Int32Array(BUCKETS + 2).fill(-1)
  readonly #next: Int32Array
  readonly #previous: Int32Array
  /** Bucket + 1 the row is in, 0 none. */
  readonly #bucket: Int32Array
  #tick: number
  #limbo = 0
  limboCount = 0

  constructor(capacity: number, nowSeconds: number) {
    this.#next = new Int32Array(capacity)
    this.#previous = new Int32Array(capacity)
    this.#bucket = new Int32Array(capacity)
    this.#tick = nowSeconds
  }

  #push(row: number, bucket: number): void {
    const head = this.#head[bucket] as number
    this.#next[row] = head
    this.#previous[row] = -1
    if (head >= 0) this.#previous[head] = row
    this.#head[bucket] = row
    this.#bucket[row] = bucket + 1
    if (bucket >= BUCKETS) this.limboCount++
  }

  schedule(row: number, until: number): void {
    const at = Math.min(Math.max(until, this.#tick + 1), this.#tick + MASK)
    this.#push(row, at & MASK)
  }

  remove(row: number): void {
    const bucket = (this.#bucket[row] as number) - 1
    if (bucket < 0) return
    const next = this.#next[row] as number
    const previous = this.#previous[row] as number
    if (previous >= 0) this.#next[previous] = next
    else this.#head[bucket] = next
    if (next >= 0) this.#previous[next] = previous
    this.#bucket[row] = 0
    if (bucket >= BUCKETS) this.limboCount--
  }

  /** Moves at most `max` rows that are over time to limbo; true when the wheel has caught up with the clock. */
  advance(nowSeconds: number, max: number, untilOf: (row: number) => number): boolean {
    let left = max
    while (this.#tick < nowSeconds) {
      const bucket = (this.#tick + 1) & MASK
      for (;;) {
        const row = this.#head[bucket] as number
        if (row < 0) break
        if (left-- <= 0) return false
        this.remove(row)
        const until = untilOf(row)
        if (until <= this.#tick + 1) this.#push(row, BUCKETS + this.#limbo)
        else this.#push(row, Math.min(until, this.#tick + 1 + MASK) & MASK)
      }
      this.#tick++
    }
    return true
  }

  /** What is in limbo now is for this pass; what comes from now on waits for the next one. */
  turnLimbo(): void {
    this.#limbo ^= 1
  }

  /** The next row of the pass, -1 when none is left. The caller must remove it or send it on. */
  firstOfPass(): number {
    return this.#head[BUCKETS + (this.#limbo ^ 1)] as number
  }

  /** Waits for another pass. */
  backToLimbo(row: number): void {
    this.remove(row)
    this.#push(row, BUCKETS + this.#limbo)
  }

  get oldestOfNextPass(): number {
    return this.#head[BUCKETS + this.#limbo] as number
  }
}

const NONE = -1

/** Doubly-linked lists of small integers in typed arrays: each of `capacity` items is on at most one of `lists`. */
export class LinkedLists {
  readonly #next: Int32Array
  readonly #previous: Int32Array
  readonly #head: Int32Array
  readonly #tail: Int32Array

  constructor(capacity: number, lists: number) {
    this.#next = new Int32Array(capacity).fill(NONE)
    this.#previous = new Int32Array(capacity).fill(NONE)
    this.#head = new Int32Array(lists).fill(NONE)
    this.#tail = new Int32Array(lists).fill(NONE)
  }

  /** Oldest item, -1 when the list is empty. */
  head(list: number): number {
    return this.#head[list]!
  }

  next(item: number): number {
    return this.#next[item]!
  }

  push(list: number, item: number): void {
    const tail = this.#tail[list]!
    this.#previous[item] = tail
    this.#next[item] = NONE
    if (tail === NONE) this.#head[list] = item
    else this.#next[tail] = item
    this.#tail[list] = item
  }

  remove(list: number, item: number): void {
    const next = this.#next[item]!
    const previous = this.#previous[item]!
    if (previous === NONE) this.#head[list] = next
    else this.#next[previous] = next
    if (next === NONE) this.#tail[list] = previous
    else this.#previous[next] = previous
    this.#next[item] = NONE
    this.#previous[item] = NONE
  }
}

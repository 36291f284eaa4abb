const CHUNK = 64

/** Walks a table. No generator: tables of thousands are walked many times a second, and a generator takes twice as long. */
class Rows<T> implements IterableIterator<T> {
  readonly #chunks: readonly (readonly (T | undefined)[])[]
  #chunk: readonly (T | undefined)[]
  #next = 1
  #at = 0

  constructor(chunks: readonly (readonly (T | undefined)[])[]) {
    this.#chunks = chunks
    this.#chunk = chunks[0] ?? []
  }

  [Symbol.iterator](): this {
    return this
  }

  next(): IteratorResult<T, undefined> {
    for (;;) {
      while (this.#at < this.#chunk.length) {
        const value = this.#chunk[this.#at++]
        if (value !== undefined) return { done: false, value }
      }
      const chunk = this.#chunks[this.#next++]
      if (chunk === undefined) return { done: true, value: undefined }
      this.#chunk = chunk
      this.#at = 0
    }
  }
}

/**
 * An immutable table by UID. A change copies one chunk and the list of chunks, so one of 5,000 peers changes in well under a
 * microsecond's worth of copying, and old tables stay as they were.
 */
export class PeerTable<T extends { readonly uid: string }> implements Iterable<T> {
  /**
   * Shared with the tables before and after: a place that was given once stays the UID's, and a table whose row there is not set
   * does not have it. So thousands of rows that come one by one do not copy the map each time.
   */
  readonly #places: Map<string, number>
  readonly #chunks: readonly (readonly (T | undefined)[])[]
  readonly #free: readonly number[]
  readonly size: number

  constructor(
    places = new Map<string, number>(),
    chunks: readonly (readonly (T | undefined)[])[] = [],
    free: readonly number[] = [],
    size = places.size,
  ) {
    this.#places = places
    this.#chunks = chunks
    this.#free = free
    this.size = size
  }

  static of<T extends { readonly uid: string }>(rows: readonly T[]): PeerTable<T> {
    const places = new Map(rows.map((row, i) => [row.uid, i]))
    if (places.size !== rows.length) throw new RangeError('two rows with one UID')
    const chunks: T[][] = []
    for (let i = 0; i < rows.length; i += CHUNK) chunks.push(rows.slice(i, i + CHUNK))
    return new PeerTable(places, chunks)
  }

  get(uid: string): T | undefined {
    const place = this.#places.get(uid)
    return place === undefined ? undefined : this.#chunks[Math.floor(place / CHUNK)]?.[place % CHUNK]
  }

  with(row: T): PeerTable<T> {
    const known = this.#places.get(row.uid)
    if (known !== undefined) {
      const size = this.get(row.uid) === undefined ? this.size + 1 : this.size
      return new PeerTable(this.#places, this.#put(known, row), this.#free, size)
    }
    const free = this.#free.at(-1)
    if (free === undefined) {
      const place = this.#places.size
      this.#places.set(row.uid, place)
      return new PeerTable(this.#places, this.#put(place, row), this.#free, this.size + 1)
    }
    // Other tables may have given the free place to another: theirs is another map.
    const places = new Map(this.#places).set(row.uid, free)
    return new PeerTable(places, this.#put(free, row), this.#free.slice(0, -1), this.size + 1)
  }

  without(uid: string): PeerTable<T> {
    const place = this.#places.get(uid)
    if (place === undefined || this.get(uid) === undefined) return this
    const places = new Map(this.#places)
    places.delete(uid)
    return new PeerTable(places, this.#put(place, undefined), [...this.#free, place], this.size - 1)
  }

  /** Rows for which `change` gives the same object are not copied. It must not change the UID. */
  map(change: (row: T) => T): PeerTable<T> {
    let changed = false
    const chunks = this.#chunks.map((chunk) => {
      let copy: (T | undefined)[] | undefined
      for (let i = 0; i < chunk.length; i++) {
        const row = chunk[i]
        if (row === undefined) continue
        const next = change(row)
        if (next === row) continue
        copy ??= [...chunk]
        copy[i] = next
      }
      changed ||= copy !== undefined
      return copy ?? chunk
    })
    return changed ? new PeerTable(this.#places, chunks, this.#free, this.size) : this
  }

  [Symbol.iterator](): Rows<T> {
    return new Rows(this.#chunks)
  }

  #put(place: number, row: T | undefined): (readonly (T | undefined)[])[] {
    const at = Math.floor(place / CHUNK)
    const chunk = [...(this.#chunks[at] ?? [])]
    while (chunk.length < place % CHUNK) chunk.push(undefined)
    chunk[place % CHUNK] = row
    const chunks = [...this.#chunks]
    chunks[at] = chunk
    return chunks
  }
}

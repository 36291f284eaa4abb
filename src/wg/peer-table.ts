const CHUNK = 64

/**
 * An immutable table by UID. A change copies one chunk and the list of chunks, so one of 5,000 peers changes in well under a
 * microsecond's worth of copying, and old tables stay as they were.
 */
export class PeerTable<T extends { readonly uid: string }> implements Iterable<T> {
  readonly #places: ReadonlyMap<string, number>
  readonly #chunks: readonly (readonly (T | undefined)[])[]
  readonly #free: readonly number[]

  constructor(
    places: ReadonlyMap<string, number> = new Map(),
    chunks: readonly (readonly (T | undefined)[])[] = [],
    free: readonly number[] = [],
  ) {
    this.#places = places
    this.#chunks = chunks
    this.#free = free
  }

  static of<T extends { readonly uid: string }>(rows: readonly T[]): PeerTable<T> {
    const places = new Map(rows.map((row, i) => [row.uid, i]))
    if (places.size !== rows.length) throw new RangeError('two rows with one UID')
    const chunks: T[][] = []
    for (let i = 0; i < rows.length; i += CHUNK) chunks.push(rows.slice(i, i + CHUNK))
    return new PeerTable(places, chunks)
  }

  get size(): number {
    return this.#places.size
  }

  get(uid: string): T | undefined {
    const place = this.#places.get(uid)
    return place === undefined ? undefined : this.#chunks[Math.floor(place / CHUNK)]?.[place % CHUNK]
  }

  with(row: T): PeerTable<T> {
    const known = this.#places.get(row.uid)
    if (known !== undefined) return new PeerTable(this.#places, this.#put(known, row), this.#free)
    const free = this.#free.at(-1)
    const place = free ?? this.#places.size
    const places = new Map(this.#places).set(row.uid, place)
    return new PeerTable(places, this.#put(place, row), free === undefined ? this.#free : this.#free.slice(0, -1))
  }

  without(uid: string): PeerTable<T> {
    const place = this.#places.get(uid)
    if (place === undefined) return this
    const places = new Map(this.#places)
    places.delete(uid)
    return new PeerTable(places, this.#put(place, undefined), [...this.#free, place])
  }

  /** Rows for which `change` gives the same object are not copied. It must not change the UID. */
  map(change: (row: T) => T): PeerTable<T> {
    let changed = false
    const chunks = this.#chunks.map((chunk) => {
      let copy: (T | undefined)[] | undefined
      chunk.forEach((row, i) => {
        if (row === undefined) return
        const next = change(row)
        if (next === row) return
        copy ??= [...chunk]
        copy[i] = next
      })
      changed ||= copy !== undefined
      return copy ?? chunk
    })
    return changed ? new PeerTable(this.#places, chunks, this.#free) : this
  }

  *[Symbol.iterator](): Iterator<T> {
    for (const chunk of this.#chunks) for (const row of chunk) if (row !== undefined) yield row
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

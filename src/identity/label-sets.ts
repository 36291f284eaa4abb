/** The labels of an identity: sorted, each once. `id` is valid while somebody retains it; 0 is the empty set. */
export interface LabelSet {
  readonly id: number
  readonly labels: readonly string[]
  readonly key: string
  references: number
}

const EMPTY: LabelSet = { id: 0, labels: [], key: '', references: 1 }

/** Sets of labels, each kept once and counted by its users. */
export class LabelSets {
  readonly #sets: (LabelSet | undefined)[] = [EMPTY]
  readonly #byKey = new Map<string, LabelSet>()
  readonly #free: number[] = []

  get count(): number {
    return this.#byKey.size
  }

  labels(id: number): readonly string[] {
    return this.#sets[id]?.labels ?? EMPTY.labels
  }

  /** The set of these labels (sorted here), retained once for the caller. */
  of(labels: Iterable<string>): number {
    return this.#intern([...new Set(labels)].sort())
  }

  #intern(sorted: readonly string[]): number {
    if (sorted.length === 0) return 0
    const key = sorted.join('\n')
    const known = this.#byKey.get(key)
    if (known !== undefined) {
      known.references++
      return known.id
    }
    const id = this.#free.pop() ?? this.#sets.length
    const set: LabelSet = { id, labels: sorted, key, references: 1 }
    this.#sets[id] = set
    this.#byKey.set(key, set)
    return id
  }

  retain(id: number): void {
    const set = this.#sets[id]
    if (set !== undefined && id !== 0) set.references++
  }

  release(id: number): void {
    if (id === 0) return
    const set = this.#sets[id]
    if (set === undefined || --set.references > 0) return
    this.#sets[id] = undefined
    this.#byKey.delete(set.key)
    this.#free.push(id)
  }

  /** The union, retained once for the caller. */
  union(a: number, b: number): number {
    if (a === b || b === 0) {
      this.retain(a)
      return a
    }
    if (a === 0) {
      this.retain(b)
      return b
    }
    const left = this.labels(a)
    const right = this.labels(b)
    const merged: string[] = []
    let i = 0
    let j = 0
    while (i < left.length || j < right.length) {
      const x = left[i]
      const y = right[j]
      if (y === undefined || (x !== undefined && x <= y)) {
        merged.push(x as string)
        if (x === y) j++
        i++
      } else {
        merged.push(y)
        j++
      }
    }
    if (merged.length === left.length) {
      this.retain(a)
      return a
    }
    if (merged.length === right.length) {
      this.retain(b)
      return b
    }
    return this.#intern(merged)
  }
}

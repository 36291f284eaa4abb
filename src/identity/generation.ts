import type { IdentityRecord, IdentityTable } from './identity-table.ts'
import type { LabelSets } from './label-sets.ts'
import type { IdentityLabels, KernelRow, SelectorView } from './ports.ts'
import { cidrLabel, PrefixIndex } from './prefix-index.ts'

/** One generation of policy, with the indexes this room needs. Prepared in slices, before it is used. */
export class Generation {
  readonly view: SelectorView
  readonly prefixes: PrefixIndex
  /** shapeKey -> index. */
  readonly shapes = new Map<string, number>()
  readonly #sets: LabelSets
  readonly #selectors = new Map<string, number>()
  readonly #prefixes = new Map<string, number>()
  readonly #endpointLabels: ReadonlySet<string>
  readonly #matched: Uint32Array
  readonly #candidates: Uint32Array
  /** Selector indexes to label set; the sets are retained here. */
  readonly #single: Int32Array
  readonly #several = new Map<string, number>()
  readonly #held: IdentityRecord[] = []

  constructor(view: SelectorView, sets: LabelSets) {
    this.view = view
    this.#sets = sets
    this.prefixes = new PrefixIndex(view.prefixes, sets)
    view.prefixes.forEach((prefix, i) => this.#prefixes.set(cidrLabel(prefix), i))
    this.#endpointLabels = new Set(view.endpoints.map((endpoint) => endpoint.labelsKey))
    this.#matched = new Uint32Array(view.selectorCount)
    this.#candidates = new Uint32Array(view.shapeCount)
    this.#single = new Int32Array(view.selectorCount)
  }

  /**
   * Indexes labels and shapes, and allocates one identity for each selector and family, so that the first address
   * of most names needs no new rows. Yields between slices; returns how many identities there was no number for.
   */
  *prepare(identities: IdentityTable): Generator<void, number> {
    let exhausted = 0
    for (let i = 0; i < this.view.shapeCount; i++) {
      this.shapes.set(this.view.shapeKey(i), i)
      if (i % 256 === 255) yield
    }
    for (let i = 0; i < this.view.selectorCount; i++) {
      const label = this.view.selectorLabel(i)
      this.#selectors.set(label, i)
      this.#single[i] = this.#sets.of([label])
      if (i % 64 === 63) yield
    }
    for (let i = 0; i < this.view.selectorCount; i++) {
      for (const family of [4, 6] as const) {
        const identity = identities.acquireLocal(this.#single[i] as number, family)
        if (identity === undefined) exhausted++
        else this.#held.push(identity)
      }
      if (i % 16 === 15) yield
    }
    return exhausted
  }

  /** True when both generations give every name the same labels. */
  sameSelectors(other: Generation): boolean {
    if (this.#selectors.size !== other.#selectors.size) return false
    for (const label of this.#selectors.keys()) if (!other.#selectors.has(label)) return false
    return true
  }

  samePrefixes(other: Generation): boolean {
    if (this.#prefixes.size !== other.#prefixes.size) return false
    for (const label of this.#prefixes.keys()) if (!other.#prefixes.has(label)) return false
    return true
  }

  /** Label set of a name, retained for the caller. */
  readonly match = (name: Uint8Array, offset: number): number => {
    const n = this.view.matchSelectors(name, offset, this.#matched)
    if (n === 0) return 0
    let set: number
    if (n === 1) set = this.#single[this.#matched[0] as number] as number
    else {
      const key = this.#matched.subarray(0, n).join()
      const known = this.#several.get(key)
      set = known ?? this.#union(n)
      if (known === undefined) this.#several.set(key, set)
    }
    this.#sets.retain(set)
    return set
  }

  #union(n: number): number {
    const labels: string[] = []
    for (let i = 0; i < n; i++) labels.push(this.view.selectorLabel(this.#matched[i] as number))
    return this.#sets.of(labels)
  }

  /** Also with no label this generation knows: rules for all addresses of a family select every outside identity. */
  #labelsOf(identity: IdentityRecord): IdentityLabels | undefined {
    if (identity.endpoint !== null) {
      if (!this.#endpointLabels.has(identity.endpoint)) return undefined
      return { selectors: [], prefixes: [], endpoint: identity.endpoint, family: 4 }
    }
    const selectors: number[] = []
    const prefixes: number[] = []
    for (const label of this.#sets.labels(identity.set)) {
      const selector = this.#selectors.get(label)
      if (selector !== undefined) selectors.push(selector)
      const prefix = this.#prefixes.get(label)
      if (prefix !== undefined) prefixes.push(prefix)
    }
    selectors.sort((a, b) => a - b)
    prefixes.sort((a, b) => a - b)
    return { selectors, prefixes, endpoint: null, family: identity.family }
  }

  /** Calls back every shape with rows for this identity (labels this generation does not know give none). */
  rows(identity: IdentityRecord, take: (shapeKey: string, rows: readonly KernelRow[]) => void): void {
    const labels = this.#labelsOf(identity)
    if (labels === undefined) return
    const view = this.view
    const n = view.shapesFor?.(labels, this.#candidates) ?? -1
    const count = n >= 0 ? n : view.shapeCount
    for (let i = 0; i < count; i++) {
      const shape = n >= 0 ? (this.#candidates[i] as number) : i
      const rows = view.rowsFor(shape, labels)
      if (rows.length > 0) {
        const label = identity.number
        take(
          view.shapeKey(shape),
          rows.map((row) => ({ ...row, label })),
        )
      }
    }
  }

  staticRows(shapeKey: string): readonly KernelRow[] {
    const shape = this.shapes.get(shapeKey)
    return shape === undefined ? [] : this.view.staticRows(shape)
  }

  /** Gives back what the generation holds; yields between slices. */
  *dispose(identities: IdentityTable, nowMs: () => number): Generator<void> {
    this.prefixes.dispose()
    for (const set of this.#several.values()) this.#sets.release(set)
    this.#several.clear()
    for (let i = 0; i < this.#held.length; i++) {
      identities.release(this.#held[i] as IdentityRecord, nowMs())
      if (i % 128 === 127) yield
    }
    this.#held.length = 0
    for (let i = 0; i < this.#single.length; i++) {
      this.#sets.release(this.#single[i] as number)
      if (i % 256 === 255) yield
    }
  }
}

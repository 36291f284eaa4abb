import { sortAscending } from './trie.ts'
import type { IdentityLabels, ShapeRows } from './shape-rows.ts'

/** Which shapes an identity can touch, without asking each. */
export class ShapeIndex {
  readonly #byFqdn = new Map<number, number[]>()
  readonly #byPrefix = new Map<number, number[]>()
  readonly #byFamily: Record<4 | 6, number[]> = { 4: [], 6: [] }
  readonly #withSelectors: number[] = []
  /** Query in which a shape was last put out. */
  readonly #seen: Uint32Array
  #query = 0

  constructor(shapes: readonly ShapeRows[]) {
    this.#seen = new Uint32Array(shapes.length)
    shapes.forEach((shape, i) => {
      for (const fqdn of shape.fqdns) append(this.#byFqdn, fqdn, i)
      for (const prefix of shape.peerPrefixes) append(this.#byPrefix, prefix, i)
      for (const family of [4, 6] as const) if (shape.selectsFamily(family)) this.#byFamily[family].push(i)
      if (shape.selectsEndpoints) this.#withSelectors.push(i)
    })
  }

  shapesFor(labels: IdentityLabels, out: Uint32Array): number {
    this.#query++
    let found = 0
    const take = (shapes: readonly number[] | undefined): void => {
      for (const shape of shapes ?? []) {
        if (this.#seen[shape] === this.#query) continue
        this.#seen[shape] = this.#query
        out[found++] = shape
      }
    }
    if (labels.endpoint === null) {
      for (const selector of labels.selectors) take(this.#byFqdn.get(selector))
      for (const prefix of labels.prefixes) take(this.#byPrefix.get(prefix))
      take(this.#byFamily[labels.family])
    } else {
      take(this.#withSelectors)
    }
    sortAscending(out, found)
    return found
  }
}

function append(map: Map<number, number[]>, key: number, value: number): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [value])
  else list.push(value)
}

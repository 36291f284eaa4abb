import { FAMILY_4, FAMILY_6, SELECTS_ENDPOINTS } from './layout.ts'
import type { Selection } from './selection.ts'
import type { IdentityLabels } from './shape-rows.ts'
import { sortAscending } from './trie.ts'

/** Which shapes an identity can touch, without asking each. */
export class ShapeFinder {
  readonly #selection: Selection
  /** Query in which a shape was last put out. */
  readonly #seen: Uint32Array
  #query = 0

  constructor(selection: Selection, shapes: number) {
    this.#selection = selection
    this.#seen = new Uint32Array(shapes)
  }

  /** Ascending, each once, into `out`; returns how many. */
  find(labels: IdentityLabels, out: Uint32Array): number {
    const query = ++this.#query >>> 0
    let found = 0
    const take = (shape: number): void => {
      if (this.#seen[shape] === query) return
      this.#seen[shape] = query
      out[found++] = shape
    }
    if (labels.endpoint === null) {
      for (const selector of labels.selectors) this.#selection.shapesByFqdn(selector, take)
      for (const prefix of labels.prefixes) this.#selection.shapesByPrefix(prefix, take)
      this.#selection.shapesWith(labels.family === 4 ? FAMILY_4 : FAMILY_6, take)
    } else {
      this.#selection.shapesWith(SELECTS_ENDPOINTS, take)
    }
    sortAscending(out, found)
    return found
  }
}

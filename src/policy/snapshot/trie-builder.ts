import { unmatchable } from '../patterns/pattern.ts'
import type { DomainPattern } from '../patterns/pattern.ts'
import { buildGlobs } from './glob-builder.ts'
import type { GlobEdge } from './glob-builder.ts'
import { fnv, mix2, tableSlots } from './hash.ts'
import { EDGE_WORDS, FLAG_DEEP, FLAG_EDGES, FLAG_TERMINAL, NODE_DEEP_VALUE, NODE_FLAGS, NODE_GLOBS } from './layout.ts'
import { NODE_STAR, NODE_VALUE, NODE_WORDS, SET_WORDS } from './layout.ts'
import { OctetList, WordList } from './word-list.ts'

interface Label {
  readonly id: number
  readonly offset: number
  readonly hash: number
}

/** Ids of interned labels stay below this, so that parent and label fit one exact number. */
const LABEL_SPACE = 2 ** 24

/**
 * Builds pattern sets: tries over labels from the root, all in one node table. Label texts are interned, so a
 * label that many patterns share is stored once.
 */
export class TrieBuilder {
  readonly #nodes = new WordList()
  readonly #octets = new OctetList()
  readonly #sets = new WordList()
  readonly #labels = new Map<string, Label>()
  readonly #children = new Map<number, number>()
  readonly #edges = new WordList()
  readonly #globs = new Map<number, GlobEdge[]>()

  /** A new empty set; returns its index. */
  newSet(): number {
    return this.#sets.push(this.#newNode(), 0, 0) / SET_WORDS
  }

  /** Adds a pattern of form `labels` or `plain`; `value` comes back from a match. Patterns that nothing can match are left out. */
  insert(set: number, pattern: DomainPattern, value: number): void {
    const at = set * SET_WORDS
    if (pattern.form === 'plain') {
      this.#sets.set(at + 2, value + 1)
      return
    }
    if (pattern.form !== 'labels' || unmatchable(pattern) !== undefined) return
    if (!pattern.deep && pattern.labels.length === 1 && pattern.labels[0] === '') {
      this.#sets.set(at + 1, value + 1)
      return
    }
    let node = this.#sets.get(at)
    for (let i = pattern.labels.length - 1; i >= 0; i--) node = this.#child(node, pattern.labels[i] ?? '')
    const word = node * NODE_WORDS
    this.#flag(node, pattern.deep ? FLAG_DEEP : FLAG_TERMINAL)
    this.#nodes.set(word + (pattern.deep ? NODE_DEEP_VALUE : NODE_VALUE), value)
  }

  #newNode(): number {
    return this.#nodes.grow(NODE_WORDS) / NODE_WORDS
  }

  #flag(node: number, flag: number): void {
    const at = node * NODE_WORDS + NODE_FLAGS
    this.#nodes.set(at, this.#nodes.get(at) | flag)
  }

  #child(parent: number, text: string): number {
    if (text === '*') {
      const at = parent * NODE_WORDS + NODE_STAR
      if (this.#nodes.get(at) === 0) this.#nodes.set(at, this.#newNode())
      return this.#nodes.get(at)
    }
    const label = this.#intern(text)
    const key = parent * LABEL_SPACE + label.id
    const known = this.#children.get(key)
    if (known !== undefined) return known
    const child = this.#newNode()
    this.#children.set(key, child)
    if (text.includes('*')) {
      const list = this.#globs.get(parent)
      if (list === undefined) this.#globs.set(parent, [{ text, child }])
      else list.push({ text, child })
    } else {
      this.#edges.push(parent + 1, label.hash, child, label.offset)
      this.#flag(parent, FLAG_EDGES)
    }
    return child
  }

  #intern(text: string): Label {
    const known = this.#labels.get(text)
    if (known !== undefined) return known
    const bytes = Buffer.from(text, 'latin1')
    const offset = this.#octets.length
    this.#octets.push(bytes.length)
    this.#octets.append(bytes)
    const label = { id: this.#labels.size, offset, hash: fnv(bytes, 0, bytes.length) }
    this.#labels.set(text, label)
    return label
  }

  /** The finished sections. */
  sections(): Record<
    'nodes' | 'edges' | 'labels' | 'globs' | 'globIndex' | 'globNodes' | 'sets',
    Uint32Array | Uint8Array
  > {
    const { globs, globIndex, globNodes, numbers } = buildGlobs(this.#globs, this.#octets)
    for (const [node, number] of numbers) this.#nodes.set(node * NODE_WORDS + NODE_GLOBS, number + 1)
    return {
      nodes: this.#nodes.view(),
      edges: this.#edgeTable(),
      labels: this.#octets.view(),
      globs,
      globIndex,
      globNodes,
      sets: this.#sets.view(),
    }
  }

  #edgeTable(): Uint32Array {
    const count = this.#edges.length / EDGE_WORDS
    const slots = tableSlots(count)
    const table = new Uint32Array(slots * EDGE_WORDS)
    const edges = this.#edges.view()
    for (let i = 0; i < edges.length; i += EDGE_WORDS) {
      let slot = mix2(edges[i + 1] ?? 0, (edges[i] ?? 0) - 1) & (slots - 1)
      while (table[slot * EDGE_WORDS] !== 0) slot = (slot + 1) & (slots - 1)
      table.set(edges.subarray(i, i + EDGE_WORDS), slot * EDGE_WORDS)
    }
    return table
  }
}

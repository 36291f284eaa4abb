import { PLAIN_OCTETS } from '../patterns/pattern.ts'
import { FNV_BASIS, FNV_PRIME, mix2, mix3 } from './hash.ts'
import * as L from './layout.ts'
import type { Sections } from './layout.ts'

/** RFC 1035: at most 127 labels of one octet fit in 255 octets. */
const MAX_LABELS = 128

/**
 * The compiled matcher. A name is prepared once (label positions, hashes, which labels are made of C), then any
 * number of sets may be asked. Nothing is allocated; one instance must not be shared by threads.
 */
export class Trie {
  readonly #nodes: Uint32Array
  readonly #edges: Uint32Array
  readonly #edgeMask: number
  readonly #labels: Uint8Array
  readonly #globs: Uint32Array
  readonly #globIndex: Uint32Array
  readonly #globMask: number
  readonly #globNodes: Uint32Array
  readonly #sets: Uint32Array

  #name: Uint8Array = new Uint8Array(0)
  #count = 0
  /** How many labels from the left are made of C: a run from label 0 on. */
  #plainRun = 0
  readonly #starts = new Uint32Array(MAX_LABELS)
  readonly #lengths = new Uint32Array(MAX_LABELS)
  readonly #hashes = new Int32Array(MAX_LABELS)
  readonly #plain = new Uint8Array(MAX_LABELS)
  /** Hashes of every prefix (64 words a label) and suffix of a label; valid where the stamp is the query's. */
  readonly #ends = new Int32Array(MAX_LABELS * 128)
  readonly #stamps = new Int32Array(MAX_LABELS)
  #stamp = 0
  #out: Uint32Array = new Uint32Array(0)
  #found = 0

  constructor(sections: Sections) {
    this.#nodes = sections.words('nodes', L.NODE_WORDS)
    this.#edges = sections.table('edges', L.EDGE_WORDS, 0)
    this.#edgeMask = this.#edges.length / L.EDGE_WORDS - 1
    this.#labels = sections.octets('labels')
    this.#globs = sections.words('globs', L.GLOB_WORDS)
    this.#globIndex = sections.table('globIndex', L.GLOB_INDEX_WORDS, 0)
    this.#globMask = this.#globIndex.length / L.GLOB_INDEX_WORDS - 1
    this.#globNodes = sections.words('globNodes', L.GLOB_NODE_WORDS)
    this.#sets = sections.words('sets', L.SET_WORDS)
    const nodes = this.#nodes.length / L.NODE_WORDS
    for (let at = 0; at < this.#sets.length; at += L.SET_WORDS) {
      if ((this.#sets[at] ?? 0) >= nodes) throw L.damaged('a set has no root node')
    }
  }

  get setCount(): number {
    return this.#sets.length / L.SET_WORDS
  }

  /** Takes a lower-case, well-formed wire name; false when it is not well formed. The bytes must stay until the questions are asked. */
  prepare(name: Uint8Array, offset: number): boolean {
    let at = offset
    let count = 0
    let run = 0
    let running = true
    for (;;) {
      const length = name[at]
      if (length === undefined || length > 63) return false
      if (length === 0) break
      const end = at + 1 + length
      if (end >= name.length || end - offset > 254 || count >= MAX_LABELS) return false
      let hash = FNV_BASIS
      let plain = 1
      for (let i = at + 1; i < end; i++) {
        const byte = name[i]!
        hash = Math.imul(hash ^ byte, FNV_PRIME)
        plain &= PLAIN_OCTETS[byte]!
      }
      this.#starts[count] = at + 1
      this.#lengths[count] = length
      this.#hashes[count] = hash
      this.#plain[count] = plain
      if (running && plain === 1) run++
      else running = false
      count++
      at = end
    }
    this.#name = name
    this.#count = count
    this.#plainRun = run
    this.#stamp = (this.#stamp + 1) & 0x3fffffff
    // Stamps of a billion queries ago must not look like this query's.
    if (this.#stamp === 0) this.#stamps.fill(-1)
    return true
  }

  /** True when a pattern of the set stands for the prepared name. */
  matches(set: number): boolean {
    const at = set * L.SET_WORDS
    const root = this.#sets[at]!
    if (this.#sets[at + 2]! !== 0 && this.#plainRun === this.#count) return true
    if (this.#count === 0) {
      if (this.#sets[at + 1]! !== 0) return true
      // A lone `*` that is one label may be empty, and the root's text is one empty label.
      const star = this.#nodes[root * L.NODE_WORDS + L.NODE_STAR]!
      return star !== 0 && (this.#nodes[star * L.NODE_WORDS]! & L.FLAG_TERMINAL) !== 0
    }
    return this.#any(root, this.#count)
  }

  /** Values of every pattern of the set that stands for the prepared name, ascending, into `out`; returns how many. */
  collect(set: number, out: Uint32Array): number {
    const at = set * L.SET_WORDS
    const root = this.#sets[at]!
    this.#out = out
    this.#found = 0
    if (this.#plainRun === this.#count && this.#sets[at + 2]! !== 0) this.#take(this.#sets[at + 2]! - 1)
    if (this.#count === 0) {
      if (this.#sets[at + 1]! !== 0) this.#take(this.#sets[at + 1]! - 1)
      const star = this.#nodes[root * L.NODE_WORDS + L.NODE_STAR]! * L.NODE_WORDS
      if (star !== 0 && (this.#nodes[star]! & L.FLAG_TERMINAL) !== 0) this.#take(this.#nodes[star + L.NODE_VALUE]!)
    } else {
      this.#all(root, this.#count)
    }
    sortAscending(out, this.#found)
    return this.#found
  }

  #take(value: number): void {
    this.#out[this.#found++] = value
  }

  /** `left` labels remain; the next one is label `left - 1`. */
  #any(node: number, left: number): boolean {
    const at = node * L.NODE_WORDS
    const flags = this.#nodes[at]!
    if (left === 0) return (flags & L.FLAG_TERMINAL) !== 0
    if ((flags & L.FLAG_DEEP) !== 0 && left <= this.#plainRun) return true
    const label = left - 1
    if ((flags & L.FLAG_EDGES) !== 0) {
      const child = this.#edge(node, label)
      if (child !== 0 && this.#any(child, label)) return true
    }
    if (this.#plain[label]! === 0) return false
    const star = this.#nodes[at + L.NODE_STAR]!
    if (star !== 0 && this.#any(star, label)) return true
    const globNode = this.#nodes[at + L.NODE_GLOBS]!
    return globNode !== 0 && this.#anyGlob(globNode - 1, label)
  }

  #all(node: number, left: number): void {
    const at = node * L.NODE_WORDS
    const flags = this.#nodes[at]!
    if (left === 0) {
      if ((flags & L.FLAG_TERMINAL) !== 0) this.#take(this.#nodes[at + L.NODE_VALUE]!)
      return
    }
    if ((flags & L.FLAG_DEEP) !== 0 && left <= this.#plainRun) this.#take(this.#nodes[at + L.NODE_DEEP_VALUE]!)
    const label = left - 1
    if ((flags & L.FLAG_EDGES) !== 0) {
      const child = this.#edge(node, label)
      if (child !== 0) this.#all(child, label)
    }
    if (this.#plain[label]! === 0) return
    const star = this.#nodes[at + L.NODE_STAR]!
    if (star !== 0) this.#all(star, label)
    const globNode = this.#nodes[at + L.NODE_GLOBS]!
    if (globNode !== 0) this.#allGlobs(globNode - 1, label)
  }

  /** The child by the literal label, 0 when there is none (node 0 is a root and no child). */
  #edge(node: number, label: number): number {
    const hash = this.#hashes[label]!
    const edges = this.#edges
    for (let slot = mix2(hash, node) & this.#edgeMask; ; slot = (slot + 1) & this.#edgeMask) {
      const at = slot * L.EDGE_WORDS
      const parent = edges[at]!
      if (parent === 0) return 0
      if (parent === node + 1 && (edges[at + 1]! | 0) === hash && this.#sameLabel(edges[at + 3]!, label))
        return edges[at + 2]!
    }
  }

  #sameLabel(offset: number, label: number): boolean {
    const length = this.#lengths[label]!
    if (this.#labels[offset]! !== length) return false
    return this.#same(offset + 1, this.#starts[label]!, length)
  }

  #same(offset: number, nameAt: number, length: number): boolean {
    for (let i = 0; i < length; i++) if (this.#labels[offset + i] !== this.#name[nameAt + i]) return false
    return true
  }

  #anyGlob(globNode: number, label: number): boolean {
    for (let glob = this.#globNodes[globNode * L.GLOB_NODE_WORDS + 4]!; glob !== 0; glob = this.#nextGlob(glob)) {
      if (this.#globFits(glob, label) && this.#any(this.#globs[(glob - 1) * L.GLOB_WORDS]!, label)) return true
    }
    for (let side = 0; side < 2; side++) {
      for (let length = 1; length <= this.#lengths[label]!; length++) {
        if (!this.#hasLength(globNode, side, length)) continue
        for (let glob = this.#bucket(globNode, side, length, label); glob !== 0; glob = this.#nextGlob(glob)) {
          if (this.#globFits(glob, label) && this.#any(this.#globs[(glob - 1) * L.GLOB_WORDS]!, label)) return true
        }
      }
    }
    return false
  }

  #allGlobs(globNode: number, label: number): void {
    for (let glob = this.#globNodes[globNode * L.GLOB_NODE_WORDS + 4]!; glob !== 0; glob = this.#nextGlob(glob)) {
      if (this.#globFits(glob, label)) this.#all(this.#globs[(glob - 1) * L.GLOB_WORDS]!, label)
    }
    for (let side = 0; side < 2; side++) {
      for (let length = 1; length <= this.#lengths[label]!; length++) {
        if (!this.#hasLength(globNode, side, length)) continue
        for (let glob = this.#bucket(globNode, side, length, label); glob !== 0; glob = this.#nextGlob(glob)) {
          if (this.#globFits(glob, label)) this.#all(this.#globs[(glob - 1) * L.GLOB_WORDS]!, label)
        }
      }
    }
  }

  #nextGlob(glob: number): number {
    return this.#globs[(glob - 1) * L.GLOB_WORDS + 2]!
  }

  #hasLength(globNode: number, side: number, length: number): boolean {
    const bit = length - 1
    return ((this.#globNodes[globNode * L.GLOB_NODE_WORDS + side * 2 + (bit >> 5)]! >>> (bit & 31)) & 1) !== 0
  }

  #bucket(globNode: number, side: number, length: number, label: number): number {
    if (this.#stamps[label] !== this.#stamp) this.#hashEnds(label)
    const hash = this.#ends[label * 128 + side * 64 + length]!
    const kind = (side << 8) | length
    const index = this.#globIndex
    for (let slot = mix3(hash, globNode, kind) & this.#globMask; ; slot = (slot + 1) & this.#globMask) {
      const at = slot * L.GLOB_INDEX_WORDS
      const owner = index[at]!
      if (owner === 0) return 0
      if (owner === globNode + 1 && index[at + 1]! === kind && (index[at + 2]! | 0) === hash) return index[at + 3]!
    }
  }

  #hashEnds(label: number): void {
    const start = this.#starts[label]!
    const length = this.#lengths[label]!
    const out = label * 128
    let front = FNV_BASIS
    let back = FNV_BASIS
    for (let i = 0; i < length; i++) {
      front = Math.imul(front ^ this.#name[start + i]!, FNV_PRIME)
      back = Math.imul(back ^ this.#name[start + length - 1 - i]!, FNV_PRIME)
      this.#ends[out + i + 1] = front
      this.#ends[out + 64 + i + 1] = back
    }
    this.#stamps[label] = this.#stamp
  }

  /** The label is made of C already, so the `*` between the literals may stand for anything in it. */
  #globFits(glob: number, label: number): boolean {
    let offset = this.#globs[(glob - 1) * L.GLOB_WORDS + 1]!
    let from = this.#starts[label]!
    let to = from + this.#lengths[label]!
    const first = this.#labels[offset]!
    if (to - from < first || !this.#same(offset + 1, from, first)) return false
    from += first
    offset += first + 1
    const last = this.#labels[offset]!
    if (to - from < last || !this.#same(offset + 1, to - last, last)) return false
    to -= last
    offset += last + 1
    // Leftmost fit of each literal leaves the most room for the rest.
    for (let middle = this.#labels[offset++]!; middle > 0; middle--) {
      const length = this.#labels[offset]!
      while (from + length <= to && !this.#same(offset + 1, from, length)) from++
      if (from + length > to) return false
      from += length
      offset += length + 1
    }
    return true
  }
}

/** Heap sort: in place, without a view and without a bad case. */
export function sortAscending(words: Uint32Array, count: number): void {
  for (let root = (count >> 1) - 1; root >= 0; root--) sift(words, root, count)
  for (let end = count - 1; end > 0; end--) {
    const top = words[0]!
    words[0] = words[end]!
    words[end] = top
    sift(words, 0, end)
  }
}

function sift(words: Uint32Array, root: number, end: number): void {
  const value = words[root]!
  let at = root
  for (;;) {
    let child = 2 * at + 1
    if (child >= end) break
    if (child + 1 < end && words[child + 1]! > words[child]!) child++
    if (words[child]! <= value) break
    words[at] = words[child]!
    at = child
  }
  words[at] = value
}

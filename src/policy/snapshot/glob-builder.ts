import { fnv, fnvBackward, mix3, tableSlots } from './hash.ts'
import { GLOB_INDEX_WORDS, GLOB_NODE_WORDS, GLOB_WORDS, SIDE_PREFIX, SIDE_SUFFIX } from './layout.ts'
import { WordList } from './word-list.ts'
import type { OctetList } from './word-list.ts'

/** A label with a `*` inside it, and the node it leads to. */
export interface GlobEdge {
  readonly text: string
  readonly child: number
}

interface Key {
  readonly side: number
  readonly literal: string
}

interface BuiltGlobs {
  readonly globs: Uint32Array
  readonly globIndex: Uint32Array
  readonly globNodes: Uint32Array
  /** Trie node -> its glob node. */
  readonly numbers: ReadonlyMap<number, number>
}

/**
 * Indexes the globs of every node by the literal in front of the first `*` or behind the last one, whichever
 * fewer globs of the node share, so that a label meets only globs that begin or end as it does. Globs with
 * neither (`*mid*`) are tried one by one.
 */
export function buildGlobs(byNode: ReadonlyMap<number, readonly GlobEdge[]>, octets: OctetList): BuiltGlobs {
  const globs = new WordList()
  const globNodes = new WordList()
  const numbers = new Map<number, number>()
  const buckets: { globNode: number; key: Key; first: number }[] = []
  for (const [node, edges] of byNode) {
    const at = globNodes.grow(GLOB_NODE_WORDS)
    const globNode = at / GLOB_NODE_WORDS
    numbers.set(node, globNode)
    const mine = new Map<string, { globNode: number; key: Key; first: number }>()
    for (const { edge, key } of chooseKeys(edges)) {
      const parts = edge.text.split('*')
      const glob = globs.push(edge.child, writeParts(parts, octets), 0) / GLOB_WORDS
      if (key === undefined) {
        globs.set(glob * GLOB_WORDS + 2, globNodes.get(at + 4))
        globNodes.set(at + 4, glob + 1)
        continue
      }
      const name = `${key.side}${key.literal}`
      let bucket = mine.get(name)
      if (bucket === undefined) {
        bucket = { globNode, key, first: 0 }
        mine.set(name, bucket)
        buckets.push(bucket)
        const bit = key.literal.length - 1
        const word = at + key.side * 2 + (bit >> 5)
        globNodes.set(word, globNodes.get(word) | (1 << (bit & 31)))
      }
      globs.set(glob * GLOB_WORDS + 2, bucket.first)
      bucket.first = glob + 1
    }
  }
  return { globs: globs.view(), globIndex: indexTable(buckets), globNodes: globNodes.view(), numbers }
}

function chooseKeys(edges: readonly GlobEdge[]): { edge: GlobEdge; key: Key | undefined }[] {
  const shared = new Map<string, number>()
  const ends = edges.map((edge) => {
    const prefix = edge.text.slice(0, edge.text.indexOf('*'))
    const suffix = edge.text.slice(edge.text.lastIndexOf('*') + 1)
    for (const name of [`0${prefix}`, `1${suffix}`]) shared.set(name, (shared.get(name) ?? 0) + 1)
    return { edge, prefix, suffix }
  })
  return ends.map(({ edge, prefix, suffix }) => {
    const prefixShared = prefix === '' ? Infinity : (shared.get(`0${prefix}`) ?? 0)
    const suffixShared = suffix === '' ? Infinity : (shared.get(`1${suffix}`) ?? 0)
    if (prefix === '' && suffix === '') return { edge, key: undefined }
    const key =
      prefixShared <= suffixShared ? { side: SIDE_PREFIX, literal: prefix } : { side: SIDE_SUFFIX, literal: suffix }
    return { edge, key }
  })
}

/** Length and octets of the first and the last literal, the number of literals between, then each of those. */
function writeParts(parts: readonly string[], octets: OctetList): number {
  const at = octets.length
  const write = (literal: string): void => {
    octets.push(literal.length)
    octets.append(Buffer.from(literal, 'latin1'))
  }
  write(parts[0] ?? '')
  write(parts.at(-1) ?? '')
  const middle = parts.slice(1, -1)
  octets.push(middle.length)
  middle.forEach(write)
  return at
}

function indexTable(buckets: readonly { globNode: number; key: Key; first: number }[]): Uint32Array {
  const slots = tableSlots(buckets.length)
  const table = new Uint32Array(slots * GLOB_INDEX_WORDS)
  for (const { globNode, key, first } of buckets) {
    const bytes = Buffer.from(key.literal, 'latin1')
    const hash = (key.side === SIDE_PREFIX ? fnv : fnvBackward)(bytes, 0, bytes.length)
    const kind = (key.side << 8) | bytes.length
    let slot = mix3(hash, globNode, kind) & (slots - 1)
    while (table[slot * GLOB_INDEX_WORDS] !== 0) slot = (slot + 1) & (slots - 1)
    table.set([globNode + 1, kind, hash, first], slot * GLOB_INDEX_WORDS)
  }
  return table
}

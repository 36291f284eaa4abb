import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Document, type Node, type Pair } from 'yaml'
import type { ConfigProblem, Origin } from './problem.ts'

/** A value of the file with its place; mappings and sequences are opened one level at a time. */
export type Place = Extract<Origin, { kind: 'file' }>

export type Value =
  | { readonly kind: 'scalar'; readonly value: unknown; readonly at: Place }
  | { readonly kind: 'list'; readonly items: readonly Value[]; readonly at: Place }
  | { readonly kind: 'map'; readonly entries: readonly Entry[]; readonly at: Place }

export interface Entry {
  readonly key: string
  readonly at: Place
  readonly value: Value
}

/** YAML text to values with places. Syntax problems come back with the rest of the document where it could be read. */
export function readDocument(text: string): { root: Value | undefined; problems: ConfigProblem[] } {
  const counter = new LineCounter()
  const document = parseDocument(text, {
    lineCounter: counter,
    strict: true,
    uniqueKeys: true,
    version: '1.2',
    prettyErrors: false,
  })
  const problems = document.errors.map(({ message, pos }): ConfigProblem => ({
    code: 'SEKISHO_CONFIG_SYNTAX',
    path: '',
    origin: place(counter, pos[0]),
    message,
  }))
  if (problems.length > 0) return { root: undefined, problems }
  return { root: document.contents === null ? undefined : open(document.contents, document, counter), problems }
}

function place(counter: LineCounter, offset: number): Place {
  const { line, col } = counter.linePos(offset)
  return { kind: 'file', line: Math.max(line, 1), column: Math.max(col, 1) }
}

function open(node: Node, document: Document, counter: LineCounter): Value {
  const at = place(counter, node.range?.[0] ?? 0)
  if (isAlias(node)) {
    const target = node.resolve(document)
    return target === undefined ? { kind: 'scalar', value: undefined, at } : open(target, document, counter)
  }
  if (isSeq<Node>(node)) return { kind: 'list', items: node.items.map((item) => open(item, document, counter)), at }
  if (isMap<Node, Node | null>(node)) {
    return { kind: 'map', entries: node.items.map((pair) => openPair(pair, at, document, counter)), at }
  }
  return { kind: 'scalar', value: isScalar(node) ? node.value : undefined, at }
}

function openPair(pair: Pair<Node, Node | null>, parent: Place, document: Document, counter: LineCounter): Entry {
  const at = pair.key.range ? place(counter, pair.key.range[0]) : parent
  return {
    key: isScalar(pair.key) ? String(pair.key.value) : pair.key.toString(),
    at,
    value: pair.value === null ? { kind: 'scalar', value: null, at } : open(pair.value, document, counter),
  }
}

import { LineCounter, isAlias, isMap, isScalar, isSeq, parseAllDocuments } from 'yaml'
import type { Document, ParsedNode } from 'yaml'
import type { Problem } from '../problem.ts'

/** A YAML or JSON value and where it stands (`at`: offset in the text). */
export type Tree =
  | { readonly kind: 'map'; readonly entries: readonly Entry[]; readonly at: number }
  | { readonly kind: 'list'; readonly items: readonly Tree[]; readonly at: number }
  | { readonly kind: 'scalar'; readonly value: unknown; readonly at: number }
  | { readonly kind: 'null'; readonly at: number }

export interface Entry {
  readonly key: string
  readonly at: number
  readonly value: Tree
}

export interface Position {
  readonly line: number
  readonly column: number
}

/** Nested deeper than any policy; keeps hostile files from exhausting the stack. */
const MAX_DEPTH = 64
/** Aliases may be nested, so their number can be exponential in the length of the text. */
const MAX_ALIASES = 10_000

export interface ParsedText {
  /** One tree for each document that is not empty. */
  readonly documents: readonly Tree[]
  readonly problems: readonly Problem[]
  readonly position: (at: number) => Position
}

/**
 * Reads every document of a text as kubectl does: YAML 1.1 scalars (an unquoted `no` is a boolean), JSON too,
 * duplicate keys refused. Never throws.
 */
export function parseText(text: string, file: string): ParsedText {
  const lines = new LineCounter()
  const problems: Problem[] = []
  const position = (at: number): Position => {
    const { line, col } = lines.linePos(at)
    return { line: Math.max(1, line), column: Math.max(1, col) }
  }
  const report = (at: number, message: string): void => {
    problems.push({ file, ...position(at), message, severity: 'error' })
  }
  const documents: Tree[] = []
  try {
    for (const document of parsed(text, lines)) {
      for (const fault of document.errors) report(fault.pos[0], firstLine(fault.message))
      if (document.errors.length > 0 || document.contents === null) continue
      const tree = new TreeBuilder(document, report).build(document.contents, 0)
      if (tree !== undefined && tree.kind !== 'null') documents.push(tree)
    }
  } catch (fault) {
    report(0, fault instanceof RangeError ? 'nested too deeply' : `not readable as YAML: ${String(fault)}`)
  }
  return { documents, problems, position }
}

function parsed(text: string, lineCounter: LineCounter): readonly Document.Parsed[] {
  const options = { lineCounter, version: '1.1', merge: false, prettyErrors: false, logLevel: 'silent' } as const
  const documents = parseAllDocuments(text, options)
  return 'empty' in documents ? [] : documents
}

const firstLine = (text: string): string => text.split('\n')[0] ?? text

class TreeBuilder {
  readonly #document: Document.Parsed
  readonly #report: (at: number, message: string) => void
  #aliases = 0

  constructor(document: Document.Parsed, report: (at: number, message: string) => void) {
    this.#document = document
    this.#report = report
  }

  /** Undefined when it has reported a problem. */
  build(node: ParsedNode | null, depth: number, parent = 0): Tree | undefined {
    if (node === null) return { kind: 'null', at: parent }
    const at = node.range[0]
    if (depth > MAX_DEPTH) {
      this.#report(at, 'nested too deeply')
      return undefined
    }
    if (isAlias(node)) {
      const target = node.resolve(this.#document) as ParsedNode | undefined
      if (target === undefined || ++this.#aliases > MAX_ALIASES) {
        this.#report(at, target === undefined ? `no anchor &${node.source}` : 'too many aliases')
        return undefined
      }
      return this.build(target, depth + 1)
    }
    if (isMap(node)) return this.#map(node.items, at, depth)
    if (isSeq(node)) {
      const items: Tree[] = []
      for (const item of node.items) {
        const tree = this.build(item, depth + 1, at)
        if (tree === undefined) return undefined
        items.push(tree)
      }
      return { kind: 'list', items, at }
    }
    if (!isScalar(node)) return { kind: 'null', at }
    return node.value === null ? { kind: 'null', at } : { kind: 'scalar', value: node.value, at }
  }

  #map(pairs: readonly { key: unknown; value: unknown }[], at: number, depth: number): Tree | undefined {
    const entries: Entry[] = []
    for (const { key, value } of pairs) {
      const keyAt = (key as ParsedNode | null)?.range[0] ?? at
      if (!isScalar(key) || typeof key.value !== 'string') {
        this.#report(keyAt, 'a key must be a string')
        return undefined
      }
      const tree = this.build(value as ParsedNode | null, depth + 1, keyAt)
      if (tree === undefined) return undefined
      entries.push({ key: key.value, at: keyAt, value: tree })
    }
    return { kind: 'map', entries, at }
  }
}

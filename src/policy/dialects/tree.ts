import { parseEvents, YAMLException } from 'js-yaml'
import type { Problem } from '../problem.ts'
import { type Entry, MAX_DEPTH, Refusal, type Tree, TreeBuilder } from './tree-builder.ts'

export type { Entry, Tree }

export interface Position {
  readonly line: number
  readonly column: number
}

export interface ParsedText {
  /** One tree for each document that is not empty. */
  readonly documents: readonly Tree[]
  readonly problems: readonly Problem[]
  readonly position: (at: number) => Position
}

/**
 * Reads every document of a text as kubectl does: YAML 1.1 scalars (an unquoted `no` is a boolean), JSON too,
 * duplicate keys refused. Of what is no YAML the first place is told. Never throws.
 */
export function parseText(text: string, file: string): ParsedText {
  const problems: Problem[] = []
  const position = positions(text)
  const report = (at: number, message: string): void => {
    problems.push({ file, ...position(at), message, severity: 'error' })
  }
  const documents: Tree[] = []
  try {
    const builder = new TreeBuilder(text, parseEvents(text, { maxDepth: MAX_DEPTH }))
    for (;;) {
      try {
        const tree = builder.next()
        if (tree === undefined) break
        if (tree.kind !== 'null') documents.push(tree)
      } catch (fault) {
        if (!(fault instanceof Refusal)) throw fault
        report(fault.at, fault.message)
      }
    }
  } catch (fault) {
    if (fault instanceof YAMLException) report(fault.mark?.position ?? 0, fault.reason)
    else report(0, `not readable as YAML: ${String(fault)}`)
  }
  return { documents, problems, position }
}

/** Line and column of offsets, both from 1. The lines are looked for when somebody asks. */
function positions(text: string): (at: number) => Position {
  let starts: number[] | undefined
  return (at) => {
    if (starts === undefined) {
      starts = [0]
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', end + 1)) starts.push(end + 1)
    }
    let low = 0
    let high = starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((starts[middle] ?? 0) <= at) low = middle
      else high = middle - 1
    }
    return { line: low + 1, column: at - (starts[low] ?? 0) + 1 }
  }
}

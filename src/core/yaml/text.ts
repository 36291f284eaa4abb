import { parseEvents, YAMLException } from 'js-yaml'
import type { YamlVersion } from './scalars.ts'
import { MAX_DEPTH, Refusal, type Tree, TreeBuilder } from './tree.ts'

/** Both count from 1. */
export interface Position {
  readonly line: number
  readonly column: number
}

/** Why a document is not read, and where (offset in the text). */
export interface Fault {
  readonly at: number
  readonly message: string
}

export interface YamlText {
  /** One tree for each document that is not empty. */
  readonly documents: readonly Tree[]
  readonly faults: readonly Fault[]
  readonly position: (at: number) => Position
}

/**
 * Reads every document of a text: YAML or JSON, duplicate keys refused. kubectl reads 1.1. Of what is no YAML the first place
 * is told. Never throws.
 */
export function readYaml(text: string, version: YamlVersion): YamlText {
  const faults: Fault[] = []
  const documents: Tree[] = []
  try {
    const builder = new TreeBuilder(text, parseEvents(text, { maxDepth: MAX_DEPTH }), version)
    for (;;) {
      try {
        const tree = builder.next()
        if (tree === undefined) break
        if (tree.kind !== 'null') documents.push(tree)
      } catch (fault) {
        if (!(fault instanceof Refusal)) throw fault
        faults.push({ at: fault.at, message: fault.message })
      }
    }
  } catch (fault) {
    const known = fault instanceof YAMLException
    const message = known ? fault.reason : `not readable as YAML: ${String(fault)}`
    faults.push({ at: known ? (fault.mark?.position ?? 0) : 0, message })
  }
  return { documents, faults, position: positions(text) }
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

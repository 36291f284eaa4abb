import { readFileSync } from 'node:fs'
import { textLabels, wireLabels } from '../../../src/policy/label-walk.ts'
import type { NameLabels } from '../../../src/policy/label-walk.ts'

/** One measured row: what Cilium's own code says, by kind of rule and generation. */
export interface TableRow {
  readonly line: number
  readonly kind: string
  readonly pattern: string
  readonly name: string
  readonly verdicts: { readonly 'cilium-1.18': string; readonly cilium: string }
}

export function readTable(): TableRow[] {
  const text = readFileSync(new URL('../fixtures/patterns.tsv', import.meta.url), 'utf8')
  return text
    .split('\n')
    .map((row, i) => ({ cells: row.split('\t'), line: i + 1 }))
    .filter(({ cells, line }) => line > 1 && cells.length > 1)
    .map(({ cells: [kind = '', pattern = '', name = '', old = '', modern = ''], line }) => ({
      line,
      kind,
      pattern: pattern === '""' ? '' : pattern,
      name,
      verdicts: { 'cilium-1.18': old, cilium: modern },
    }))
}

export function rowLabels(name: string): NameLabels | undefined {
  return name.startsWith('hex:') ? wireLabels(Buffer.from(name.slice(4), 'hex')) : textLabels(name)
}

import { textLabels, walkMatches, wireLabels } from '../policy/label-walk.ts'
import type { NameLabels } from '../policy/label-walk.ts'
import { DIALECT_KINDS, isDialect, parsePattern } from '../policy/patterns.ts'
import type { Dialect } from '../policy/patterns.ts'
import { EXIT, UsageError } from './io.ts'
import type { CliIo } from './io.ts'
import { parseOptions } from './options.ts'
import { printable } from './style.ts'
import { table } from './table.ts'

const options = {
  dialect: { type: 'string', short: 'd', default: 'cilium' },
  kind: { type: 'string', short: 'k' },
} as const

/** `sekisho policy match`: 0 when every name matches, 1 when one does not or the pattern is invalid. */
export async function policyMatch(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseOptions(args, options)
  const { dialect } = values
  if (!isDialect(dialect)) throw new UsageError(`unknown dialect ${dialect}`, `known are ${dialects()}`)
  const [pattern, ...names] = positionals
  if (pattern === '-' && names.length === 0) return matchRows(io)
  if (pattern === undefined || names.length === 0) throw new UsageError('a pattern and a name or more are needed')
  const kind = values.kind ?? DIALECT_KINDS[dialect][0] ?? ''
  if (!DIALECT_KINDS[dialect].includes(kind)) {
    throw new UsageError(`dialect ${dialect} has no kind ${kind}`, `it has ${DIALECT_KINDS[dialect].join(', ')}`)
  }
  return matchNames(io, dialect, kind, pattern, names)
}

const dialects = (): string => Object.keys(DIALECT_KINDS).join(', ')

function matchNames(io: CliIo, dialect: Dialect, kind: string, pattern: string, names: readonly string[]): number {
  const verdicts = names.map((name) => {
    const labels = nameLabels(name)
    if (labels === undefined) throw new UsageError(`"${name}" is no name`)
    return { name, verdict: verdictOf(dialect, kind, patternText(pattern), labels) }
  })
  const rows = verdicts.map(({ name, verdict }) => [
    printable(name),
    { text: printable(verdict), style: verdict === 'match' ? ('green' as const) : ('red' as const) },
  ])
  io.out(table(io, [{ title: 'name' }, { title: 'verdict' }], rows))
  return verdicts.every(({ verdict }) => verdict === 'match') ? EXIT.ok : EXIT.failed
}

/** As the table of measured verdicts writes an empty pattern. */
const patternText = (text: string): string => (text === '""' ? '' : text)

function verdictOf(dialect: Dialect, kind: string, pattern: string, name: NameLabels): string {
  const parsed = parsePattern(dialect, kind, pattern)
  if (!parsed.ok) return `invalid: ${parsed.error}`
  return walkMatches(parsed.value, name) ? 'match' : 'nomatch'
}

/** Presentation form, or `hex:` and the octets of an uncompressed wire name. */
function nameLabels(text: string): NameLabels | undefined {
  if (!text.startsWith('hex:')) return text === '' ? undefined : textLabels(text)
  const hex = text.slice(4)
  if (!/^([0-9a-fA-F]{2})+$/.test(hex)) return undefined
  const bytes = Uint8Array.from(Buffer.from(hex, 'hex'))
  let at = 0
  while (at < bytes.length && (bytes[at] ?? 0) !== 0) {
    if ((bytes[at] ?? 0) > 63) return undefined
    at += (bytes[at] ?? 0) + 1
  }
  return at === bytes.length - 1 ? wireLabels(bytes) : undefined
}

const HEADER = ['dialect', 'kind', 'pattern', 'name']

/** Rows of dialect, kind, pattern, name; the verdict is added. 0 all rows were judged, 2 when one could not be. */
async function matchRows(io: CliIo): Promise<number> {
  let number = 0
  let bad = 0
  for await (const line of io.inputLines()) {
    number++
    if (line === '') continue
    const cells = line.split('\t')
    if (number === 1 && HEADER.every((title, i) => cells[i] === title)) {
      io.out(`${line}\tverdict\n`)
      continue
    }
    const verdict = judge(cells)
    if (verdict.ok) io.out(`${line}\t${verdict.text}\n`)
    else {
      bad++
      io.err(`line ${number}: ${printable(verdict.text)}\n`)
    }
  }
  return bad > 0 ? EXIT.usage : EXIT.ok
}

function judge(cells: readonly string[]): { ok: boolean; text: string } {
  const [dialect, kind, pattern, name] = cells
  if (dialect === undefined || kind === undefined || pattern === undefined || name === undefined || cells.length > 4) {
    return { ok: false, text: `${cells.length} columns, want dialect, kind, pattern and name` }
  }
  if (!isDialect(dialect)) return { ok: false, text: `unknown dialect "${dialect}", known are ${dialects()}` }
  if (!DIALECT_KINDS[dialect].includes(kind)) {
    return { ok: false, text: `dialect ${dialect} has no kind "${kind}", it has ${DIALECT_KINDS[dialect].join(', ')}` }
  }
  const labels = nameLabels(name)
  if (labels === undefined) return { ok: false, text: `"${name}" is no name` }
  return { ok: true, text: verdictOf(dialect, kind, patternText(pattern), labels) }
}

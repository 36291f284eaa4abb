/**
 * Puts the rows of bench/results into the tables of docs/performance.md, between `<!-- table NAME -->` and
 * `<!-- end -->`. `--check` writes nothing and exits 1 when the page and the results differ.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readRows, RESULTS, resultNames } from './rows.ts'
import type { Row } from './rows.ts'

const PAGE = join(import.meta.dirname, '../docs/performance.md')

const number = (value: number): string =>
  Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en') : String(value)

const BREAK = '|'
const cell = (text: string): string => ` ${text.replaceAll(BREAK, '\\|')} ${BREAK}`
const line = (cells: readonly string[]): string => BREAK + cells.map(cell).join('')

function rowLine(r: Row): string {
  const spread = r.rounds > 1 ? `${number(r.spread[0])} – ${number(r.spread[1])}` : ''
  const peer = r.peer === null || r.peerValue === null ? '' : `${r.peer}: ${number(r.peerValue)}`
  return line([
    r.figure,
    r.subject,
    `${number(r.value)} ${r.unit}`,
    spread,
    peer,
    r.ratio === null ? '' : String(r.ratio),
    String(r.rounds),
  ])
}

export function table(rows: readonly Row[]): string {
  return [
    line(['figure', 'subject', 'median', 'min – max', 'peer', 'ratio', 'rounds']),
    '|---|---|---|---|---|---|---|',
    ...rows.map(rowLine),
  ].join('\n')
}

/** The text of a block by its name: `machine`, `profile text`, or a result file. */
function block(name: string): string {
  if (name === 'machine') return readFileSync(join(RESULTS, 'machine.txt'), 'utf8').trimEnd().replace(/^/gm, '- ')
  if (name === 'profile text') return '```\n' + readFileSync(join(RESULTS, 'profile.txt'), 'utf8').trimEnd() + '\n```'
  if (!existsSync(join(RESULTS, `${name}.json`)))
    throw new Error(`docs/performance.md has a table ${name}, bench/results has not`)
  return table(readRows(RESULTS, name))
}

/** The page with every block made anew. Throws when a result has no table, or a table no result. */
export function render(page: string): string {
  const used = new Set<string>()
  const made = page.replaceAll(/<!-- table ([a-z ]+) -->\n[^]*?<!-- end -->/g, (_, name: string) => {
    used.add(name)
    return `<!-- table ${name} -->\n\n${block(name)}\n\n<!-- end -->`
  })
  const left = resultNames(RESULTS).filter((name) => !used.has(name))
  if (left.length > 0) throw new Error(`docs/performance.md has no table of ${left.join(', ')}`)
  return made
}

if (import.meta.main) {
  const page = readFileSync(PAGE, 'utf8')
  const made = render(page)
  if (process.argv.includes('--check')) {
    if (made !== page) {
      console.error('docs/performance.md is not what bench/results say: run node bench/table.ts')
      process.exitCode = 1
    }
  } else {
    writeFileSync(PAGE, made)
  }
}

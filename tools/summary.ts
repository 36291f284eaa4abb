/**
 * Adds up what ran: build/results/parts.tsv (name, passed or failed, seconds, and when it began, in seconds since 1970) and each
 * part's own report beside it. A part without a report counts as one test; time of parts that ran side by side counts once.
 * Ends with "N passed, N failed, N skipped"; exit status 1 when something
 * failed or nothing ran.
 */
import { existsSync, readFileSync } from 'node:fs'

interface VitestReport {
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numPendingTests: number
  readonly numTodoTests: number
  readonly testResults: readonly {
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[]
  }[]
}

type DemoReport = readonly { readonly step: string; readonly ok: boolean }[]

interface Part {
  readonly name: string
  readonly seconds: number
  /** Undefined: after the part before it. */
  readonly began: number | undefined
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  readonly skips: readonly string[]
}

const RESULTS = 'build/results'
const listed = existsSync(`${RESULTS}/parts.tsv`) ? readFileSync(`${RESULTS}/parts.tsv`, 'utf8') : ''
const parts = listed
  .split('\n')
  .filter((line) => line !== '')
  .map(readPart)
const sum = (pick: (part: Part) => number): number => parts.reduce((all, part) => all + pick(part), 0)
const failed = sum((part) => part.failed)
const passed = sum((part) => part.passed)

console.log('')
for (const part of parts) {
  const counts = `${part.passed} passed, ${part.failed} failed, ${part.skipped} skipped`
  console.log(
    `${part.failed > 0 ? 'FAIL' : 'ok  '}  ${part.name.padEnd(10)} ${String(part.seconds).padStart(4)} s  ${counts}`,
  )
  for (const skip of part.skips) console.log(`        skipped: ${skip}`)
}
console.log(`      total      ${String(elapsed(parts)).padStart(4)} s`)
console.log(`${passed} passed, ${failed} failed, ${sum((part) => part.skipped)} skipped`)
process.exitCode = failed > 0 || passed === 0 ? 1 : 0

/** Seconds in which at least one part ran. */
function elapsed(all: readonly Part[]): number {
  const spans = all.flatMap(({ began, seconds }) => (began === undefined ? [] : [[began, began + seconds] as const]))
  let total = all.reduce((sum, { began, seconds }) => sum + (began === undefined ? seconds : 0), 0)
  let until = Number.NEGATIVE_INFINITY
  for (const [from, to] of spans.sort(([a], [b]) => a - b)) {
    total += Math.max(0, to - Math.max(from, until))
    until = Math.max(until, to)
  }
  return total
}

function readPart(line: string): Part {
  const [name = '', outcome = 'failed', seconds = '0', began] = line.split('\t')
  const good = outcome === 'passed'
  const file = `${RESULTS}/${name}.json`
  const report = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as VitestReport | DemoReport) : undefined
  const counts = report === undefined ? { passed: good ? 1 : 0, failed: 0, skipped: 0, skips: [] } : countsOf(report)
  // A file that does not load, or a runner that dies, fails no single test and yet failed.
  return {
    ...{ name, seconds: Number(seconds), began: began === undefined ? undefined : Number(began), ...counts },
    failed: counts.failed + (good || counts.failed > 0 ? 0 : 1),
  }
}

function countsOf(report: VitestReport | DemoReport): Omit<Part, 'name' | 'seconds' | 'began'> {
  if (isDemo(report)) {
    const held = report.filter(({ ok }) => ok).length
    return { passed: held, failed: report.length - held, skipped: 0, skips: [] }
  }
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests,
    skipped: report.numPendingTests + report.numTodoTests,
    skips: report.testResults
      .flatMap(({ assertionResults }) => assertionResults)
      .filter(({ status }) => status === 'skipped' || status === 'pending' || status === 'todo')
      .map(({ fullName }) => fullName),
  }
}

function isDemo(report: VitestReport | DemoReport): report is DemoReport {
  return Array.isArray(report)
}

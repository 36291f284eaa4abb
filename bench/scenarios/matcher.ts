import type { Context } from '../context.ts'
import { regexpMatcher, snapshotMatcher } from '../matcher-subject.ts'
import type { Matcher } from '../matcher-subject.ts'
import { namesOf, rulesOf } from '../policy-set.ts'
import type { EndpointRules } from '../policy-set.ts'
import { row } from '../rows.ts'
import type { Row } from '../rows.ts'

const ROUNDS = 5
const NAMES = 300
const ROUND_MS = 60

interface Made {
  readonly compileMs: number
  readonly hit: Matcher
  readonly miss: Matcher
}

type Make = (rules: EndpointRules) => (names: readonly string[]) => Matcher

/** Undefined where the maker refuses so many patterns. */
function made(make: Make, rules: EndpointRules, hits: readonly string[], misses: readonly string[]): Made | undefined {
  const started = performance.now()
  try {
    const matcher = make(rules)
    return { compileMs: performance.now() - started, hit: matcher(hits), miss: matcher(misses) }
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) return undefined
    throw error
  }
}

/** Microseconds a name, over at least one name and at least ROUND_MS. Throws on a verdict that is not `expected`. */
function time(matcher: Matcher, expected: boolean): number {
  const started = performance.now()
  let done = 0
  let elapsed = 0
  // The clock is read once for ten names where a name is cheap.
  for (let step = 1; elapsed < ROUND_MS; step = elapsed < 1 ? 10 : step) {
    for (let i = 0; i < step; i++, done++) {
      if (matcher(done % NAMES) !== expected) throw new Error(`name ${done % NAMES}: not ${expected}`)
    }
    elapsed = performance.now() - started
  }
  return (elapsed / done) * 1000
}

/** One verdict among many patterns, a third names, a third `*.`, a third `**.`, in this process, against a RegExp. */
export async function matcher({ sizes, field }: Context): Promise<Row[]> {
  const rows: Row[] = []
  for (const size of sizes.matcherSizes) {
    field.progress.step(`${size} patterns`)
    const rules = rulesOf('ep-0', size)
    const hits = namesOf(rules, NAMES)
    // Differs from a hit in the last label but two only: as much to walk, and no match.
    const misses = hits.map((name) => name.replace('.ep-0.', '.ep-x.'))
    const own = made(snapshotMatcher, rules, hits, misses)
    const peer = made(regexpMatcher, rules, hits, misses)
    if (own === undefined) throw new Error(`${size} patterns do not compile`)
    const text = `${size.toLocaleString('en')} patterns`
    for (const [kind, expected] of [
      ['hit', true],
      ['miss', false],
    ] as const) {
      const series = (m: Made, subject: string): { subject: string; values: number[] } => {
        const one = m[kind]
        time(one, expected)
        return { subject, values: Array.from({ length: ROUNDS }, () => time(one, expected)) }
      }
      rows.push(row(`verdict, ${kind}, ${text}`, 'µs', series(own, 'sekisho'), peer && series(peer, 'RegExp')))
    }
    const compile = (m: Made, subject: string): { subject: string; values: number[] } => ({
      subject,
      values: [m.compileMs],
    })
    rows.push(row(`compile, ${text}`, 'ms', compile(own, 'sekisho'), peer && compile(peer, 'RegExp')))
  }
  return rows
}

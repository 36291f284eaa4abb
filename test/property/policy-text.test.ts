import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { compilePolicy } from '../../src/policy/compile.ts'
import { parseCilium } from '../../src/policy/dialects/cilium.ts'
import { textLabels, walkMatches } from '../../src/policy/label-walk.ts'
import { DIALECT_KINDS, isDialect, parsePattern } from '../../src/policy/patterns.ts'
import { endpoint } from '../policy/support/build.ts'

const good = readFileSync(new URL('../policy/fixtures/cilium/bing.yaml', import.meta.url), 'utf8')
const lines = good.split('\n')

test('a damaged file is told with places inside it, and never throws; what is left of it compiles', () => {
  let refused = 0
  let taken = 0
  const edit = fc.record({
    at: fc.nat(good.length),
    cut: fc.nat(40),
    put: fc.oneof(
      fc.constantFrom('', '*', '- ', '{', ']', '"', '\n', 'null', '&a ', '*a ', '!!x ', '\t', '---\n', '? '),
      fc.string({ maxLength: 3 }),
    ),
  })
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => {
      let text = good
      for (const { at, cut, put } of edits) text = text.slice(0, at) + put + text.slice(at + cut)
      const { policies, problems } = parseCilium(text, 'f')
      const count = text.split('\n').length
      for (const { line, column, message } of problems) {
        expect(line >= 1 && line <= count && column >= 1).toBe(true)
        expect(message).not.toBe('')
      }
      if (problems.some(({ severity }) => severity === 'error')) {
        refused++
        expect(policies).toEqual([])
      } else {
        taken++
        const endpoints = [endpoint(1, 'client', '10.0.0.1')]
        expect(compilePolicy({ generation: 1, policies, endpoints }).problems).toBeUndefined()
      }
    }),
    { seed: 4, numRuns: 600 },
  )
  expect(refused).toBeGreaterThan(300)
  expect(taken).toBeGreaterThan(5)
})

test('leaving a line out never opens more rules than the file has', () => {
  const whole = parseCilium(good, 'f').policies
  const ruleCount = whole.reduce((sum, policy) => sum + policy.rules.length, 0)
  for (let i = 0; i < lines.length; i++) {
    const { policies } = parseCilium(lines.filter((_, k) => k !== i).join('\n'), 'f')
    expect(policies.reduce((sum, policy) => sum + policy.rules.length, 0)).toBeLessThanOrEqual(ruleCount)
  }
})

test('no pattern and no name of any dialect throws', () => {
  const cases = Object.entries(DIALECT_KINDS).flatMap(([dialect, kinds]) =>
    kinds.map((kind) => [dialect, kind] as const),
  )
  fc.assert(
    fc.property(
      fc.constantFrom(...cases),
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.string({ unit: 'binary', maxLength: 40 }),
      ([dialect, kind], text, name) => {
        if (!isDialect(dialect)) throw new Error(dialect)
        const parsed = parsePattern(dialect, kind, text)
        const labels = textLabels(name)
        if (parsed.ok && labels !== undefined) walkMatches(parsed.value, labels)
      },
    ),
    { seed: 6, numRuns: 3000 },
  )
})

import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ROOT } from './tree.ts'

let dir = ''
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'sekisho-summary-'))
  mkdirSync(join(dir, 'build/results'), { recursive: true })
})
afterEach(() => {
  rmSync(dir, { recursive: true })
})

function summarise(
  parts: string,
  reports: Record<string, unknown> = {},
): { status: number | null; last: string; out: string } {
  writeFileSync(join(dir, 'build/results/parts.tsv'), parts)
  for (const [name, report] of Object.entries(reports))
    writeFileSync(join(dir, `build/results/${name}.json`), JSON.stringify(report))
  const done = spawnSync(process.execPath, [join(ROOT, 'tools/summary.ts')], { cwd: dir, encoding: 'utf8' })
  return { status: done.status, last: done.stdout.trimEnd().split('\n').at(-1) ?? '', out: done.stdout }
}

const vitest = (passed: number, failed: number, skipped: string[] = []): object => ({
  numPassedTests: passed,
  numFailedTests: failed,
  numPendingTests: skipped.length,
  numTodoTests: 0,
  testResults: [{ assertionResults: skipped.map((fullName) => ({ fullName, status: 'skipped' })) }],
})

test('tests of reports, parts without a report and steps of the demo add up', () => {
  const demo = [
    { step: 'a', ok: true },
    { step: 'b', ok: true },
  ]
  expect(
    summarise('types\tpassed\t3\nunit\tpassed\t9\ndemo\tpassed\t5\n', { unit: vitest(10, 0), demo }),
  ).toMatchObject({
    status: 0,
    last: '13 passed, 0 failed, 0 skipped',
  })
})

test('time of parts that ran side by side counts once, each part tells its own', () => {
  const parts = ['lint\tpassed\t24\t1000', 'unit\tpassed\t90\t1000', 'types\tpassed\t7\t1024', 'e2e\tpassed\t100\t1095']
  const { out } = summarise(`${parts.join('\n')}\ndemo\tpassed\t5\n`)
  expect(out).toMatch(/total +195 s/)
  expect(out).toMatch(/lint +24 s/)
})

test('a failed test fails the whole', () => {
  expect(summarise('unit\tfailed\t1\n', { unit: vitest(1, 2) })).toMatchObject({
    status: 1,
    last: '1 passed, 2 failed, 0 skipped',
  })
})

test('a runner that dies counts as failed though no test did', () => {
  expect(summarise('unit\tfailed\t1\n', { unit: vitest(5, 0) })).toMatchObject({
    status: 1,
    last: '5 passed, 1 failed, 0 skipped',
  })
  expect(summarise('lint\tfailed\t1\n')).toMatchObject({ status: 1, last: '0 passed, 1 failed, 0 skipped' })
})

test('nothing ran is a failure', () => {
  expect(summarise('')).toMatchObject({ status: 1, last: '0 passed, 0 failed, 0 skipped' })
})

test('what was skipped is named', () => {
  const { out, last } = summarise('unit\tpassed\t1\n', { unit: vitest(1, 0, ['needs a moon']) })
  expect(last).toBe('1 passed, 0 failed, 1 skipped')
  expect(out).toContain('skipped: needs a moon')
})

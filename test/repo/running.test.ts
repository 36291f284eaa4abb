import { spawnSync, type SpawnSyncReturns } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ROOT } from './tree.ts'

/** What runs the tests, with programs in the place of the real ones that do what they are told. */
let dir = ''
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'sekisho-running-'))
  for (const file of ['.ci/run', 'tools/test.sh', 'tools/summary.ts']) cpSync(join(ROOT, file), join(dir, file))
  for (const folder of ['bin', 'node_modules/.bin']) mkdirSync(join(dir, folder), { recursive: true })
  symlinkSync(process.execPath, join(dir, 'node_modules/.bin/node'))
})
afterEach(() => {
  rmSync(dir, { recursive: true })
})

function program(name: string, shell: string): void {
  const file = join(dir, 'bin', name)
  writeFileSync(file, `#!/bin/bash\n${shell}\n`)
  chmodSync(file, 0o755)
}

function ran(command: string, ...args: string[]): SpawnSyncReturns<string> & { last: string } {
  const { PATH = '' } = process.env
  const path = [join(dir, 'bin'), join(dir, 'node_modules/.bin'), PATH].join(delimiter)
  const done = spawnSync(join(dir, command), args, { env: { ...process.env, PATH: path }, encoding: 'utf8' })
  return { ...done, last: done.stdout.trimEnd().split('\n').at(-1) ?? '' }
}

describe('tools/test.sh', () => {
  const parts = ['types', 'lint', 'format', 'imports', 'e2e']
  const FAKES: Readonly<Record<string, string>> = {
    tsc: 'echo types say; sleep 0.1',
    eslint: 'sleep 0.4; echo lint says',
    prettier: 'echo format says',
    depcruise: 'echo imports say',
    vitest: 'ls build/results/claims/*/row | wc -l',
  }
  const fakes = (change: Readonly<Record<string, string>> = {}): void => {
    for (const [name, shell] of Object.entries({ ...FAKES, ...change })) program(name, shell)
  }

  test('shows what each part says in the order that was asked for, and a row for each', () => {
    fakes()
    const { status, stdout, last } = ran('tools/test.sh', ...parts)
    expect(stdout.split('\n').filter((line) => /^==|say/.test(line))).toEqual([
      ...['== types', 'types say', '== lint', 'lint says', '== format', 'format says'],
      ...['== imports', 'imports say', '== e2e'],
    ])
    // What waits for things to happen begins when all that keeps processors busy has ended.
    expect(stdout).toContain('== e2e\n4\n')
    expect(stdout.match(/^ok .* s {2}/gm)).toHaveLength(5)
    expect([status, last]).toEqual([0, '5 passed, 0 failed, 0 skipped'])
  })

  test.each(['tsc', 'eslint', 'depcruise', 'vitest'])('fails when %s does, and runs the others', (name) => {
    fakes({ [name]: 'echo alas; exit 3' })
    const { status, stdout, last } = ran('tools/test.sh', ...parts)
    expect([status, last]).toEqual([1, '4 passed, 1 failed, 0 skipped'])
    expect(stdout).toContain('\nalas\n')
  })

  test('fails when a part takes its lane with it, and when there is no such part', () => {
    fakes({ eslint: 'kill -9 $PPID; sleep 0.2' })
    const { status, last } = ran('tools/test.sh', ...parts)
    expect(status).toBe(1)
    expect(last).toMatch(/ [1-9]\d* failed/)
    fakes()
    expect(ran('tools/test.sh', 'types', 'typos')).toMatchObject({ status: 1, last: '1 passed, 1 failed, 0 skipped' })
    expect(ran('tools/test.sh')).toMatchObject({ status: 1, last: '0 passed, 0 failed, 0 skipped' })
  })
})

describe('.ci/run', () => {
  const row = (name: string, outcome: string): string =>
    `printf '${name}\\t${outcome}\\t1\\n' >>build/results/parts.tsv`
  const GOOD = `${row('unit', 'passed')}; ${row('e2e', 'passed')}`
  const DEMO = `echo '[{"step":"a","ok":true},{"step":"b","ok":true}]' >"$DEMO_JSON"`
  const make = (ofTest: string, ofDemo = DEMO): void =>
    program('make', `if [ "$1" = test ]; then ${ofTest}; else ${ofDemo}; fi`)

  test('is well when tests and demo are', () => {
    make(GOOD)
    expect(ran('.ci/run')).toMatchObject({ status: 0, last: '4 passed, 0 failed, 0 skipped' })
  })

  test.each([
    ['a part failed', `${GOOD}; ${row('lint', 'failed')}; exit 2`, DEMO, '4 passed, 1 failed, 0 skipped'],
    ['the set-up failed', 'exit 2', DEMO, '2 passed, 1 failed, 0 skipped'],
    ['the tests failed, whatever their list says', `${GOOD}; exit 2`, DEMO, '4 passed, 1 failed, 0 skipped'],
    ['a part failed and nobody minded', `${row('lint', 'failed')}`, DEMO, '2 passed, 1 failed, 0 skipped'],
    ['nothing was looked at', ':', DEMO, '2 passed, 1 failed, 0 skipped'],
    ['the tests were killed', 'kill -9 $$', DEMO, '2 passed, 1 failed, 0 skipped'],
    ['the demo failed', GOOD, `${DEMO}; exit 2`, '4 passed, 1 failed, 0 skipped'],
    ['the demo did not come to its table', GOOD, 'exit 2', '2 passed, 1 failed, 0 skipped'],
    [
      'a step of the demo failed',
      GOOD,
      `echo '[{"step":"a","ok":false}]' >"$DEMO_JSON"; exit 1`,
      '2 passed, 1 failed, 0 skipped',
    ],
  ])('fails when %s', (_what, ofTest, ofDemo, last) => {
    make(ofTest, ofDemo)
    expect(ran('.ci/run')).toMatchObject({ status: 1, last })
  })

  test('fails where there is nothing to add up with', () => {
    make(GOOD)
    rmSync(join(dir, 'node_modules'), { recursive: true })
    expect(ran('.ci/run')).toMatchObject({ status: 1, last: '0 passed, 1 failed, 0 skipped' })
  })
})

import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readRows, resultNames } from '../../bench/rows.ts'
import { SCENARIOS } from '../../bench/scenarios.ts'
import { run } from '../../lab/run.ts'

const script = join(import.meta.dirname, '../../bench/run.ts')
const namespaces = (): string[] => {
  try {
    return readdirSync('/run/netns').filter((name) => name.startsWith('skb'))
  } catch {
    return []
  }
}

describe('the benchmarks', () => {
  let out = ''
  beforeEach(() => {
    out = mkdtempSync(join(tmpdir(), 'bench-'))
  })
  afterEach(() => rmSync(out, { recursive: true, force: true }))

  it('run every scenario and leave nothing behind', { timeout: 120_000 }, async () => {
    const before = namespaces()
    const done = await run([process.execPath, script, '--smoke', '--out', out], { timeoutMs: 110_000 })
    expect(done.stderr).not.toContain('FAILED')
    expect(done.code).toBe(0)
    const wanted = SCENARIOS.filter((s) => s.smoke !== false)
    expect(resultNames(out)).toEqual(wanted.map((s) => s.name).sort())
    const cpu = readRows(out, 'forward').filter((r) => r.figure.startsWith('CPU a query,'))
    expect(cpu.map((r) => r.subject)).toContain('sekisho')
    for (const r of cpu) expect(r.value).toBeGreaterThan(0)
    expect(namespaces()).toEqual(before)
  })
})

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { shares } from '../../bench/perf.ts'
import { median, readRows, RESULTS, resultNames, row } from '../../bench/rows.ts'
import { render } from '../../bench/table.ts'

const page = (): string => readFileSync(join(import.meta.dirname, '../../docs/performance.md'), 'utf8')

describe('docs/performance.md', () => {
  it('says what bench/results say', () => {
    expect(render(page())).toBe(page())
  })

  it('differs as soon as a figure does', () => {
    const first = readRows(RESULTS, 'forward')[0]
    const text = page()
    const value = `${first?.value ?? 0}`
    expect(text).toContain(value)
    expect(render(text.replaceAll(value, 'x'))).toBe(text)
  })

  it('has a table of every result', () => {
    const without = page().replace(/<!-- table forward -->[^]*?<!-- end -->/, '')
    expect(() => render(without)).toThrow(/forward/)
  })
})

describe('rows of the results', () => {
  it.each(resultNames(RESULTS))('%s has rows of the agreed form', (name) => {
    const rows = readRows(RESULTS, name)
    expect(rows.length).toBeGreaterThan(0)
    for (const r of rows) {
      expect(Object.keys(r)).toEqual([
        'figure',
        'subject',
        'value',
        'unit',
        'peer',
        'peerValue',
        'ratio',
        'rounds',
        'spread',
      ])
      expect(r.spread[0]).toBeLessThanOrEqual(r.value)
      expect(r.spread[1]).toBeGreaterThanOrEqual(r.value)
      expect(r.rounds).toBeGreaterThan(0)
    }
  })

  it('are medians, with the ratio of the medians', () => {
    expect(median([9, 1, 2])).toBe(2)
    expect(median([1, 2, 3, 10])).toBe(2.5)
    const made = row('f', 'µs', { subject: 'a', values: [9, 1, 2] }, { subject: 'b', values: [4, 4, 5] })
    expect(made).toMatchObject({ value: 2, peerValue: 4, ratio: 0.5, rounds: 3, spread: [1, 9] })
  })
})

describe('samples of perf', () => {
  it('are sorted by the system call they were in and what they did there', () => {
    const script = [
      'dns 7\n\tffffffff81 finish_task_switch ([kernel.kallsyms])\n\tffffffff82 schedule ([kernel.kallsyms])\n\tffffffff83 __sys_recvmsg ([kernel.kallsyms])\n\tffff84 do_syscall_64 ([kernel.kallsyms])',
      'dns 7\n\tffffffff81 _raw_spin_unlock ([kernel.kallsyms])\n\tffffffff82 sock_def_readable ([kernel.kallsyms])\n\tffffffff83 __x64_sys_sendmmsg ([kernel.kallsyms])',
      'dns 7\n\t7f00 JS:*verdict open.ts:1 (/tmp/perf-7.map)',
      'dns 7\n\t7f00 JS:*verdict open.ts:1 (/tmp/perf-7.map)',
    ].join('\n\n')
    const seen = shares(script)
    expect(seen.samples).toBe(4)
    expect(new Map(seen.byWork)).toEqual(
      new Map([
        ['user: JavaScript', 0.5],
        ['recvmsg: sleeps', 0.25],
        ['sendmmsg: wakes others', 0.25],
      ]),
    )
  })
})

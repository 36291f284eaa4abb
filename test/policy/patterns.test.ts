import { describe, expect, test } from 'vitest'
import { walkMatches } from '../../src/policy/label-walk.ts'
import { parsePattern, unmatchable } from '../../src/policy/patterns.ts'
import type { Dialect } from '../../src/policy/patterns.ts'
import { readTable, rowLabels } from './support/patterns-table.ts'

const table = readTable()

function verdict(dialect: Dialect, kind: string, pattern: string, name: string): string {
  const parsed = parsePattern(dialect, kind, pattern)
  if (!parsed.ok) return 'invalid'
  const labels = rowLabels(name)
  if (labels === undefined) throw new Error(`bad name ${name}`)
  return walkMatches(parsed.value, labels) ? 'match' : 'nomatch'
}

describe('patterns mean what they mean to Cilium', () => {
  test('the table is whole', () => expect(table).toHaveLength(445))

  test.each(['cilium-1.18', 'cilium'] as const)('every row of the measured table, %s', (dialect) => {
    const wrong = table.filter((row) => verdict(dialect, row.kind, row.pattern, row.name) !== row.verdicts[dialect])
    expect(wrong).toEqual([])
  })
})

describe('patterns of other dialects', () => {
  test.each([
    ['gke', 'pattern', '*.company.com', 'api.company.com', 'match'],
    ['gke', 'pattern', '*.company.com', 'eu.api.company.com', 'nomatch'],
    ['gke', 'pattern', '*.company.com', 'company.com', 'nomatch'],
    ['gke', 'pattern', '**.company.com', 'y.x.company.com', 'nomatch'],
    ['gke', 'pattern', '*.*.google.com', 'a.b.google.com', 'match'],
    ['gke', 'pattern', 'sub*.google.com', 'sub1.google.com', 'match'],
    ['gke', 'pattern', '*a.com', 'a.com', 'match'],
    ['gke', 'pattern', '*', 'anything.at.all', 'match'],
    ['gke', 'pattern', '-a.com', 'a.com', 'invalid'],
    ['gke', 'pattern', 'a..com', 'a.com', 'invalid'],
    ['gke', 'name', 'www.google.com', 'WWW.google.com.', 'match'],
    ['gke', 'name', '*.google.com', 'www.google.com', 'invalid'],
    ['gke', 'name', '', 'www.google.com', 'invalid'],
    ['npep-133', 'domainNames', '*.kubernetes.io', 'www.kubernetes.io', 'match'],
    ['npep-133', 'domainNames', '*.kubernetes.io', 'latest.blog.kubernetes.io', 'match'],
    ['npep-133', 'domainNames', '*.kubernetes.io', 'kubernetes.io', 'nomatch'],
    ['npep-133', 'domainNames', '*.kubernetes.io', 'wikipedia.org', 'nomatch'],
    ['npep-133', 'domainNames', 'kubernetes.io', 'kubernetes.io.', 'match'],
    ['npep-133', 'domainNames', 'kubernetes.io', 'my-kubernetes.io', 'nomatch'],
    ['npep-133', 'domainNames', 'a^b.com', 'a^b.com', 'invalid'],
    ['npep-133', 'domainNames', '[x].com', 'x.com', 'invalid'],
    ['npep-133', 'domainNames', '**.a.com', 'y.x.a.com', 'invalid'],
    ['npep-133', 'domainNames', 'x.*.a.com', 'x.y.a.com', 'invalid'],
    ['npep-133', 'domainNames', '*', 'a.com', 'invalid'],
    ['npep-133', 'domainNames', 'com', 'com', 'invalid'],
  ] as const)('%s %s %s against %s: %s', (dialect, kind, pattern, name, expected) => {
    expect(verdict(dialect, kind, pattern, name)).toBe(expected)
  })

  test('a kind of another dialect is refused by name', () => {
    const parsed = parsePattern('gke', 'toFQDNs.matchName', 'a.com')
    expect(parsed).toMatchObject({ ok: false, error: expect.stringContaining('no kind "toFQDNs.matchName"') as string })
  })
})

describe('canonical text', () => {
  const text = (dialect: Dialect, kind: string, pattern: string): string => {
    const parsed = parsePattern(dialect, kind, pattern)
    return parsed.ok ? parsed.value.text : 'invalid'
  }
  test.each([
    ['cilium', '*.EXAMPLE.com.', '*.example.com'],
    ['cilium', '***.example.com', '**.example.com'],
    ['cilium-1.18', '**.example.com', '*.example.com'],
    ['cilium', 'a**b.io', 'a*b.io'],
    ['cilium', '***.', '*'],
    ['cilium-1.18', '**', '*.'],
    ['cilium', '.', '.'],
  ] as const)('%s %s is %s', (dialect, pattern, expected) => {
    expect(text(dialect, 'toFQDNs.matchPattern', pattern)).toBe(expected)
  })
})

describe('patterns that no name on the wire can match', () => {
  test.each([
    ['example..com', 'it has an empty label'],
    ['.example.com', 'it has an empty label'],
    ['example.com..', 'it has an empty label'],
    ['..', 'it has an empty label'],
    [`${'a'.repeat(64)}.com`, 'a label is longer than 63 octets'],
    [`${'*.'.repeat(126)}com`, 'it is longer than 255 octets on the wire'],
    [`${'a'.repeat(63)}.com`, undefined],
    ['.', undefined],
    ['*', undefined],
    ['**.example.com', undefined],
  ] as const)('%s: %s', (text, expected) => {
    const parsed = parsePattern('cilium', 'dns.matchPattern', text)
    expect(parsed.ok && unmatchable(parsed.value)).toBe(expected)
  })
})

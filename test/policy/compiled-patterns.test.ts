import { expect, test } from 'vitest'
import { formatFqdn, tryParseFqdn } from '../../src/core/fqdn.ts'
import { parsePattern } from '../../src/policy/patterns.ts'
import type { Dialect, DomainPattern } from '../../src/policy/patterns.ts'
import { ask, endpoint, entity, origin, policy, rule, selected, snapshot } from './support/build.ts'
import { readTable } from './support/patterns-table.ts'
import type { TableRow } from './support/patterns-table.ts'

const FROM = '10.0.0.1'

/** The verdict of a snapshot that holds this one pattern; undefined where the name cannot be on the wire. */
function compiledVerdict(dialect: Dialect, row: TableRow): string | undefined {
  const parsed = parsePattern(dialect, row.kind, row.pattern)
  if (!parsed.ok) return 'invalid'
  const wireName = row.name.startsWith('hex:') ? lower(row.name) : row.name
  if (!wireName.startsWith('hex:') && tryParseFqdn(wireName) === undefined) return undefined
  const matches = row.kind.startsWith('dns.') ? allows(parsed.value, wireName) : selects(parsed.value, wireName)
  return matches ? 'match' : 'nomatch'
}

function allows(pattern: DomainPattern, name: string): boolean {
  const rules = [rule([entity('all')], ['UDP/53'], [{ pattern, origin }])]
  const snap = snapshot({ policies: [policy(undefined, rules)], endpoints: [endpoint(1, 'a', FROM)] })
  return ask(snap, FROM, '8.8.8.8', 'UDP/53', name) === 2
}

function selects(pattern: DomainPattern, name: string): boolean {
  const rules = [rule([{ kind: 'fqdn', pattern, origin }])]
  const snap = snapshot({ policies: [policy(undefined, rules)], endpoints: [endpoint(1, 'a', FROM)] })
  return selected(snap, name).length === 1
}

/** The reader hands names over in lower case. */
function lower(hex: string): string {
  const name = tryParseFqdn(formatFqdn(Buffer.from(hex.slice(4), 'hex')))
  if (name === undefined) throw new Error(hex)
  return `hex:${Buffer.from(name).toString('hex')}`
}

test.each(['cilium-1.18', 'cilium'] as const)(
  'the compiled matcher agrees with every row it can be asked, %s',
  (dialect) => {
    let asked = 0
    const wrong: unknown[] = []
    for (const row of readTable()) {
      const verdict = compiledVerdict(dialect, row)
      if (verdict === undefined) continue
      asked++
      if (verdict !== row.verdicts[dialect]) wrong.push({ ...row, verdict })
    }
    expect(wrong).toEqual([])
    expect(asked).toBeGreaterThan(390)
  },
)

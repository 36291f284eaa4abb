import fc from 'fast-check'
import { expect, test } from 'vitest'
import { wireLabels, walkMatches } from '../../src/policy/label-walk.ts'
import { parsePattern, unmatchable } from '../../src/policy/patterns.ts'
import type { DomainPattern } from '../../src/policy/patterns.ts'
import { addr16, endpoint, entity, origin, policy, rule, snapshot } from '../policy/support/build.ts'

/** Few octets, so that names and patterns meet often; 0x2e, 0x2a, 0xc3 and space are octets no `*` stands for. */
const octet = fc.oneof(
  { weight: 30, arbitrary: fc.constantFrom(...'abA-_0') },
  { weight: 1, arbitrary: fc.constantFrom('.', '*', ' ', '\u00c3', '\\', '\0') },
)
const label = fc.string({ unit: octet, minLength: 1, maxLength: 6 })
const name = fc.array(fc.oneof(label, fc.constantFrom('com', 'ab', 'a', 'aabab')), { maxLength: 5 }).map((labels) => {
  const bytes = labels.flatMap((text) => [text.length, ...Buffer.from(text.toLowerCase(), 'latin1')])
  return Uint8Array.from([...bytes, 0])
})
const patternLabel = fc.oneof(
  fc.constantFrom('*', '**', 'com', 'ab', 'a', 'a*', '*a', '*b*', 'a*b', 'a*a*b', '*a*b*', 'aa*', 'A'),
  fc.string({ unit: fc.constantFrom(...'ab*-'), minLength: 1, maxLength: 5 }),
)
const patternText = fc
  .tuple(fc.constantFrom('', '', '**.', '***.'), fc.array(patternLabel, { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([prefix, labels, dot]) => `${prefix}${labels.join('.')}${dot ? '.' : ''}`)
const text = fc.oneof(
  { weight: 20, arbitrary: patternText },
  { weight: 1, arbitrary: fc.constantFrom('*', '**', '*.', '**.', '.') },
)
const dialect = fc.constantFrom('cilium' as const, 'cilium-1.18' as const)

const read = (kind: string, texts: readonly string[], which: 'cilium' | 'cilium-1.18'): DomainPattern[] =>
  texts.map((one) => {
    const parsed = parsePattern(which, kind, one)
    if (!parsed.ok) throw new Error(parsed.error)
    return parsed.value
  })

test('a compiled set allows exactly the names that some pattern stands for', () => {
  let hits = 0
  let asked = 0
  fc.assert(
    fc.property(
      dialect,
      fc.array(text, { minLength: 1, maxLength: 12 }),
      fc.array(name, { minLength: 20, maxLength: 20 }),
      (which, texts, names) => {
        const patterns = read('dns.matchPattern', texts, which)
        const snap = snapshot({
          policies: [
            policy(undefined, [
              rule(
                [entity('all')],
                ['UDP/53'],
                patterns.map((pattern) => ({ pattern, origin })),
              ),
            ]),
          ],
          endpoints: [endpoint(1, 'a', '10.0.0.1')],
        })
        for (const one of names) {
          const wanted = patterns.some((pattern) => walkMatches(pattern, wireLabels(one)))
          const got = snap.verdict(0, addr16('8.8.8.8'), 0, 17, 53, one, 0)
          asked++
          if (wanted) hits++
          expect({ texts, which, name: Buffer.from(one).toString('latin1'), got }).toEqual({
            texts,
            which,
            name: Buffer.from(one).toString('latin1'),
            got: wanted ? 2 : 1,
          })
        }
      },
    ),
    { seed: 7, numRuns: 500 },
  )
  expect(hits).toBeGreaterThan(asked / 10)
  expect(hits).toBeLessThan((asked * 9) / 10)
})

test('the selector trie finds every selector that stands for a name, ascending, and no other', () => {
  fc.assert(
    fc.property(
      dialect,
      fc.array(text, { minLength: 1, maxLength: 25 }),
      fc.array(name, { minLength: 20, maxLength: 20 }),
      (which, texts, names) => {
        const patterns = read('toFQDNs.matchPattern', texts, which)
        const snap = snapshot({
          policies: [policy(undefined, [rule(patterns.map((pattern) => ({ kind: 'fqdn', pattern, origin })))])],
          endpoints: [endpoint(1, 'a', '10.0.0.1')],
        })
        const out = new Uint32Array(snap.selectorCount)
        const unique = [...new Map(patterns.map((pattern) => [pattern.text, pattern])).values()]
        expect(snap.selectorCount).toBe(unique.length)
        for (const one of names) {
          const found = snap.matchSelectors(one, 0, out)
          const got = [...out.subarray(0, found)]
          expect(got).toEqual([...got].sort((a, b) => a - b))
          const wanted = unique
            .filter((pattern) => walkMatches(pattern, wireLabels(one)))
            .map((pattern) => `fqdn:${pattern.text}`)
          expect(got.map((i) => snap.selectorLabel(i)).sort()).toEqual(wanted.sort())
        }
      },
    ),
    { seed: 11, numRuns: 400 },
  )
})

test('a pattern called unmatchable matches no name on the wire', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('a', '.', '*'), maxLength: 6 }), name, (one, wireName) => {
      const parsed = parsePattern('cilium', 'dns.matchPattern', one)
      if (parsed.ok && unmatchable(parsed.value) !== undefined)
        expect(walkMatches(parsed.value, wireLabels(wireName))).toBe(false)
    }),
    { seed: 3, numRuns: 3000 },
  )
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { endpointLabels, labelsKey, parseLabelsKey, selectorMatches } from '../../src/policy/labels.ts'
import type { Requirement } from '../../src/policy/rules.ts'
import { combinedRules, SubjectIndex } from '../../src/policy/subjects.ts'
import { policy } from './support/build.ts'

const labels = new Map([
  ['app', 'web'],
  ['tier', ''],
])

describe('label selectors mean what Kubernetes means', () => {
  test.each<[Requirement['operator'], string, string[], boolean]>([
    ['In', 'app', ['web', 'db'], true],
    ['In', 'app', ['db'], false],
    ['In', 'none', ['web'], false],
    ['In', 'tier', [''], true],
    ['NotIn', 'app', ['web'], false],
    ['NotIn', 'app', ['db'], true],
    ['NotIn', 'none', ['web'], true],
    ['Exists', 'tier', [], true],
    ['Exists', 'none', [], false],
    ['DoesNotExist', 'none', [], true],
    ['DoesNotExist', 'app', [], false],
  ])('%s %s %j: %s', (operator, key, values, expected) => {
    expect(selectorMatches([{ key, operator, values }], labels)).toBe(expected)
  })
  test('an empty selector selects all', () => expect(selectorMatches([], labels)).toBe(true))
  test('requirements are all needed', () => {
    expect(
      selectorMatches(
        [
          { key: 'app', operator: 'Exists', values: [] },
          { key: 'x', operator: 'Exists', values: [] },
        ],
        labels,
      ),
    ).toBe(false)
  })
})

describe('label sets', () => {
  test('source prefixes are taken off and the namespace cannot be written over', () => {
    const set = endpointLabels({
      namespace: 'shop',
      labels: { 'k8s:app': 'web', 'io.kubernetes.pod.namespace': 'other' },
    })
    expect([...set]).toEqual([
      ['app', 'web'],
      ['io.kubernetes.pod.namespace', 'shop'],
    ])
  })
  test('keys are unique and can be read back', () => {
    const text = fc.string({ unit: fc.constantFrom('a', ';', '=', '\\', ':'), maxLength: 4 })
    fc.assert(
      fc.property(
        fc.dictionary(
          text.filter((key) => key !== '' && !key.startsWith('k8s:')),
          text,
        ),
        fc.dictionary(text, text),
        (a, b) => {
          const one = endpointLabels({ namespace: 'n', labels: a })
          const two = endpointLabels({ namespace: 'n', labels: b })
          expect([...parseLabelsKey(labelsKey(one))].sort()).toEqual([...one].sort())
          expect(labelsKey(one) === labelsKey(two)).toBe(
            JSON.stringify([...one].sort()) === JSON.stringify([...two].sort()),
          )
        },
      ),
      { seed: 1, numRuns: 500 },
    )
  })
})

describe('the index of subjects', () => {
  test('finds what asking every policy finds', () => {
    const key = fc.constantFrom('a', 'b', 'c')
    const value = fc.constantFrom('1', '2')
    const requirement = fc.record({
      key,
      operator: fc.constantFrom('In' as const, 'NotIn' as const, 'Exists' as const),
      values: fc.array(value, { minLength: 1, maxLength: 3 }),
    })
    fc.assert(
      fc.property(
        fc.array(fc.array(requirement, { maxLength: 3 }), { maxLength: 8 }),
        fc.dictionary(key, value),
        (subjects, own) => {
          const policies = subjects.map((subject) => ({ ...policy(undefined, []), subject }))
          const set = new Map(Object.entries(own))
          const wanted = policies.flatMap(({ subject }, i) => (selectorMatches(subject, set) ? [i] : []))
          expect(new SubjectIndex(policies).selecting(set)).toEqual(wanted)
        },
      ),
      { seed: 2, numRuns: 1000 },
    )
  })
  test('no policy, no rules', () => expect(combinedRules([])).toEqual([]))
})

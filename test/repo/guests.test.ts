import { expect, test } from 'vitest'
import { asksFor, GROUPS, groupsOf, missedParts } from '../vm/groups.ts'
import { files, read } from './tree.ts'

/** What `test(...)` calls them in the guest, up to what is put in. */
const named = files(/^test\/vm\/[\w-]+\.ts$/).flatMap((path) =>
  [...read(path).matchAll(/(?:\btest\(\s*|^const [A-Z]+ = )['`]([^'`]+: [^'`$]*|pump [^'`$]*)/gm)].map(
    ([, name = '']) => name,
  ),
)
const groupsWith = (name: string): string[] =>
  GROUPS.filter(({ tests }) => asksFor(tests, name)).map((group) => group.name)

test('the long form has every test of a guest in one of its boots, and in no other', () => {
  expect(named.length).toBeGreaterThan(15)
  expect(named).toContain('T-BOTH: ')
  expect(named.filter((name) => groupsWith(name).length !== 1)).toEqual([])
  expect(GROUPS.filter(({ name }) => !named.some((one) => groupsWith(one).includes(name)))).toEqual([])
})

test('a filter has parts of names, or those that it leaves out', () => {
  expect(asksFor('', 'T-HEAL: a')).toBe(true)
  expect(asksFor('T-FW,T-HEAL', 'T-HEAL: a')).toBe(true)
  expect(asksFor('T-FW,T-HEAL', 'T-ENABLE: b')).toBe(false)
  expect(asksFor('!T-FW,T-HEAL', 'T-HEAL: a')).toBe(false)
  expect(asksFor('!T-FW,T-HEAL', 'T-ENABLE: b')).toBe(true)
})

test('what was asked for and did not run is told', () => {
  expect(missedParts('T-HEAL,T-FW', ['T-ENABLE: b', 'T-HEAL: a'])).toEqual(['T-FW'])
  expect(missedParts('T-HEAL,T-FW', ['T-FW: c', 'T-HEAL: a'])).toEqual([])
  expect(missedParts('', ['T-HEAL: a'])).toEqual([])
  expect(missedParts('', [])).toEqual([''])
  expect(missedParts('!T-HEAL', ['T-HEAL: a'])).toEqual(['!T-HEAL'])
})

test('the long form boots all groups or the named ones, the short form and a filter once', () => {
  expect(groupsOf(true, '', '')).toEqual(GROUPS)
  expect(groupsOf(true, '', 'both,kills').map(({ name }) => name)).toEqual(['both', 'kills'])
  expect(() => groupsOf(true, '', 'both,kils')).toThrow('no group kils')
  for (const long of [true, false]) expect(groupsOf(long, 'T-HEAL', '')).toEqual([{ name: '', tests: 'T-HEAL' }])
  expect(groupsOf(false, '', '')).toEqual([{ name: '', tests: '' }])
})

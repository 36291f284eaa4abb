import { expect, test } from 'vitest'
import { suggest } from '../../src/core/suggest.ts'

test.each([
  ['prot', ['port', 'workers'], 'port'],
  ['PORT', ['port'], 'port'],
  ['warning', ['info', 'warn', 'error'], 'warn'],
  ['maxPnding', ['maxInFlight', 'maxPending'], 'maxPending'],
  ['stats', ['status', 'agent'], 'status'],
])('%s of %j is %s', (word, candidates, wanted) => {
  expect(suggest(word, candidates)).toBe(wanted)
})

test.each([
  ['xyzzy', ['port', 'workers']],
  ['ab', ['cd']],
  ['', ['port']],
  ['port', []],
])('%s of %j is nothing', (word, candidates) => {
  expect(suggest(word, candidates)).toBeUndefined()
})

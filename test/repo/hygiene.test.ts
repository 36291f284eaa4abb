import { expect, test } from 'vitest'
import { files, read } from './tree.ts'

// In pieces, so that this file does not hold what it looks for.
const FORBIDDEN: readonly [string, RegExp][] = [
  ['a path of one machine', new RegExp(['/wo', 'rk/|/ho', 'me/[a-z]'].join(''))],
  [
    'a host of packages',
    new RegExp(['registry\\.np', 'mjs|deb\\.deb', 'ian\\.org|artifact', '-?registry'].join(''), 'i'),
  ],
  ['a private key', new RegExp(['-----BEG', 'IN [A-Z ]*PRIVATE KEY'].join(''))],
  ['a merge left open', /^<{7} |^>{7} /m],
]

const texts = files(
  /(\.(ts|js|cjs|json|md|yaml|yml|sh|c|h|mk|txt|tsv|conf)|Makefile|Dockerfile|\.npmrc|\/run|\/sekisho)$/,
)

test.each(FORBIDDEN)('no file holds %s', (_what, pattern) => {
  expect(texts.length).toBeGreaterThan(100)
  expect(texts.filter((path) => pattern.test(read(path)))).toEqual([])
})

test('no test is left focused', () => {
  const tests = files(/^test\/.*\.ts$/)
  expect(tests.filter((path) => new RegExp('\\.on' + 'ly\\(').test(read(path)))).toEqual([])
})

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatDuration, formatSize, parseDuration, parseSize } from '../../src/config/units.ts'

test.each([
  ['500ms', 500],
  ['10s', 10_000],
  ['5m', 300_000],
  ['2h', 7_200_000],
  ['0s', 0],
])('%s is %i ms', (text, ms) => {
  expect(parseDuration(text)).toBe(ms)
})

test.each(['', '5', 's', '1.5s', '-1s', '5 s', '5S', '5d', '1h30m', '99999999999999999h', '5constructor'])(
  '"%s" is no duration',
  (text) => {
    expect(parseDuration(text)).toBeUndefined()
  },
)

test.each([
  ['64KiB', 65536],
  ['4MiB', 4194304],
  ['1GiB', 1073741824],
  ['7B', 7],
])('%s is %i octets', (text, octets) => {
  expect(parseSize(text)).toBe(octets)
})

test('what is formatted reads back', () => {
  const amounts = fc.integer({ min: 0, max: 2 ** 40 })
  fc.assert(fc.property(amounts, (ms) => parseDuration(formatDuration(ms)) === ms))
  fc.assert(fc.property(amounts, (octets) => parseSize(formatSize(octets)) === octets))
})

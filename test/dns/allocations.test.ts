import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'

test('a query allocates nothing: 200,000 of them, denied, learned fast and learned slowly', () => {
  const fixture = new URL('./fixtures/allocations.ts', import.meta.url)
  const text = execFileSync(
    process.execPath,
    ['--max-semi-space-size=64', '--min-semi-space-size=64', fixture.pathname],
    {
      encoding: 'utf8',
    },
  )
  const result = JSON.parse(text) as { replies: number; bytesPerQuery: number }
  // Of 30 queries 20 are forwarded and answered in the second turn, 10 are denied in the first.
  expect(result.replies).toBeGreaterThan(130_000)
  // One object or boxed number a query would be 16 and more.
  expect(result.bytesPerQuery).toBeLessThan(8)
  expect(result.bytesPerQuery).toBeGreaterThanOrEqual(0)
})

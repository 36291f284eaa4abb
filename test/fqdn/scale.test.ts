import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

interface Figures {
  readonly entries: number
  readonly bytesPerName: number
  readonly microsecondsPerName: number
  readonly batchMedianMs: number
  readonly left: number
  readonly expirySlices: number
  readonly sliceMedianMs: number
  readonly slice99Ms: number
  readonly sharedEarlyMs: number
  readonly sharedLateMs: number
}

const program = fileURLToPath(new URL('./fixtures/hundred-thousand.ts', import.meta.url))

describe('a hundred thousand names', () => {
  const figures = JSON.parse(
    execFileSync(process.execPath, ['--expose-gc', program], { encoding: 'utf8', timeout: 120_000 }),
  ) as Figures

  it('are all learned, in at most a kibibyte each', () => {
    expect(figures.entries).toBe(100_000)
    expect(figures.bytesPerName).toBeLessThan(1024)
  })

  it('are learned in tens of microseconds', () => {
    expect(figures.microsecondsPerName).toBeLessThan(250)
  })

  it('expire in slices of which none stops the ledger', () => {
    expect(figures.left).toBe(0)
    expect(figures.expirySlices).toBeGreaterThan(10)
    expect(figures.sliceMedianMs).toBeLessThan(5)
    expect(figures.slice99Ms).toBeLessThan(25)
  })

  it('on twenty addresses cost the last of them no more than the first', () => {
    expect(figures.sharedLateMs).toBeLessThan(3 * figures.sharedEarlyMs + 0.2)
  })
})

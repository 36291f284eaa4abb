/** Names and encryption at once, on WireGuard of userspace where the kernel has none. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Bed, CASES, closeBed, openBed } from '../compliance/both.ts'

describe('gate and seal in one agent', () => {
  let bed: Bed | undefined

  beforeAll(async () => {
    if (process.getuid?.() !== 0) throw new Error('this makes namespaces and loads BPF programs: run it as root')
    bed = await openBed('sks')
  })
  afterAll(async () => {
    if (bed !== undefined) await closeBed(bed)
  })

  for (const one of CASES)
    it(one.name, async () => {
      if (bed === undefined) throw new Error('there is no lab')
      const seen = await one.run(bed)
      expect(seen?.['lost'] ?? 0).toBe(0)
    })
})

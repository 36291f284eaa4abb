/** T-BOTH: policy by names and encryption at once, on the WireGuard and the tc of this kernel; needs what lab-image.ts makes. */
import { SLOW } from '../../lab/run.ts'
import { CASES, closeBed, openBed } from '../compliance/both.ts'
import { test, wanted } from './harness.ts'

export async function testBoth(): Promise<void> {
  if (!wanted('T-BOTH: ')) return
  const bed = await openBed('both', SLOW)
  for (const one of CASES) await test(`T-BOTH: ${one.name}`, () => one.run(bed))
  await closeBed(bed)
}

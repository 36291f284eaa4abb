import { rmSync } from 'node:fs'
import { join } from 'node:path'

const folder = process.env['SEKISHO_TEST_DEATHS'] ?? ''

/** Ends the calling thread when the test has asked for it. */
export function dieIfAsked(thread: 'ledger' | 'tcp' | 'compiler'): void {
  try {
    rmSync(join(folder, thread))
  } catch {
    return
  }
  process.exit(70)
}

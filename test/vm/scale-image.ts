/** What the guest of test/vm/scale.ts needs beside the checkout: itself, as two files. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bundle, HOME } from './bundle.ts'
import { archive } from './image.ts'

const BUILD = join(import.meta.dirname, '../../build/vm')

/** From the root of the checkout. */
export const SCALE_ENTRY = 'build/vm/scale.mjs'

/** Gives the archive. */
export async function prepareScale(): Promise<string> {
  const stage = join(BUILD, 'scale')
  const out = join(BUILD, 'scale.cpio')
  rmSync(stage, { recursive: true, force: true })
  mkdirSync(stage, { recursive: true })
  for (const name of ['scale', 'scale-peer']) {
    await bundle(`test/vm/${name}.ts`, join(stage, HOME, `build/vm/${name}.mjs`))
  }
  // As on a real machine: here it is long enough for the compiler of hot code to pay, under emulation too.
  writeFileSync(join(stage, HOME, 'build/vm/node-flags'), '')
  archive(stage, out)
  return out
}

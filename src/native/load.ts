import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { SekishoError } from '../core/errors.ts'
import type { Native } from './binding.ts'

const BUILT = fileURLToPath(new URL('../../build/sekisho.node', import.meta.url))

/**
 * Loads the addon into this thread; loading it again gives the same functions. `SEKISHO_NATIVE` names another file
 * than build/sekisho.node.
 *
 * @throws SekishoError SEKISHO_NATIVE_MISSING when the file is not there or cannot be loaded
 */
export function loadNative(): Native {
  const path = process.env['SEKISHO_NATIVE'] ?? BUILT
  try {
    // The addon has no types of its own: binding.ts is their declaration, test/native/surface.test.ts their proof.
    return createRequire(import.meta.url)(path) as Native
  } catch (cause) {
    throw new SekishoError('SEKISHO_NATIVE_MISSING', `${path}: ${cause instanceof Error ? cause.message : 'unknown'}`, {
      hint: 'run `make build` (or `make -C native`)',
      cause,
    })
  }
}

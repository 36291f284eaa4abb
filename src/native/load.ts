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
  let addon: unknown
  try {
    addon = createRequire(import.meta.url)(path)
  } catch (cause) {
    throw missing(path, cause instanceof Error ? cause.message : 'unknown', cause)
  }
  if (!isNative(addon)) throw missing(path, 'not the addon')
  return addon
}

/** One function stands for all: binding.ts declares the rest, test/native/arguments.test.ts proves it. */
function isNative(addon: unknown): addon is Native {
  return typeof addon === 'object' && addon !== null && 'pumpStep' in addon && typeof addon.pumpStep === 'function'
}

function missing(path: string, why: string, cause?: unknown): SekishoError {
  return new SekishoError('SEKISHO_NATIVE_MISSING', `${path}: ${why}`, {
    hint: 'run `make build` (or `make -C native`)',
    cause,
  })
}

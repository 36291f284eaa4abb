import { ERRORS } from '../core/errors.ts'
import { EXIT, type CliIo } from './io.ts'
import type { RootsDoor } from './ports.ts'

/** The exit status when the command may not run, undefined when it may. */
export function refuseUnlessRoot(io: CliIo, door: RootsDoor): number | undefined {
  if (door.root) return undefined
  io.err(`sekisho: ${ERRORS.SEKISHO_CLI_ROOT} [SEKISHO_CLI_ROOT]\n`)
  return EXIT.permission
}

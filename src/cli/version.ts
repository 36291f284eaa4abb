import { VERSION } from '../core/version.ts'
import { EXIT, type CliIo } from './io.ts'

/** `sekisho version`. */
export async function version(_args: readonly string[], io: CliIo): Promise<number> {
  io.out(`sekisho ${VERSION} (Node ${process.version})\n`)
  return EXIT.ok
}

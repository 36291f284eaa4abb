import { loadConfig } from '../config/load.ts'
import { formatProblem } from '../config/problem.ts'
import type { Config } from '../config/schema.ts'
import { ERRORS, err, ok, type Result } from '../core/errors.ts'
import { EXIT, type CliIo } from './io.ts'

/** The configuration of a command, or the exit status after every problem has been told. */
export async function readConfig(io: CliIo, file: string | undefined): Promise<Result<Config, number>> {
  let text: string | undefined
  try {
    text = file === undefined ? undefined : await io.readText(file)
  } catch (error) {
    const code = (error as { code?: string }).code ?? String(error)
    io.err(`sekisho: ${file}: ${ERRORS.SEKISHO_CONFIG_FILE}: ${code} [SEKISHO_CONFIG_FILE]\n`)
    return err(EXIT.config)
  }
  const loaded = loadConfig(text, io.env)
  if (loaded.ok) return ok(loaded.value)
  for (const problem of loaded.error) io.err(formatProblem(problem, file) + '\n')
  const count = loaded.error.length
  io.err(`sekisho: ${count} ${count === 1 ? 'problem' : 'problems'} in the configuration; nothing was started\n`)
  return err(EXIT.config)
}

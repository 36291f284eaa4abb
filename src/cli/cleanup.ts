import { readConfig } from './config-file.ts'
import { EXIT, UsageError, type CliIo } from './io.ts'
import { parseOptions } from './options.ts'
import type { RootsDoor } from './ports.ts'
import { refuseUnlessRoot } from './root.ts'
import { apiBase } from './api.ts'

const options = { config: { type: 'string', short: 'c' }, force: { type: 'boolean' } } as const

const TIMEOUT_MS = 2000

/** `sekisho cleanup`: takes enforcement off the node. Refuses while an agent answers, which would put it back. */
export async function cleanup(args: readonly string[], io: CliIo, door: RootsDoor): Promise<number> {
  const { values, positionals } = parseOptions(args, options)
  if (positionals.length > 0) throw new UsageError(`unexpected argument ${positionals[0]}`, 'use --config FILE')
  const config = await readConfig(io, values.config)
  if (!config.ok) return config.error
  const refused = refuseUnlessRoot(io, door)
  if (refused !== undefined) return refused
  if (values.force !== true && (await answers(io, apiBase(config.value.http)))) {
    io.err('sekisho: an agent is running; stop it first, or use --force\n')
    return EXIT.failed
  }
  return (await door.load()).cleanup(config.value, (line) => io.out(line + '\n'))
}

const answers = (io: CliIo, base: string): Promise<boolean> =>
  io.get(`${base}/livez`, TIMEOUT_MS).then(
    ({ body }) => body.includes('"alive"'),
    () => false,
  )

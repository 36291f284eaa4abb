import { readConfig } from './config-file.ts'
import { EXIT, UsageError, type CliIo } from './io.ts'
import { parseOptions } from './options.ts'
import type { RootsDoor } from './ports.ts'
import { refuseUnlessRoot } from './root.ts'

const options = { config: { type: 'string', short: 'c' }, check: { type: 'boolean' } } as const

/** `sekisho agent`: the configuration is read whole before anything is opened. */
export async function agent(args: readonly string[], io: CliIo, door: RootsDoor): Promise<number> {
  const { values, positionals } = parseOptions(args, options)
  if (positionals.length > 0) throw new UsageError(`unexpected argument ${positionals[0]}`, 'use --config FILE')
  const config = await readConfig(io, values.config)
  if (!config.ok) return config.error
  if (values.check === true) {
    io.out('the configuration is good\n')
    return EXIT.ok
  }
  return refuseUnlessRoot(io, door) ?? (await door.load()).runAgent(config.value)
}

import type { SealKeyEvent } from '../http/wg-ports.ts'
import { EXIT, UsageError, type CliIo } from './io.ts'
import { parseOptions } from './options.ts'
import { printable } from './style.ts'
import { table } from './table.ts'
import { asJson, askSeal, openSeal, wgOptions } from './wg-api.ts'

/** `sekisho wg keys`: when keys were created, adopted, published, proven and retired. */
export async function wgKeys(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseOptions(args, wgOptions)
  if (positionals.length > 0) throw new UsageError(`unexpected argument ${positionals[0]}`)
  const base = await openSeal(io, values)
  if (typeof base === 'number') return base
  const log = await askSeal<{ events: readonly SealKeyEvent[] }>(io, base, '/v1/wg/keys')
  if (typeof log === 'number') return log
  if (values.output === 'json') io.out(asJson(log))
  else if (log.events.length === 0) io.out('no events since the agent started\n')
  else {
    const columns = [{ title: 'time' }, { title: 'event' }, { title: 'slot' }, { title: 'fingerprint' }]
    const rows = log.events.map(({ time, event, slot, fingerprint }) =>
      [time, event, String(slot), fingerprint].map(printable),
    )
    io.out(table(io, columns, rows))
  }
  return EXIT.ok
}

import { EXIT, UsageError, type CliIo } from './io.ts'
import { parseOptions } from './options.ts'
import { asJson, askPeers, openSeal, wgOptions } from './wg-api.ts'
import { peerTable } from './wg-words.ts'

const options = { ...wgOptions, worst: { type: 'boolean', short: 'w' } } as const

/** `sekisho wg peers`: every peer, a line each. */
export async function wgPeers(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseOptions(args, options)
  if (positionals.length > 0) throw new UsageError(`unexpected argument ${positionals[0]}`, 'sekisho wg why PEER')
  const base = await openSeal(io, values)
  if (typeof base === 'number') return base
  const peers = await askPeers(io, base, values.worst === true ? 'worst' : 'name')
  if (typeof peers === 'number') return peers
  io.out(values.output === 'json' ? asJson({ peers }) : peers.length === 0 ? 'no peers\n' : peerTable(io, peers))
  return EXIT.ok
}

import { join } from 'node:path'
import { must } from '../../lab/run.ts'
import type { Context } from '../context.ts'
import { row, type Row } from '../rows.ts'
import type { SteadyFigures } from '../steady-subject.ts'

const SUBJECT = join(import.meta.dirname, '../steady-subject.ts')
const TIMEOUT_MS = 300_000

/**
 * What the seal takes of a processor while nothing changes. The peer is the same agent with peers that have no probes: the
 * difference is what probes cost, with the system calls that send them.
 */
export async function steady({ sizes, field }: Context): Promise<Row[]> {
  const { peers, rounds, seconds } = sizes.steady
  const measure = async (...words: readonly string[]): Promise<SteadyFigures> => {
    const args = [String(peers), String(rounds), String(seconds), ...words]
    const out = await must(['unshare', '--net', process.execPath, SUBJECT, ...args], { timeoutMs: TIMEOUT_MS })
    return JSON.parse(out) as SteadyFigures
  }
  const text = `${peers.toLocaleString('en')} peers`
  field.progress.step(text)
  const own = await measure()
  field.progress.step(`${text} without probes`)
  const silent = await measure('silent')
  const figure = (what: string, unit: string, of: (figures: SteadyFigures) => readonly number[]): Row =>
    row(
      `${what}, ${text}`,
      unit,
      { subject: 'sekisho', values: of(own) },
      { subject: 'without probes', values: of(silent) },
    )
  return [
    figure('CPU at rest, all threads', '% of a core', ({ all }) => all),
    figure('CPU at rest, main thread', '% of a core', ({ main }) => main),
    row(`datagrams of probes, out and in, ${text}`, '/s', { subject: 'sekisho', values: [own.datagrams] }),
    figure('longest turn of the event loop, until all are proven', 'ms', ({ startTurn }) => [startTurn]),
    figure('longest turn of the event loop, at rest', 'ms', ({ restTurn }) => [restTurn]),
  ]
}

import { contender, standardPairs, subjectsOf } from '../context.ts'
import type { Context } from '../context.ts'
import { failures } from '../load.ts'
import type { Load } from '../load.ts'
import { rounds } from '../rounds.ts'
import type { Sample } from '../rounds.ts'
import { row } from '../rows.ts'
import type { Row } from '../rows.ts'

export const standardLoads = (seconds: number): Load[] => [
  // 200 answers at once do not fit in a socket buffer of the default size (rmem_default), which is what dnsdist uses.
  { label: 'max', window: 128, seconds },
  { label: '1,000/s', rate: 1000, seconds },
  { label: '10,000/s', rate: 10_000, seconds },
]

/** Once a minute the agent looks through its maps. That may fall into one round of six, and not into half of them. */
const ROUNDS_EACH = 2

interface Figure {
  readonly name: string
  readonly unit: string
  readonly loads: RegExp
  readonly take: (sample: Sample) => number
}

const FIGURES: readonly Figure[] = [
  { name: 'CPU a query', unit: 'µs', loads: /./, take: (s) => s.subjectUs },
  {
    name: 'CPU a query of client, subject and upstream together',
    unit: 'µs',
    loads: /./,
    // Asked directly, the upstream is the subject: counted once.
    take: (s) => s.clientUs + s.upstreamUs + (s.subjectUs === s.upstreamUs ? 0 : s.subjectUs),
  },
  { name: 'rate', unit: 'queries/s', loads: /max/, take: (s) => s.report.rate },
  { name: 'latency p50', unit: 'µs', loads: /./, take: (s) => s.report.latency.p50 },
  { name: 'latency p99', unit: 'µs', loads: /./, take: (s) => s.report.latency.p99 },
  { name: 'latency max', unit: 'µs', loads: /./, take: (s) => s.report.latency.max },
  { name: 'failed queries', unit: 'queries', loads: /./, take: (s) => failures(s.report) },
]

/** CPU, rate and latency of known names against a plain forwarder, with the whole policy loaded. */
export async function forward(context: Context): Promise<Row[]> {
  const { sizes, field } = context
  const pairs = standardPairs(sizes)
  const contenders = subjectsOf(context).map((s) => contender(context, s.name, s, pairs))
  // Each name once before anything counts: what is learned here stands for the rest of the run.
  const warm: Load = { label: 'warm-up', rate: 5000, seconds: 30, count: pairs.length }
  // Then hot enough that the code of all of them is compiled.
  const heat: Load = { label: 'heat', window: 128, seconds: Math.min(2, sizes.seconds) }
  await rounds(field, contenders, [warm, heat], 1)
  const loads = standardLoads(sizes.seconds)
  const samples = await rounds(field, contenders, loads, sizes.rounds * ROUNDS_EACH)
  return loads.flatMap((load) =>
    FIGURES.filter((f) => f.loads.test(load.label)).flatMap((figure) => {
      const peer = samples.series('dnsdist', load.label, figure.take)
      return subjectsOf(context)
        .filter((s) => s.name !== 'dnsdist')
        .map((s) =>
          row(`${figure.name}, ${load.label}`, figure.unit, samples.series(s.name, load.label, figure.take), peer),
        )
    }),
  )
}

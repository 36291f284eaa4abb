import { contender, standardFiles, standardPairs } from '../context.ts'
import type { Context } from '../context.ts'
import type { Load } from '../load.ts'
import { rounds } from '../rounds.ts'
import type { Sample } from '../rounds.ts'
import { row } from '../rows.ts'
import type { Row } from '../rows.ts'
import { startAgent } from '../subjects.ts'
import { standardLoads } from './forward.ts'

const PATHS = ['io_uring', 'epoll'] as const

const FIGURES: readonly (readonly [name: string, unit: string, take: (s: Sample) => number])[] = [
  ['CPU a query', 'µs', (s) => s.subjectUs],
  ['latency p50', 'µs', (s) => s.report.latency.p50],
  ['latency p99', 'µs', (s) => s.report.latency.p99],
  ['context switches a query', 'switches', (s) => s.switches],
]

/** Both ways a worker can wait, each by turns with dnsdist; `dns.pump: auto` takes the first where the kernel has it. */
export async function pump(context: Context): Promise<Row[]> {
  const loads = standardLoads(context.sizes.seconds).slice(0, context.sizes.slowLoads)
  const byLoad = new Map<string, Row[]>(loads.map(({ label }) => [label, []]))
  for (const path of PATHS) {
    const agent = await startAgent(context.stage, standardFiles(context.sizes), { SEKISHO_DNS_PUMP: path })
    try {
      const samples = await one({ ...context, agent }, path, loads)
      for (const load of loads) {
        for (const [figure, unit, take] of FIGURES) {
          const own = samples.series(`sekisho, ${path}`, load.label, take)
          const peer = samples.series('dnsdist', load.label, take)
          byLoad.get(load.label)?.push(row(`${figure}, ${load.label}`, unit, own, peer))
        }
      }
    } finally {
      await agent.stop()
    }
  }
  return [...byLoad.values()].flat()
}

async function one(context: Context, path: string, loads: readonly Load[]): ReturnType<typeof rounds> {
  const { agent, dnsdist, sizes, field } = context
  if (agent === undefined) throw new Error('needs the agent')
  const pairs = standardPairs(sizes)
  const contenders = [
    contender(context, `sekisho, ${path}`, agent, pairs),
    contender(context, 'dnsdist', dnsdist, pairs),
  ]
  const warm: Load = { label: 'warm-up', rate: 5000, seconds: 30, count: pairs.length }
  await rounds(field, contenders, [warm, { label: 'heat', window: 128, seconds: Math.min(2, sizes.seconds) }], 1)
  return rounds(field, contenders, loads, sizes.rounds)
}

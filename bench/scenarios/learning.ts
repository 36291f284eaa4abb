import { contender } from '../context.ts'
import type { Context } from '../context.ts'
import { failures } from '../load.ts'
import type { Load } from '../load.ts'
import { memoryOf } from '../process-cost.ts'
import { measure } from '../rounds.ts'
import type { Sample } from '../rounds.ts'
import { row } from '../rows.ts'
import type { Row, Series } from '../rows.ts'
import type { Subject } from '../subjects.ts'

/** Counts on over all scenarios of a run, so that a name that was learned once never counts as new. */
let next = 0

const FIGURES: readonly (readonly [name: string, unit: string, take: (s: Sample) => number])[] = [
  ['CPU a query', 'µs', (s) => s.subjectUs],
  ['latency p50', 'µs', (s) => s.report.latency.p50],
  ['latency p99', 'µs', (s) => s.report.latency.p99],
  ['latency max', 'µs', (s) => s.report.latency.max],
  ['failed queries', 'queries', (s) => failures(s.report)],
]

/** `letter` u: an address of its own for each name; s: twenty addresses for all of them (bench/tools/answer.h). */
function newNames(context: Context, letter: 'u' | 's', count: number): (readonly [number, string])[] {
  const { pods } = context.sizes
  return Array.from({ length: count }, () => {
    const n = next++
    const pod = n % pods
    return [pod, `${letter}${n}.w${n % 10}.ep-${pod}.bench.test`] as const
  })
}

async function once(
  context: Context,
  subject: Subject,
  load: Load,
  pairs: readonly (readonly [number, string])[],
): Promise<Sample> {
  context.field.progress.step(`${subject.name}, ${load.label}`)
  return measure(context.field, contender(context, `${subject.name} new names`, subject, pairs), load)
}

/** Rows of one kind of new name at every rate: the agent learns, dnsdist only forwards the same questions. */
async function atRates(context: Context, kind: string, letter: 'u' | 's'): Promise<Row[]> {
  const { agent, dnsdist, sizes } = context
  if (agent === undefined) throw new Error('needs the agent')
  const rows: Row[] = []
  for (const rate of sizes.learnRates) {
    const own: Sample[] = []
    const peer: Sample[] = []
    const count = Math.round(rate * sizes.seconds)
    const load: Load = { label: `${kind}, ${rate}/s`, rate, seconds: sizes.seconds + 1, count }
    for (let n = 0; n < sizes.rounds; n++) {
      const pairs = newNames(context, letter, count)
      own.push(await once(context, agent, load, pairs))
      peer.push(await once(context, dnsdist, load, pairs))
    }
    const series = (subject: string, samples: Sample[], take: (s: Sample) => number): Series => ({
      subject,
      values: samples.map(take),
    })
    for (const [name, unit, take] of FIGURES) {
      rows.push(
        row(
          `${name}, ${kind}, ${rate.toLocaleString('en')}/s`,
          unit,
          series('sekisho', own, take),
          series('dnsdist', peer, take),
        ),
      )
    }
  }
  return rows
}

/** Names and addresses never seen before: each answer waits until the map holds the address. */
export async function learning(context: Context): Promise<Row[]> {
  return [
    ...(await atRates(context, 'new name and address', 'u')),
    ...(await atRates(context, 'new name, 20 shared addresses', 's')),
    ...(await asFastAsItGoes(context)),
  ]
}

async function asFastAsItGoes(context: Context): Promise<Row[]> {
  const { agent, sizes } = context
  if (agent === undefined) throw new Error('needs the agent')
  const count = Math.round(sizes.learnedNames / 2)
  const load: Load = { label: 'new names, max', window: 128, seconds: 20, count }
  const sample = await once(context, agent, load, newNames(context, 'u', count))
  const rows: readonly (readonly [string, string, number])[] = [
    ['rate, new name and address, max', 'names/s', sample.report.rate],
    ['CPU a query, new name and address, max', 'µs', sample.subjectUs],
    ['latency p99, new name and address, max', 'µs', sample.report.latency.p99],
    ['failed queries, new name and address, max', 'queries', failures(sample.report)],
  ]
  return rows.map(([figure, unit, value]) => row(figure, unit, { subject: 'sekisho', values: [value] }))
}

/** Resident memory idle and under load, and what a learned name adds to it. */
export async function memory(context: Context): Promise<Row[]> {
  const { agent, dnsdist, sizes } = context
  if (agent === undefined) throw new Error('needs the agent')
  const resident = (subject: Subject): Series => ({
    subject: subject.name,
    values: [memoryOf(subject.pid).residentMiB],
  })
  const rows = [row('resident memory, policy loaded, no query yet', 'MiB', resident(agent), resident(dnsdist))]
  const count = sizes.learnedNames
  const warm: Load = { label: 'warm-up', rate: 1000, seconds: 10, count: Math.min(2000, count) }
  for (const subject of [agent, dnsdist]) await once(context, subject, warm, newNames(context, 'u', 2000))
  const before = memoryOf(agent.pid).residentMiB
  const load: Load = { label: `${count} new names`, rate: 5000, seconds: 60, count }
  const sample = await once(context, agent, load, newNames(context, 'u', count))
  const learned = sample.report.answered
  const growth = memoryOf(agent.pid).residentMiB - before
  rows.push(
    row('memory a learned name', 'bytes', { subject: 'sekisho', values: [(growth * 2 ** 20) / learned] }),
    row('names learned meanwhile', 'names', { subject: 'sekisho', values: [learned] }),
  )
  for (const subject of [agent, dnsdist]) {
    await once(context, subject, { label: 'max', window: 128, seconds: sizes.seconds }, newNames(context, 's', 1000))
  }
  rows.push(row('resident memory, after load as fast as it goes', 'MiB', resident(agent), resident(dnsdist)))
  return rows
}

import { contender, manyRulesPod } from '../context.ts'
import type { Context } from '../context.ts'
import { namesOf, rulesOf } from '../policy-set.ts'
import { rounds } from '../rounds.ts'
import type { Sample } from '../rounds.ts'
import { row } from '../rows.ts'
import type { Row } from '../rows.ts'
import { standardLoads } from './forward.ts'

const NAMES = 300
/** The difference that is looked for is smaller than what two rounds of one subject differ by; an even number, as who is first pays for the load before. */
const ROUNDS_EACH = 4

/** One pod with 30 rules against one with many, same agent, same number of names: the rules must not be felt. */
export async function rules(context: Context): Promise<Row[]> {
  const { agent, sizes, field } = context
  if (agent === undefined) throw new Error('needs the agent')
  const many = manyRulesPod(sizes)
  const one = (source: number, endpoint: string, count: number): ReturnType<typeof contender> => {
    const names = namesOf(rulesOf(endpoint, count), NAMES)
    const label = `sekisho, ${count.toLocaleString('en')} rules`
    return contender(
      context,
      label,
      agent,
      names.map((name) => [source, name] as const),
    )
  }
  const few = one(0, 'ep-0', sizes.patterns)
  const lots = one(many, 'ep-many', sizes.manyRules)
  await rounds(field, [few, lots], [{ label: 'warm-up', rate: 5000, seconds: 5, count: NAMES }], 1)
  const loads = standardLoads(sizes.seconds).filter(({ label }) => label !== '10,000/s')
  const samples = await rounds(field, [lots, few], loads, sizes.rounds * ROUNDS_EACH)
  return loads.flatMap((load) => {
    const pair = (figure: string, unit: string, take: (s: Sample) => number): Row =>
      row(
        `${figure}, ${load.label}`,
        unit,
        samples.series(lots.label, load.label, take),
        samples.series(few.label, load.label, take),
      )
    return [
      pair('CPU a query', 'µs', (s) => s.subjectUs),
      pair('latency p50', 'µs', (s) => s.report.latency.p50),
      pair('latency p99', 'µs', (s) => s.report.latency.p99),
    ]
  })
}

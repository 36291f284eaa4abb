import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { contender } from '../context.ts'
import type { Context } from '../context.ts'
import { run, sleep } from '../../lab/run.ts'
import { UPSTREAM } from '../ground.ts'
import { failures } from '../load.ts'
import type { Load } from '../load.ts'
import { endpointsFile, namesOf, policyFile, rulesOf } from '../policy-set.ts'
import type { EndpointRules } from '../policy-set.ts'
import { measure } from '../rounds.ts'
import type { Contender, Sample } from '../rounds.ts'
import { row } from '../rows.ts'
import type { Row, Series } from '../rows.ts'
import { startAgent } from '../subjects.ts'
import type { Agent } from '../subjects.ts'

const FILE = 'patterns.yaml'
/** A change must be in force in under a second; after this it counts as never. */
const PATIENCE_MS = 5000
/** The longest wait of a round is that of one moment: where others use the machine too, it is theirs in every third round or so. */
const ROUNDS_EACH = 2

/** The whole policy; in another version a tenth of all patterns is another. */
const version = (endpoints: number, patterns: number, n: number): EndpointRules[] =>
  Array.from({ length: endpoints }, (_, i) => rulesOf(`ep-${i}`, patterns, `v${n}`))

/** Names of patterns that are the same in every version, so that no query is rightly refused. */
function lastingNames(rules: EndpointRules, mark: string, count: number): string[] {
  const lasting = (list: readonly string[]): string[] => list.filter((pattern) => !pattern.includes(mark))
  const { endpoint, names, stars, doubleStars } = rules
  return namesOf({ endpoint, names: lasting(names), stars: lasting(stars), doubleStars: lasting(doubleStars) }, count)
}

interface Reloads {
  /** Milliseconds from the rename of the file to the first answer that only the new version allows. */
  readonly inForceMs: number[]
  missed: number
}

function write(agent: Agent, text: string): void {
  writeFileSync(join(agent.policyDirectory, '.next'), text)
  renameSync(join(agent.policyDirectory, '.next'), join(agent.policyDirectory, FILE))
}

/** Writes a new version each second while `busy`. Nobody asks when it is in force: a dig a look would be a load of its own. */
async function reloadEachSecond(agent: Agent, texts: readonly string[], busy: () => boolean): Promise<void> {
  for (const text of texts) {
    if (!busy()) break
    const started = performance.now()
    write(agent, text)
    await sleep(Math.max(0, 1000 - (performance.now() - started)))
  }
}

/** The same, and asks until each version is in force. */
async function timeReloads(
  context: Context,
  agent: Agent,
  texts: readonly string[],
  busy: () => boolean,
): Promise<Reloads> {
  const reloads: Reloads = { inForceMs: [], missed: 0 }
  for (const [n, text] of texts.entries()) {
    if (!busy()) break
    const started = performance.now()
    write(agent, text)
    const written = performance.now()
    if (await allowed(context, `n9v${n + 1}.ep-0.bench.test`)) reloads.inForceMs.push(performance.now() - written)
    else reloads.missed++
    await sleep(Math.max(0, 1000 - (performance.now() - started)))
  }
  return reloads
}

/** Asks from the first pod until the answer is an address. */
async function allowed(context: Context, name: string): Promise<boolean> {
  const end = performance.now() + PATIENCE_MS
  const command = ['dig', '-b', '172.20.1.1', '+short', '+time=1', '+tries=1', `@${UPSTREAM}`, name]
  while (performance.now() < end) {
    const { stdout } = await run(context.stage.ground.inside('gated', command))
    if (/^10\./.test(stdout)) return true
    await sleep(20)
  }
  return false
}

const take = {
  p50: (s: Sample) => s.report.wait.p50,
  p99: (s: Sample) => s.report.wait.p99,
  p999: (s: Sample) => s.report.wait.p999,
  max: (s: Sample) => s.report.wait.max,
  failed: (s: Sample) => failures(s.report),
} as const

/** Query latency while ten thousand patterns are read, compiled and swapped each second, and while nothing is. */
export async function reload(context: Context): Promise<Row[]> {
  const { sizes, stage, dnsdist, upstream } = context
  const endpoints = Math.ceil(sizes.reloadPatterns / sizes.patterns)
  const first = version(endpoints, sizes.patterns, 0)
  const files = {
    policies: { [FILE]: policyFile(first) },
    endpoints: endpointsFile(first.map((r) => r.endpoint)),
  }
  const texts = Array.from({ length: Math.ceil(sizes.reloadSeconds) + 1 }, (_, i) =>
    policyFile(version(endpoints, sizes.patterns, i + 1)),
  )
  const pairs = first
    .slice(0, sizes.pods)
    .flatMap((r, i) => lastingNames(r, 'v0', sizes.namesPerPod).map((name) => [i, name] as const))
  const agent = await startAgent(stage, files)
  try {
    const load: Load = { label: '5,000/s', rate: 5000, seconds: sizes.reloadSeconds }
    const all = [
      contender(context, 'sekisho, reloading', agent, pairs),
      contender(context, 'sekisho, at rest', agent, pairs),
      contender(context, 'dnsdist', dnsdist, pairs),
      contender(context, 'direct', upstream, pairs),
    ]
    for (const c of all) await measure(context.field, c, { ...load, seconds: 30, count: pairs.length })
    return await compare(context, agent, all, load, texts)
  } finally {
    await agent.stop()
  }
}

/** How long versions take to be in force, under the same load; what it waits meanwhile is not looked at. */
async function underLoad(
  context: Context,
  agent: Agent,
  contenders: readonly Contender[],
  load: Load,
  texts: readonly string[],
): Promise<Reloads> {
  const [reloading] = contenders
  if (reloading === undefined) throw new Error('nobody reloads')
  context.field.progress.step('until a version is in force')
  let busy = true
  const work = measure(context.field, reloading, load).finally(() => (busy = false))
  const reloads = await timeReloads(context, agent, texts, () => busy)
  await work
  return reloads
}

async function compare(
  context: Context,
  agent: Agent,
  contenders: readonly Contender[],
  load: Load,
  texts: readonly string[],
): Promise<Row[]> {
  const samples = new Map<string, Sample[]>(contenders.map((c) => [c.label, []]))
  const count = context.sizes.rounds * ROUNDS_EACH
  for (let n = 0; n < count; n++) {
    for (const c of contenders) {
      context.field.progress.step(`${c.label}, round ${n + 1} of ${count}`)
      let busy = true
      const work = measure(context.field, c, load).finally(() => (busy = false))
      const reloads = c.label.endsWith('reloading') ? reloadEachSecond(agent, texts, () => busy) : undefined
      samples.get(c.label)?.push(await work)
      await reloads
    }
  }
  const { inForceMs: inForce, missed } = await underLoad(context, agent, contenders, load, texts)
  if (inForce.length === 0) throw new Error('no reload came into force')
  const series = (label: string, of: (s: Sample) => number): Series => ({
    subject: label,
    values: samples.get(label)?.map(of) ?? [],
  })
  const figures = [
    ['p50', 'µs', take.p50],
    ['p99', 'µs', take.p99],
    ['p99.9', 'µs', take.p999],
    ['max', 'µs', take.max],
  ] as const
  const wait = figures.flatMap(([name, unit, of]) =>
    contenders
      .slice(0, 3)
      .map((c) =>
        row(
          `wait ${name}, 5,000/s`,
          unit,
          series(c.label, of),
          series(c.label === 'dnsdist' ? 'direct' : 'dnsdist', of),
        ),
      ),
  )
  // By round: what one round has of others' work, its reloads and its rest have alike.
  const most = (label: string): number[] => samples.get(label)?.map(take.max) ?? []
  const rest = most('sekisho, at rest')
  const excess = {
    subject: 'sekisho, reloading',
    values: most('sekisho, reloading').map((value, n) => value - (rest[n] ?? Number.NaN)),
  }
  const failed = contenders.map((c) => row('failed queries', 'queries', series(c.label, take.failed)))
  const cpu = row(
    'CPU a query, 5,000/s',
    'µs',
    series('sekisho, reloading', (s) => s.subjectUs),
    series('sekisho, at rest', (s) => s.subjectUs),
  )
  const own = (values: number[]): Series => ({ subject: 'sekisho, reloading', values })
  return [
    ...wait,
    row('longest wait beyond that at rest', 'µs', excess),
    ...failed,
    cpu,
    row('file written to policy in force', 'ms', own(inForce)),
    row('reloads not in force after 5 s', 'reloads', own([missed])),
  ]
}

/**
 * The benchmarks. `node bench/run.ts [--smoke] [--peers-only] [--only NAME,NAME] [--out DIR]`.
 * Needs root: the traffic stays in network namespaces that the run makes and removes. Exit 1 when a scenario failed.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Processes } from '../lab/processes.ts'
import { run, runSync } from '../lab/run.ts'
import { FULL, SMOKE, standardFiles } from './context.ts'
import type { Context } from './context.ts'
import { ground, raise, raze } from './ground.ts'
import { writeMachine } from './machine.ts'
import { Progress } from './progress.ts'
import { RESULTS, writeRows } from './rows.ts'
import { SCENARIOS } from './scenarios.ts'
import { startAgent, startDnsdist, startUpstream } from './subjects.ts'
import type { Stage } from './subjects.ts'

const { values: options } = parseArgs({
  options: {
    smoke: { type: 'boolean', default: false },
    'peers-only': { type: 'boolean', default: false },
    only: { type: 'string' },
    out: { type: 'string' },
  },
})
const CHECKOUT = `file://${join(import.meta.dirname, '..')}/`
const scratch = join(import.meta.dirname, '../build/bench')
const sizes = options.smoke ? SMOKE : FULL
const out = options.out ?? (options.smoke ? join(scratch, 'smoke') : RESULTS)
const only = options.only?.split(',')
const chosen = SCENARIOS.filter((s) => only?.includes(s.name) ?? (!options.smoke || s.smoke !== false))
const unknown = only?.filter((name) => !SCENARIOS.some((s) => s.name === name)) ?? []
if (unknown.length > 0) {
  console.error(`no scenario ${unknown.join(', ')}; there are ${SCENARIOS.map((s) => s.name).join(', ')}`)
  process.exit(64)
}

const prefix = `skb${process.pid}`
// One pod more for the endpoint with many rules; interfaces without a pod for the endpoints that only have a policy.
const field = ground(prefix, sizes.pods + 1, sizes.endpoints - sizes.pods)
const directory = join(scratch, `run-${process.pid}`)
const stage: Stage = { ground: field, processes: new Processes(join(directory, 'processes')), directory }
const progress = new Progress()

async function cleanUp(): Promise<void> {
  await stage.processes.stopAll()
  runSync(['umount', '-q', join(directory, 'bpf')])
  await raze(field)
  rmSync(directory, { recursive: true, force: true })
}

async function main(): Promise<boolean> {
  mkdirSync(directory, { recursive: true })
  const built = await run(['make', '-s', '-C', import.meta.dirname])
  if (built.code !== 0) throw new Error(built.stderr)
  progress.scenario(`ground: ${field.pods} pods a side, ${field.silent} endpoints without traffic`)
  await raise(field)
  const upstream = await startUpstream(stage)
  const dnsdist = await startDnsdist(stage)
  let good = true
  for (const policy of ['standard', 'own'] as const) {
    const scenarios = chosen.filter((s) => s.policy === policy)
    if (scenarios.length === 0) continue
    const peersOnly = options['peers-only']
    const base = { stage, sizes, upstream, dnsdist, peersOnly, field: { ground: field, upstream, progress } }
    const wanted = policy === 'standard' && !peersOnly
    if (wanted) progress.scenario(`agent with ${sizes.endpoints} endpoints of ${sizes.patterns} patterns`)
    const agent = wanted ? await startAgent(stage, standardFiles(sizes)) : undefined
    for (const scenario of scenarios) good = (await play(scenario, { ...base, agent })) && good
    await agent?.stop()
  }
  return good
}

async function play(scenario: (typeof SCENARIOS)[number], context: Context): Promise<boolean> {
  if (scenario.needsAgent && options['peers-only']) return true
  progress.scenario(`${scenario.name}: ${scenario.title}`)
  try {
    const result = await scenario.run(context)
    const rows = 'rows' in result ? result.rows : result
    writeRows(out, scenario.name, rows)
    // Symbols of JavaScript bear the path of the checkout.
    if ('text' in result) writeFileSync(join(out, `${scenario.name}.txt`), result.text.replaceAll(CHECKOUT, ''))
    return true
  } catch (error) {
    progress.scenario(
      `${scenario.name} FAILED: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    )
    return false
  }
}

let leaving = false
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    if (leaving) return
    leaving = true
    void cleanUp().finally(() => process.exit(130))
  })
}

let good = false
try {
  good = await main()
  if (good && only === undefined && !options['peers-only']) writeMachine(out)
} finally {
  if (!leaving) await cleanUp()
  progress.done()
}
progress.scenario(good ? `results in ${out}` : 'not everything was measured')
process.exitCode = good ? 0 : 1

/**
 * The demo: `node lab/demo.ts` (make demo) shows gate and seal on a real kernel, line by line; `--seal` only the latter;
 * `--down` ends one that was left up. Environment: KEEP=1 leaves it up, DEMO_JSON=FILE writes the lines as JSON (-: to standard output),
 * DEMO_UNTIL=TEXT shows no step after the first whose line has this text in it.
 * Exit status 0 when every line held, 1 when one did not, 2 when it could not be set up, 130 on Ctrl-C.
 */
import { writeFileSync } from 'node:fs'
import { Agent } from './agent.ts'
import { scenario } from './demo/scenario.ts'
import { policyFile } from './demo/steps.ts'
import type { Stage, Step } from './demo/steps.ts'
import { Screen } from './demo/screen.ts'
import type { Line } from './demo/screen.ts'
import { Lab } from './lab.ts'
import { sleep } from './run.ts'
import { Seal } from './seal.ts'
import { addSecondNode, FAR_ZONE, sealSettings } from './second-node.ts'
import { FAR_PODS, farPod, LAB_NODES, PODS } from './topology.ts'

/** Two demos at the same time need two prefixes. */
const PREFIX = process.env['DEMO_PREFIX'] ?? 'skd'
/** A closed connection keeps its address for as long as it is remembered: seconds here, so that nobody has to wait for it. */
const SETTINGS = { fqdn: { conntrackInterval: '500ms' }, datapath: { conntrack: { closeSeconds: 1 } } }
/** `--seal`: only what two nodes are needed for. */
const PART = process.argv[2] === '--seal' || process.env['DEMO_PART'] === 'seal' ? 'seal' : 'all'
const UNTIL = process.env['DEMO_UNTIL'] ?? ''
const keep = /^(1|yes|true)$/.test(process.env['KEEP'] ?? '')
const screen = new Screen()
const lines: Line[] = []
let ending = false
let current: Promise<unknown> = Promise.resolve()

async function show(step: string, run: () => Promise<string | { detail: string; ms: number }>): Promise<boolean> {
  if (ending) await new Promise(() => undefined)
  screen.begin(step)
  const started = performance.now()
  let line: Line
  try {
    const running = run()
    current = running.catch(() => undefined)
    const seen = await running
    line =
      typeof seen === 'string'
        ? { step, ok: true, ms: performance.now() - started, detail: seen }
        : { step, ok: true, ...seen }
  } catch (error) {
    line = {
      step,
      ok: false,
      ms: performance.now() - started,
      detail: error instanceof Error ? error.message : String(error),
    }
  }
  if (ending) await new Promise(() => undefined)
  lines.push({ ...line, ms: Math.round(line.ms * 10) / 10 })
  screen.end(line)
  return line.ok
}

async function setUp(): Promise<Stage | undefined> {
  screen.heading('The stage')
  let lab: Lab | undefined
  let agent: Agent | undefined
  let seal: Seal | undefined
  const built = await show('lab: pods, resolver, an internet of two prefixes', async () => {
    lab = await Lab.up({ prefix: PREFIX })
    return `namespaces ${PREFIX}-*, unbound and nsd, web servers on 198.18.0.0/15 and 2001:db8:100::/40`
  })
  if (!built || lab === undefined) return undefined
  const stage = lab
  const joined = await show('a second node, and the wire between the two', async () => {
    await addSecondNode(stage)
    const [, { prefixes }] = LAB_NODES
    return `${FAR_PODS.map(({ key }) => key).join(', ')} in ${prefixes.join(' and ')}; a sniffer on the wire`
  })
  if (!joined) return undefined
  const started = await show('agent with gate and seal: started, ready', async () => {
    const policies = Object.fromEntries(['client-a.yaml', 'client-b.yaml'].map((name) => [name, policyFile(name)]))
    const [here, there] = LAB_NODES
    agent = new Agent(stage, { policies, settings: { ...SETTINGS, ...sealSettings(stage, here) } })
    const far = new Agent(stage, { policies: {}, settings: sealSettings(stage, there), place: 'node2' })
    const ms = await agent.start()
    seal = await Seal.open(stage, agent, far)
    const { endpoints } = await agent.status()
    return { detail: `${endpoints.known} endpoints, ${endpoints.enforced} of them with policy`, ms }
  })
  return started && agent !== undefined && seal !== undefined ? { lab, agent, seal } : undefined
}

async function play(stage: Stage): Promise<void> {
  for (const { title, steps } of scenario(PART, keep)) {
    screen.heading(title)
    for (const step of steps) {
      await show(step.step, () => runStep(step, stage))
      if (UNTIL !== '' && step.step.includes(UNTIL)) return
    }
  }
}

const runStep = (step: Step, stage: Stage): ReturnType<Step['run']> => step.run(stage)

function howToEnter({ lab, agent }: Stage): void {
  const node = `nsenter --net=/run/netns/${lab.namespace('node')} --`
  screen.heading('It stays up. Look round:')
  for (const pod of PODS) screen.note(`  ${pod.padEnd(9)} ip netns exec ${lab.namespace(pod)} bash`)
  screen.note(`  query     ip netns exec ${lab.namespace('client-a')} dig www.shop.example`)
  screen.note(`  fetch     ip netns exec ${lab.namespace('client-a')} curl -v http://www.shop.example/`)
  screen.note(`  status    ${node} bin/sekisho status`)
  screen.note(`  seal      ${node} bin/sekisho wg status`)
  screen.note(`  wg why    ${node} bin/sekisho wg why far`)
  screen.note(`  new key   ${node} bin/sekisho wg rotate`)
  screen.note(`  far pod   ip netns exec ${lab.namespace('far-shop')} bash`)
  screen.note(`  far node  nsenter --net=/run/netns/${lab.namespace('node2')} -- bin/sekisho wg status`)
  screen.note(`  the wire  nsenter --net=/run/netns/${lab.namespace('wire')} -- tcpdump -nni br0`)
  screen.note(
    `  through   ip netns exec ${lab.namespace('client-a')} dig @${farPod('far-dns').address4} shop.${FAR_ZONE}`,
  )
  screen.note(`  why       ${node} bin/sekisho why --config ${agent.configFile} default/client-a www.evil.example`)
  screen.note(`  metrics   ${node} curl -s http://127.0.0.1:9876/metrics`)
  screen.note(`  policies  ${agent.policyDirectory}`)
  screen.note(`  log       ${lab.processes.logFile('agent')}`)
  screen.note('  end it    make demo-down')
}

async function demo(): Promise<number> {
  const stage = await setUp()
  if (stage !== undefined) await play(stage)
  await stage?.seal.close()
  const held = stage !== undefined && lines.every((line) => line.ok)
  const failed = stage !== undefined && !held
  if (failed && !keep) {
    screen.note(`\nThe agent's last words:\n${stage.agent.log().slice(-3000)}`)
    screen.note(`\nThose of the second node's:\n${stage.seal.far.log().slice(-1500)}`)
  }
  if (keep && stage !== undefined) {
    howToEnter(stage)
  } else {
    screen.heading('Down again')
    await show('lab: removed', async () => {
      await Lab.down(PREFIX)
      return 'no namespace, process or mount left'
    })
  }
  screen.table(lines)
  const file = process.env['DEMO_JSON']
  if (file === '-') screen.note(`@@DEMO ${JSON.stringify(lines)}`)
  else if (file !== undefined && file !== '') writeFileSync(file, JSON.stringify(lines, null, 2) + '\n')
  return stage === undefined ? 2 : lines.every((line) => line.ok) ? 0 : 1
}

/** The step in hand may still be building: what it makes after the first sweep goes with the second. */
async function tearDown(): Promise<void> {
  await Lab.down(PREFIX)
  await Promise.race([current, sleep(3000)])
  await Lab.down(PREFIX)
}

function endOnSignal(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // The second Ctrl-C finds no listener and ends it at once; `make demo-down` then sweeps.
    process.once(signal, () => {
      ending = true
      screen.note(`\n${signal}: taking the lab down`)
      void tearDown().finally(() => process.exit(130))
    })
  }
}

if (process.getuid?.() !== 0) {
  screen.note('The demo makes network namespaces and loads BPF programs: run it as root.')
  process.exitCode = 2
} else if (process.argv[2] === '--down') {
  await Lab.down(process.argv[3] ?? PREFIX)
} else {
  endOnSignal()
  process.exitCode = await demo()
}

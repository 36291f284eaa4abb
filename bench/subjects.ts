import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Processes } from '../lab/processes.ts'
import { must, run, waitFor } from '../lab/run.ts'
import { FORWARDER, UPSTREAM } from './ground.ts'
import type { Ground } from './ground.ts'
import { program } from './load.ts'
import type { Target } from './load.ts'

/** Something that answers pods. The process in `pid` is the one whose CPU counts. */
export interface Subject extends Target {
  readonly name: string
  readonly pid: number
}

export interface Stage {
  readonly ground: Ground
  readonly processes: Processes
  /** Scratch folder of this run. */
  readonly directory: string
}

function pidOf(stage: Stage, name: string): number {
  const pid = stage.processes.pid(name)
  if (pid === undefined) throw new Error(`${name} has ended:\n${stage.processes.log(name).slice(-2000)}`)
  return pid
}

/** Waits until `server` answers a question of the namespace; the same look that a pod would take. */
async function answers(stage: Stage, name: string, server: string): Promise<void> {
  const { ground } = stage
  await waitFor(`${name} to answer`, async () => {
    pidOf(stage, name)
    const { stdout } = await run(
      ground.inside('node', ['dig', '+short', '+time=1', '+tries=1', `@${server}`, 'ready.bench.test']),
    )
    return /^10\./.test(stdout) ? true : undefined
  })
}

/** The server that everything else asks, and asked directly the floor of what any forwarder can reach. */
export async function startUpstream(stage: Stage): Promise<Subject> {
  stage.processes.start('upstream', stage.ground.inside('upstream', [program('upstream'), UPSTREAM, '53', '300']))
  await answers(stage, 'upstream', UPSTREAM)
  return { name: 'direct', pid: pidOf(stage, 'upstream'), side: 'plain', server: UPSTREAM }
}

/** dnsdist as a plain forwarder: no cache, no rules, one listener, its own address. */
export async function startDnsdist(stage: Stage): Promise<Subject> {
  const file = join(stage.directory, 'dnsdist.conf')
  writeFileSync(
    file,
    [
      `setLocal('${FORWARDER}:53')`,
      `setACL({'0.0.0.0/0'})`,
      `newServer({address='${UPSTREAM}:53', healthCheckMode='up'})`,
      `setSecurityPollSuffix('')`,
      `setMaxTCPClientThreads(1)`,
      '',
    ].join('\n'),
  )
  stage.processes.start(
    'dnsdist',
    stage.ground.inside('node', ['dnsdist', '--supervised', '--disable-syslog', '-C', file]),
  )
  await answers(stage, 'dnsdist', FORWARDER)
  return { name: 'dnsdist', pid: pidOf(stage, 'dnsdist'), side: 'plain', server: FORWARDER }
}

export interface AgentFiles {
  readonly policies: Readonly<Record<string, string>>
  readonly endpoints: string
}

export interface Agent extends Subject {
  /** Folder of the policy files; a change is in force in under a second. */
  readonly policyDirectory: string
  /** Prometheus text of the agent. */
  metrics(): Promise<string>
  stop(): Promise<void>
}

const HTTP_PORT = 9876

/** Starts `bin/sekisho agent` in the node's namespace with a bpffs, state and pins of its own; returns when it is ready. */
export async function startAgent(stage: Stage, files: AgentFiles, env: NodeJS.ProcessEnv = {}): Promise<Agent> {
  const { ground, processes } = stage
  const home = join(stage.directory, 'agent')
  rmSync(home, { recursive: true, force: true })
  const policyDirectory = join(home, 'policy')
  const bpffs = join(stage.directory, 'bpf')
  mkdirSync(policyDirectory, { recursive: true })
  mkdirSync(bpffs, { recursive: true })
  for (const [name, text] of Object.entries(files.policies)) writeFileSync(join(policyDirectory, name), text)
  writeFileSync(join(home, 'endpoints.yaml'), files.endpoints)
  const config = join(home, 'agent.yaml')
  writeFileSync(config, agentConfig(home, bpffs))
  await must(['mount', '-t', 'bpf', 'bpf', bpffs])
  const command = [join(import.meta.dirname, '../bin/sekisho'), 'agent', '--config', config]
  processes.start('agent', ground.inside('node', command), { ...process.env, ...env })
  const get = async (path: string): Promise<string> =>
    must(ground.inside('node', ['curl', '-sSf', '--max-time', '5', `http://127.0.0.1:${HTTP_PORT}${path}`]))
  const stop = async (): Promise<void> => {
    await processes.stop('agent', 5000)
    await run(['umount', bpffs])
  }
  try {
    await waitFor('the agent to be ready', async () => (pidOf(stage, 'agent'), get('/readyz')), { timeoutMs: 60_000 })
    // It serves meanwhile, but putting programs on a thousand new interfaces takes half a minute of the main thread.
    await waitFor(
      'all endpoints to be attached',
      async () => (/without their interface/.test(await get('/v1/status')) ? undefined : true),
      { timeoutMs: 90_000, everyMs: 250 },
    )
  } catch (error) {
    const log = processes.log('agent').slice(-3000)
    await stop()
    throw new Error(`${String(error)}\n${log}`, { cause: error })
  }
  return {
    name: 'sekisho',
    pid: pidOf(stage, 'agent'),
    side: 'gated',
    server: UPSTREAM,
    policyDirectory,
    metrics: () => get('/metrics'),
    stop,
  }
}

/** Everything at its default but the places. */
function agentConfig(home: string, bpffs: string): string {
  return [
    'node: {name: bench}',
    `datapath: {bpffs: ${bpffs}, directory: bench, endpoints: ${join(home, 'endpoints.yaml')}}`,
    `policy: {paths: [${join(home, 'policy')}]}`,
    `state: {dir: ${join(home, 'state')}}`,
    `http: {port: ${HTTP_PORT}}`,
    '',
  ].join('\n')
}

import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { AgentView } from '../src/http/ports.ts'
import type { SealPeer, SealReport } from '../src/http/wg-ports.ts'
import { ROOT } from './lab.ts'
import type { Lab } from './lab.ts'
import { Metrics, parseMetrics } from './metrics.ts'
import { inside } from './namespaces.ts'
import { Hopeless, run, waitFor } from './run.ts'
import type { Outcome, RunOptions } from './run.ts'
import { agentName } from './second-node.ts'
import { PODS, SEARCH, spoke } from './topology.ts'
import type { LabNode } from './topology.ts'

type Settings = Readonly<Record<string, Readonly<Record<string, unknown>>>>

export interface AgentOptions {
  /** Policy files by file name. */
  readonly policies: Readonly<Record<string, string>>
  /** `node2`: an agent of the second node, without a gate. */
  readonly place?: LabNode['key']
  /** Settings over the lab's own, section by section. */
  readonly settings?: Settings
  readonly env?: Readonly<Record<string, string>>
  /** Another dns worker than src/worker.ts, from the checkout's root: for tests that need a wrong or a mortal one. */
  readonly workerEntry?: string
  /** Threads of the agent end when a file of their name is put into `deaths`. */
  readonly mortal?: boolean
}

export type StatusView = ReturnType<AgentView['status']>
export type PolicyStatusView = ReturnType<AgentView['policy']>
export type DropView = ReturnType<AgentView['drops']>[number]
export type EndpointView = ReturnType<AgentView['endpoints']>[number]

/** The real agent in the lab's node namespace, driven as an operator does it: files, signals, its command and its HTTP server. */
export class Agent {
  readonly lab: Lab
  readonly directory: string
  readonly #env: NodeJS.ProcessEnv
  readonly #program: readonly string[]
  readonly #place: LabNode['key']
  readonly #name: string

  constructor(lab: Lab, options: AgentOptions) {
    this.lab = lab
    this.#place = options.place ?? 'node'
    this.#name = agentName(this.#place)
    this.directory = join(lab.directory, this.#name)
    this.#env = { ...process.env, ...options.env }
    const other = (script: string, argument: string): string[] => [
      process.execPath,
      join(ROOT, 'test/support', script),
      argument,
      this.configFile,
    ]
    if (options.workerEntry !== undefined) this.#program = other('other-worker.ts', join(ROOT, options.workerEntry))
    else if (options.mortal === true) this.#program = other('mortal-threads.ts', this.deaths)
    else this.#program = [join(ROOT, 'bin/sekisho'), 'agent', '--config', this.configFile]
    mkdirSync(this.policyDirectory, { recursive: true })
    mkdirSync(this.deaths, { recursive: true })
    for (const [name, text] of Object.entries(options.policies)) this.writePolicy(name, text)
    const here = this.#place === 'node' ? endpoints() : []
    writeFileSync(join(this.directory, 'endpoints.yaml'), stringify({ endpoints: here }))
    this.configure(options.settings)
  }

  /** Folder of the pins; two agents on one machine need two. */
  get #pins(): string {
    return this.#place === 'node' ? 'sekisho' : 'sekisho2'
  }

  get policyDirectory(): string {
    return join(this.directory, 'policies')
  }

  get configFile(): string {
    return join(this.directory, 'config.yaml')
  }

  get deaths(): string {
    return join(this.directory, 'deaths')
  }

  get stateDirectory(): string {
    return join(this.directory, 'state')
  }

  configure(settings: Settings = {}): void {
    const gate: Settings = {
      datapath: { bpffs: this.lab.bpffs, endpoints: join(this.directory, 'endpoints.yaml') },
      policy: { paths: [this.policyDirectory] },
    }
    const none: Settings = { datapath: { mode: 'off', bpffs: this.lab.bpffs, directory: this.#pins } }
    const base: Settings = {
      node: { name: 'lab' },
      ...(this.#place === 'node' ? gate : none),
      dns: { searchDomains: SEARCH },
      fqdn: {},
      state: { dir: this.stateDirectory },
      log: { level: 'info' },
    }
    const keys = new Set([...Object.keys(base), ...Object.keys(settings)])
    const merged = Object.fromEntries(
      [...keys]
        .map((key) => [key, { ...base[key], ...settings[key] }] as const)
        .filter(([, v]) => Object.keys(v).length > 0),
    )
    writeFileSync(this.configFile, stringify(merged))
  }

  /** As an editor or a ConfigMap volume does it: whole, by rename. */
  writePolicy(name: string, text: string): void {
    const file = join(this.policyDirectory, name)
    // The name of the half-written file ends in nothing that is read as a policy.
    writeFileSync(`${file}.new`, text)
    renameSync(`${file}.new`, file)
  }

  readPolicy(name: string): string {
    return readFileSync(join(this.policyDirectory, name), 'utf8')
  }

  removePolicy(name: string): void {
    rmSync(join(this.policyDirectory, name))
  }

  /** Starts the agent and waits until /readyz says 200. Returns the milliseconds that took. */
  async start(timeoutMs = 40_000): Promise<number> {
    const started = performance.now()
    this.lab.processes.start(this.#name, inside(this.lab.namespace(this.#place), this.#program), this.#env)
    await waitFor(
      'the agent to be ready',
      async () => {
        if (this.pid === undefined)
          throw new Hopeless(`the agent ended while it started: ${this.lab.processes.ending(this.#name)}`)
        const { code, stdout } = await this.#get('/readyz')
        if (code === 200) return true
        throw new Error(stdout)
      },
      { timeoutMs, everyMs: 25 },
    ).catch((error: unknown) => {
      throw new Error(`${error instanceof Error ? error.message : String(error)}\n${this.log().slice(-4000)}`)
    })
    return performance.now() - started
  }

  get pid(): number | undefined {
    return this.lab.processes.pid(this.#name)
  }

  log(): string {
    return this.lab.processes.log(this.#name)
  }

  /** SIGKILL: no farewell. */
  async kill(): Promise<void> {
    this.lab.processes.signal(this.#name, 'SIGKILL')
    await waitFor('the agent to be gone', () => (this.pid === undefined ? true : undefined), { everyMs: 2 })
  }

  /** SIGTERM; resolves with the milliseconds until the process was gone. */
  stop(graceMs = 8000): Promise<number> {
    return this.lab.processes.stop(this.#name, graceMs)
  }

  /** `sekisho ARGS...` in the node's namespace. */
  command(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    return run(inside(this.lab.namespace(this.#place), [join(ROOT, 'bin/sekisho'), ...args]), {
      env: this.#env,
      ...options,
    })
  }

  async #get(path: string): Promise<{ code: number; stdout: string }> {
    const { stdout } = await this.lab.at(this.#place, [
      'curl',
      '-s',
      '-m',
      '3',
      '-w',
      '\n%{http_code}',
      `http://127.0.0.1:9876${path}`,
    ])
    const cut = stdout.lastIndexOf('\n')
    return { code: Number(stdout.slice(cut + 1)), stdout: stdout.slice(0, cut) }
  }

  /** Body of a path and its status code; code 0 when nothing listens. */
  get(path: string): Promise<{ code: number; stdout: string }> {
    return this.#get(path)
  }

  async #json<T>(path: string): Promise<T> {
    const { code, stdout } = await this.#get(path)
    if (code !== 200) throw new Error(`${path}: ${code} ${stdout}`)
    return JSON.parse(stdout) as T
  }

  /** How the seal stands. */
  seal(): Promise<SealReport> {
    return this.#json('/v1/wg')
  }

  async sealPeers(): Promise<readonly SealPeer[]> {
    return (await this.#json<{ peers: SealPeer[] }>('/v1/wg/peers')).peers
  }

  status(): Promise<StatusView> {
    return this.#json('/v1/status')
  }

  policy(): Promise<PolicyStatusView> {
    return this.#json('/v1/policy')
  }

  async endpoints(): Promise<readonly EndpointView[]> {
    return (await this.#json<{ endpoints: EndpointView[] }>('/v1/endpoints')).endpoints
  }

  async drops(limit = 1000): Promise<readonly DropView[]> {
    return (await this.#json<{ drops: DropView[] }>(`/v1/drops?limit=${limit}`)).drops
  }

  async metrics(): Promise<Metrics> {
    const { code, stdout } = await this.#get('/metrics')
    if (code !== 200) throw new Error(`/metrics: ${code}`)
    return new Metrics(parseMetrics(stdout))
  }

  /** Waits until no thread uses a generation below the policy's own, and returns it. */
  settled(atLeast = 1): Promise<number> {
    return waitFor('the policy to be in force', async () => {
      const { policyGeneration, workers } = await this.status()
      const settled = workers.every((worker) => worker.generation === null || worker.generation >= policyGeneration)
      return policyGeneration >= atLeast && settled ? policyGeneration : undefined
    })
  }

  /** True while pins of the agent stand in the lab's bpffs. */
  get pinned(): boolean {
    return existsSync(join(this.lab.bpffs, this.#pins))
  }
}

/** The three pods, and the resolver as the pod of kube-system it is in real life. */
function endpoints(): unknown[] {
  const pods = PODS.map((key) => ({ name: key, namespace: 'default', labels: { app: key }, key }))
  const dns = { name: 'kube-dns', namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' }, key: 'dns' as const }
  return [...pods, dns].map(({ name, namespace, labels, key }) => {
    const { address4, address6, link } = spoke(key)
    return { name, namespace, labels, addresses: [address4, address6], interface: link }
  })
}

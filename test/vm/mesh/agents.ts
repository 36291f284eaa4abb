/** The agents of the nodes: started in their namespaces, killed, asked over HTTP. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SealPeer, SealReport } from '../../../src/http/wg-ports.ts'
import { inside, run } from '../../support/datapath/in-namespace.ts'
import { Instrument } from './instrument.ts'
import type { Network, Node } from './network.ts'

// An import would also load what only browsers' code needs, which takes a second where every instruction is emulated.
const { Agent: Connections, request } = process.getBuiltinModule('node:http')
const LAUNCHER = join(import.meta.dirname, '../../../bin/sekisho')
const HTTP_PORT = 9876
const FIRST_DOOR = 21_000

export interface AgentOptions {
  /** Folder of configuration, state, logs and pins of all nodes. */
  readonly root: string
  /** Where the node publishes and reads. */
  readonly directory: (node: Node) => string
  readonly driver: 'kernel' | 'userspace'
  /** More settings of `wireguard`, or others than ours. */
  readonly wireguard?: (node: Node) => Readonly<Record<string, unknown>>
}

const isMounted = (path: string): boolean => readFileSync('/proc/self/mounts', 'utf8').includes(` ${path} `)

export type Target = 'off' | 'active' | 'strict'

export class Agents {
  readonly #network: Network
  readonly #options: AgentOptions
  readonly #running = new Map<Node, ChildProcess>()
  readonly #uids = new Map<Node, string>()
  readonly #finders = new Set<Node>()
  readonly #connections = new Connections({ keepAlive: true })
  #doors: Instrument | undefined

  constructor(network: Network, options: AgentOptions) {
    this.#network = network
    this.#options = options
  }

  folder(node: Node): string {
    return join(this.#options.root, node.name)
  }

  /** Another node of the same name from now on: what the orchestrator does that makes a machine anew. */
  rename(node: Node, uid: string): void {
    this.#uids.set(node, uid)
  }

  uid(node: Node): string {
    return this.#uids.get(node) ?? `uid-${node.name}`
  }

  /** Started again, its agent finds out which addresses the node has; otherwise the settings name them. */
  find(node: Node): void {
    this.#finders.add(node)
  }

  #configure(node: Node, target: Target): string {
    const folder = this.folder(node)
    const pins = join(folder, 'bpf')
    for (const path of [folder, pins, join(folder, 'state')]) mkdirSync(path, { recursive: true, mode: 0o700 })
    if (!isMounted(pins)) run('mount', '-t', 'bpf', 'bpf', pins)
    const file = join(folder, 'sekisho.yaml')
    const addresses = this.#finders.has(node) ? [] : node.addresses
    const config = {
      node: { name: node.name, uid: this.uid(node), addresses },
      datapath: { mode: 'off', bpffs: pins },
      state: { dir: join(folder, 'state') },
      http: { address: '127.0.0.1', port: HTTP_PORT },
      log: { level: 'debug' },
      wireguard: {
        mode: 'manage',
        driver: this.#options.driver,
        target,
        prefixes: node.prefixes,
        endpoints: addresses.slice(0, 1),
        quiet: '2s',
        directory: { kind: 'folder', path: this.#options.directory(node) },
        ...this.#options.wireguard?.(node),
      },
    }
    // YAML is a superset of JSON.
    writeFileSync(file, JSON.stringify(config, null, 2))
    return file
  }

  /** Starts the agent of the node; does not wait until it answers. */
  start(node: Node, target: Target): void {
    const file = this.#configure(node, target)
    const log = openSync(join(this.folder(node), 'log'), 'a')
    const [command = '', ...args] = inside(node.namespace, LAUNCHER, 'agent', '--config', file)
    const child = spawn(command, args, { stdio: ['ignore', log, log] })
    closeSync(log)
    this.#running.set(node, child)
    child.once('exit', () => {
      if (this.#running.get(node) === child) this.#running.delete(node)
    })
  }

  pid(node: Node): number {
    const pid = this.#running.get(node)?.pid
    if (pid === undefined) throw new Error(`the agent of ${node.name} does not run\n${this.log(node)}`)
    return pid
  }

  runs(node: Node): boolean {
    return this.#running.has(node)
  }

  /** The last lines that the agent wrote. */
  log(node: Node, lines = 15): string {
    const file = join(this.folder(node), 'log')
    if (!existsSync(file)) return 'no log'
    return readFileSync(file, 'utf8').trim().split('\n').slice(-lines).join('\n')
  }

  /** SIGKILL: as a crash would. SIGTERM: as an upgrade would. */
  async end(node: Node, signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    const child = this.#running.get(node)
    if (child === undefined) return
    this.#running.delete(node)
    if (child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill(signal)
    await exited
  }

  async endAll(): Promise<void> {
    for (const node of [...this.#running.keys()]) await this.end(node)
    this.#connections.destroy()
    await this.#doors?.end()
    for (const node of this.#network.nodes) {
      const pins = join(this.folder(node), 'bpf')
      if (isMounted(pins)) run('umount', pins)
    }
  }

  async #ask<T>(node: Node, path: string, body?: unknown): Promise<T> {
    if (this.#doors === undefined) {
      const names = this.#network.nodes.map(({ namespace }) => namespace)
      this.#doors = new Instrument('door', [String(HTTP_PORT), String(FIRST_DOOR), ...names])
      await this.#doors.heard()
    }
    const text = body === undefined ? undefined : JSON.stringify(body)
    return this.#exchange<T>(node, path, text)
  }

  async #exchange<T>(node: Node, path: string, text: string | undefined): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const asked = request(
        {
          host: '127.0.0.1',
          port: FIRST_DOOR + node.index - 1,
          path,
          method: text === undefined ? 'GET' : 'POST',
          agent: this.#connections,
          timeout: 10_000,
          headers:
            text === undefined
              ? {}
              : {
                  'content-type': 'application/json',
                  'content-length': Buffer.byteLength(text),
                  'x-sekisho-request': '1',
                },
        },
        (answer) => {
          let got = ''
          answer.setEncoding('utf8')
          answer.on('data', (chunk: string) => (got += chunk))
          answer.on('end', () => {
            if ((answer.statusCode ?? 500) >= 400) reject(new Error(`${path}: ${answer.statusCode} ${got}`))
            else resolve((got.startsWith('{') ? JSON.parse(got) : got) as T)
          })
        },
      )
      asked.on('timeout', () => asked.destroy(new Error(`${path} of ${node.name}: no answer`)))
      asked.on('error', (error: NodeJS.ErrnoException) => {
        // The agent closed a connection that had rested for long, in the moment in which it was used again.
        if (asked.reusedSocket && error.code === 'ECONNRESET') this.#exchange<T>(node, path, text).then(resolve, reject)
        else reject(error)
      })
      asked.end(text)
    })
  }

  async report(node: Node): Promise<SealReport> {
    return this.#ask<SealReport>(node, '/v1/wg')
  }

  async peers(node: Node): Promise<readonly SealPeer[]> {
    return (await this.#ask<{ peers: readonly SealPeer[] }>(node, '/v1/wg/peers?limit=100')).peers
  }

  /** As the orchestrator sees it; false while the agent does not answer. */
  async ready(node: Node): Promise<boolean> {
    return this.#ask(node, '/readyz').then(
      () => true,
      () => false,
    )
  }

  async metrics(node: Node): Promise<string> {
    return this.#ask<string>(node, '/metrics')
  }

  async rotate(node: Node, compromised = false): Promise<void> {
    await this.#ask(node, '/v1/wg/rotate', { compromised })
  }
}

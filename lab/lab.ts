import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { createNamespaces, destroyNamespaces, inside, insidePod, namespaceOf, writeResolvConf } from './namespaces.ts'
import { startNameservers } from './nameservers.ts'
import { Processes } from './processes.ts'
import { cleanSeals } from './second-node.ts'
import { must, run, runSync, waitFor } from './run.ts'
import type { Outcome, RunOptions } from './run.ts'
import { ODD4, ODD6, PODS } from './topology.ts'
import type { Place, PodKey } from './topology.ts'

export const ROOT = resolve(import.meta.dirname, '..')
const WORK = '/run/sekisho-lab'
const WEB_PORTS = ['80', '443', '8080']

export interface LabOptions {
  /** Begins every namespace's name; letters, digits and hyphens. */
  readonly prefix: string
  /** How many names `nNNNNNN.fresh.test` exist. */
  readonly freshCount?: number
}

/** Namespaces, servers and a bpffs of its own; everything under /run/sekisho-lab/PREFIX and gone after `down`. */
export class Lab {
  readonly prefix: string
  readonly directory: string
  readonly processes: Processes

  private constructor(prefix: string) {
    this.prefix = prefix
    this.directory = join(WORK, prefix)
    this.processes = new Processes(join(this.directory, 'processes'))
  }

  /** Builds it all; sweeps away first what an earlier lab of this prefix left. On failure nothing is left. */
  static async up({ prefix, freshCount = 2000 }: LabOptions): Promise<Lab> {
    await Lab.down(prefix)
    const lab = new Lab(prefix)
    try {
      for (const directory of ['bpf', 'agent']) mkdirSync(join(lab.directory, directory), { recursive: true })
      await createNamespaces(prefix)
      for (const pod of PODS) writeResolvConf(prefix, pod)
      await must(['mount', '-t', 'bpf', 'bpf', lab.bpffs])
      lab.processes.start('web', inside(lab.namespace('net'), [program('web'), ...WEB_PORTS]))
      lab.processes.start(
        'odd',
        inside(lab.namespace('odd'), [
          process.execPath,
          join(ROOT, 'lab/servers/odd.ts'),
          ODD4,
          ODD6,
          '--script',
          lab.oddScript,
        ]),
      )
      await startNameservers(prefix, join(lab.directory, 'dns'), lab.processes, freshCount)
      await lab.serversReady()
      return lab
    } catch (error) {
      await Lab.down(prefix)
      throw error
    }
  }

  /** Takes hold of a lab that is up. */
  static open(prefix: string): Lab | undefined {
    return existsSync(`/run/netns/${namespaceOf(prefix, 'node')}`) ? new Lab(prefix) : undefined
  }

  /** Removes everything of this prefix, whatever state it is in. */
  static async down(prefix: string): Promise<void> {
    const directory = join(WORK, prefix)
    if (existsSync(directory)) {
      await new Processes(join(directory, 'processes')).stopAll()
      await cleanSeals(prefix, directory)
    }
    await destroyNamespaces(prefix)
    if (existsSync(directory)) {
      await run(['umount', join(directory, 'bpf')])
      rmSync(directory, { recursive: true, force: true })
    }
  }

  get bpffs(): string {
    return join(this.directory, 'bpf')
  }

  /** What the odd server answers (see lab/servers/odd.ts); read by it at each query. */
  get oddScript(): string {
    return join(this.directory, 'odd.json')
  }

  namespace(key: Place): string {
    return namespaceOf(this.prefix, key)
  }

  /** Runs in a pod, with the pod's resolv.conf. */
  inPod(pod: PodKey, command: readonly string[], options?: RunOptions): Promise<Outcome> {
    return run(insidePod(this.namespace(pod), command), options)
  }

  /** Runs one of the lab's own programs in a pod. */
  program(pod: Place, name: string, args: readonly (string | number)[], options?: RunOptions): Promise<Outcome> {
    return run(inside(this.namespace(pod), [program(name), ...args.map(String)]), options)
  }

  /** Runs in a namespace, with the machine's file systems. */
  at(key: Place, command: readonly string[], options?: RunOptions): Promise<Outcome> {
    return run(inside(this.namespace(key), command), options)
  }

  setResolvers(pod: PodKey, servers: readonly string[], options?: string): void {
    writeResolvConf(this.prefix, pod, servers, options)
  }

  writeOddScript(script: unknown): void {
    writeFileSync(this.oddScript, JSON.stringify(script))
  }

  /** A counter of the kernel (`nstat -az`), such as TcpRetransSegs, in one namespace since it was made. */
  async counter(key: Place, name: string): Promise<number> {
    const { stdout } = await this.at(key, ['nstat', '-asz', name])
    const line = stdout.split('\n').find((l) => l.startsWith(name))
    if (line === undefined) throw new Error(`nstat knows no ${name}`)
    return Number(line.trim().split(/\s+/)[1])
  }

  /** Last resort of a process that is being ended: takes the namespaces and the mount away without waiting for anything. */
  abandon(): void {
    runSync([process.execPath, join(ROOT, 'lab/demo.ts'), '--down', this.prefix])
  }

  private async serversReady(): Promise<void> {
    await waitFor('the servers to listen', async () => {
      const odd = await this.at('odd', ['dig', `@${ODD4}`, '+short', '+tries=1', '+time=1', 'a.odd.example'])
      const web = await this.at('net', ['curl', '-s', '-o', '/dev/null', '-m', '1', 'http://198.18.1.1/'])
      return odd.stdout.trim() === '198.18.30.1' && web.code === 0 ? true : undefined
    })
  }
}

export const program = (name: string): string => join(ROOT, 'build/lab', name)

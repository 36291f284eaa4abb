import { afterAll, beforeAll, onTestFailed } from 'vitest'
import { join } from 'node:path'
import { Agent } from '../../lab/agent.ts'
import type { AgentOptions } from '../../lab/agent.ts'
import { Lab, ROOT } from '../../lab/lab.ts'
import type { LabOptions } from '../../lab/lab.ts'
import type { Outcome } from '../../lab/run.ts'
import { inside } from '../../lab/namespaces.ts'
import type { PodKey } from '../../lab/topology.ts'
import { spawn } from 'node:child_process'

export interface Site {
  readonly lab: Lab
  readonly agent: Agent
}

/**
 * A lab with a running agent for one test file; taken down after it. The accessor throws before `beforeAll` has run.
 * `prefix` must be the file's own.
 */
export function useSite(options: LabOptions & AgentOptions): () => Site {
  let site: Site | undefined
  beforeAll(async () => {
    if (process.getuid?.() !== 0)
      throw new Error('end-to-end tests make namespaces and load BPF programs: run them as root')
    const lab = await Lab.up(options)
    try {
      const agent = new Agent(lab, options)
      await agent.start()
      await agent.settled()
      site = { lab, agent }
    } catch (error) {
      await Lab.down(options.prefix)
      throw error
    }
  })
  afterAll(async () => {
    await Lab.down(options.prefix)
  })
  return () => {
    if (site === undefined) throw new Error('the lab is not up')
    return site
  }
}

/** Prints the end of the agent's log when the running test fails. */
export function logOnFailure({ agent }: Site): void {
  onTestFailed(() => {
    console.error(`--- the agent's log, its end ---\n${agent.log().slice(-6000)}`)
  })
}

/** A program in the background that ends when its standard input does. */
export interface Background {
  /** Standard error so far. */
  stderr(): string
  /** Closes its input and waits for what it has to say. */
  end(): Promise<Outcome>
}

/** Starts one of the lab's programs in a pod. */
export function background(lab: Lab, pod: PodKey, name: string, args: readonly (string | number)[]): Background {
  const [file = '', ...rest] = inside(lab.namespace(pod), [join(ROOT, 'build/lab', name), ...args.map(String)])
  const started = performance.now()
  const child = spawn(file, rest, { stdio: ['pipe', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const closed = new Promise<Outcome>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => {
      resolve({ code: code ?? 128, stdout, stderr, ms: performance.now() - started })
    })
  })
  return {
    stderr: () => stderr,
    end: () => {
      child.stdin.end()
      return closed
    },
  }
}

/** lab/clients/udp.py in a pod; the word it prints. */
export async function udp(lab: Lab, pod: PodKey, args: readonly (string | number)[]): Promise<string> {
  const done = await lab.inPod(pod, ['python3', join(ROOT, 'lab/clients/udp.py'), ...args.map(String)])
  if (done.code !== 0) throw new Error(done.stderr)
  return done.stdout.trim()
}

/** Python source in a pod, as an application there would run. */
export const python = (lab: Lab, pod: PodKey, source: string): Promise<Outcome> =>
  lab.inPod(pod, ['python3', '-c', source])

/** Sends messages (hex) over connected sockets; one line each comes back: hex, "-", "refused" or "closed". */
export async function exchange(
  lab: Lab,
  pod: PodKey,
  server: string,
  messages: readonly string[],
  { tcp = false, timeoutMs = 400 }: { tcp?: boolean; timeoutMs?: number } = {},
): Promise<string[]> {
  const args = ['-t', timeoutMs, ...(tcp ? ['-T'] : []), server, 53]
  const done = await lab.program(pod, 'connected', args, { input: messages.join('\n') + '\n', timeoutMs: 60_000 })
  if (done.code !== 0) throw new Error(`connected: exit ${done.code} ${done.stderr}`)
  return done.stdout.trimEnd().split('\n')
}

/** How many of these addresses accept a connection, one SYN each. */
export async function reach(
  lab: Lab,
  pod: PodKey,
  addresses: readonly string[],
  port = 80,
  timeoutMs = 300,
): Promise<number> {
  let total = 0
  for (let i = 0; i < addresses.length; i += 1000) {
    const pairs = addresses.slice(i, i + 1000).flatMap((address) => [address, port])
    const done = await lab.program(pod, 'prober', ['-n', 1, '-t', timeoutMs, ...pairs], { timeoutMs: 120_000 })
    total += (JSON.parse(done.stdout) as { connected: number }).connected
  }
  return total
}

/** A program's one JSON line. */
export const json = <T>(done: Outcome): T => {
  if (done.code !== 0) throw new Error(`exit ${done.code}: ${done.stderr}`)
  return JSON.parse(done.stdout) as T
}

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'

/** Runs a command to its end; throws with what it wrote when it fails. */
export const run = (...command: readonly string[]): string =>
  execFileSync(command[0] ?? '', command.slice(1), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

/** A command line that runs in a network namespace and no other new one: bpffs mounts stay the same. */
export const inside = (namespace: string, ...command: readonly string[]): string[] => [
  'nsenter',
  `--net=/run/netns/${namespace}`,
  '--',
  ...command,
]

interface Reply {
  readonly id: number
  readonly value?: unknown
  readonly error?: { readonly message: string; readonly code?: string; readonly hint?: string }
}

/** A script of ours in a namespace; functions it serves are called over the IPC channel. */
export class Peer {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  #next = 1

  constructor(namespace: string, script: string) {
    const [command = '', ...args] = inside(namespace, process.execPath, script)
    this.#child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.#child.on('message', (reply: Reply) => {
      const waiting = this.#waiting.get(reply.id)
      this.#waiting.delete(reply.id)
      if (reply.error === undefined) waiting?.resolve(reply.value)
      else waiting?.reject(Object.assign(new Error(reply.error.message), reply.error))
    })
    this.#child.on('exit', (code) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the peer exited (${code})`))
      this.#waiting.clear()
    })
  }

  async call<T = unknown>(name: string, ...args: readonly unknown[]): Promise<T> {
    const id = this.#next++
    const value = await new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#child.send({ id, name, args })
    })
    return value as T
  }

  /** `SIGKILL`: as a crash would. */
  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.kill(signal)
    await exited
  }
}

/** The other end of `Peer`: serves functions until the parent goes. */
export function serve(functions: Readonly<Record<string, (...args: never[]) => unknown>>): void {
  process.on('message', (request: { id: number; name: string; args: never[] }) => {
    const { id, name, args } = request
    void (async () => {
      try {
        const act = functions[name]
        if (act === undefined) throw new Error(`no function ${name}`)
        process.send?.({ id, value: await act(...args) })
      } catch (error) {
        const { message, code, hint } = error as Error & { code?: string; hint?: string }
        process.send?.({ id, error: { message, code, hint } })
      }
    })()
  })
  process.on('disconnect', () => process.exit(0))
}

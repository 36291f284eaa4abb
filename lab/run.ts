import { execFile, spawnSync } from 'node:child_process'

/** How much longer than on a machine of its own everything may take: in an emulated one it does. */
export const SLOW = Number(process.env['LAB_SLOW'] ?? 1)

/** What a program left behind. `code` 124 means that it was ended because its time was over. */
export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
  /** Wall time in milliseconds. */
  readonly ms: number
}

export interface RunOptions {
  readonly timeoutMs?: number
  readonly input?: string
  readonly env?: NodeJS.ProcessEnv
}

/** Runs a program to its end; never rejects for its exit status. Rejects when it cannot be started. */
export function run(command: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const [file, ...args] = command
  if (file === undefined) throw new Error('no command')
  const started = performance.now()
  return new Promise((resolve, reject) => {
    const child = execFile(
      file,
      args,
      {
        timeout: options.timeoutMs ?? 30_000 * SLOW,
        killSignal: 'SIGKILL',
        maxBuffer: 64 << 20,
        env: options.env ?? process.env,
      },
      (error, stdout, stderr) => {
        const ms = performance.now() - started
        if (error === null) resolve({ code: 0, stdout, stderr, ms })
        else if (typeof error.code === 'string') reject(new Error(`${file}: ${error.code}`, { cause: error }))
        else resolve({ code: error.killed === true ? 124 : (error.code ?? 128), stdout, stderr, ms })
      },
    )
    // A program that ends before it has read its input breaks the pipe; its exit status says what happened.
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(options.input ?? '')
  })
}

/** As `run`; throws with the program's own words when the exit status is not 0. */
export async function must(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const done = await run(command, options)
  if (done.code !== 0) throw new Error(`${command.join(' ')}: exit ${done.code}\n${done.stderr}${done.stdout}`)
  return done.stdout
}

/** For the last breath of a process, where nothing can be awaited. Failure is ignored. */
export function runSync(command: readonly string[]): void {
  const [file, ...args] = command
  if (file !== undefined) spawnSync(file, args, { stdio: 'ignore', timeout: 10_000 })
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Thrown by an `ask` that knows that waiting longer is of no use. */
export class Hopeless extends Error {}

/**
 * Asks until the answer is not undefined. Throws with `what` after `timeoutMs`.
 * `ask` may reject: the last reason is part of the message.
 */
export async function waitFor<T>(
  what: string,
  ask: () => T | undefined | Promise<T | undefined>,
  { timeoutMs = 10_000, everyMs = 20 }: { timeoutMs?: number; everyMs?: number } = {},
): Promise<T> {
  const end = performance.now() + timeoutMs * SLOW
  let last = ''
  for (;;) {
    try {
      const value = await ask()
      if (value !== undefined) return value
    } catch (error) {
      if (error instanceof Hopeless) throw error
      last = error instanceof Error ? `: ${error.message}` : ''
    }
    if (performance.now() > end) throw new Error(`waited ${timeoutMs * SLOW} ms for ${what}${last}`)
    await sleep(everyMs)
  }
}

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdirSync, openSync, closeSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sleep } from './run.ts'

/** Field 22 of /proc/PID/stat (proc(5)): with the pid it names a process for ever, a pid alone may be somebody else's by now. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? undefined : fields[19]
  } catch {
    return undefined
  }
}

/** Processes of one lab, each with a file `NAME.pid` ("pid start-time") so that a later run can end them too. */
export class Processes {
  readonly #directory: string
  readonly #endings = new Map<string, string>()

  constructor(directory: string) {
    this.#directory = directory
    mkdirSync(directory, { recursive: true })
  }

  /** Starts in a session of its own, output to `NAME.log` in the directory. Returns the child, which does not hold the parent. */
  start(name: string, command: readonly string[], env: NodeJS.ProcessEnv = process.env): ChildProcess {
    const [file, ...args] = command
    if (file === undefined) throw new Error('no command')
    const log = openSync(this.logFile(name), 'a')
    const child = spawn(file, args, { stdio: ['ignore', log, log], detached: true, env })
    closeSync(log)
    child.on('error', () => undefined)
    this.#endings.delete(name)
    child.on('exit', (code, signal) => this.#endings.set(name, signal ?? `exit status ${code}`))
    child.unref()
    if (child.pid === undefined) throw new Error(`${file} does not start`)
    writeFileSync(this.#pidFile(name), `${child.pid} ${startTime(child.pid) ?? ''}\n`)
    return child
  }

  logFile(name: string): string {
    return join(this.#directory, `${name}.log`)
  }

  log(name: string): string {
    try {
      return readFileSync(this.logFile(name), 'utf8')
    } catch {
      return ''
    }
  }

  /** The pid while the process lives. */
  pid(name: string): number | undefined {
    try {
      const [pid, started] = readFileSync(this.#pidFile(name), 'utf8').trim().split(' ')
      return pid !== undefined && started !== undefined && started !== '' && startTime(Number(pid)) === started
        ? Number(pid)
        : undefined
    } catch {
      return undefined
    }
  }

  /** How the last process of this name ended, of those that this program started. */
  ending(name: string): string {
    return this.#endings.get(name) ?? 'how is not known'
  }

  /** Sends one signal; false when there is no such process. */
  signal(name: string, signal: NodeJS.Signals): boolean {
    const pid = this.pid(name)
    if (pid === undefined) return false
    process.kill(pid, signal)
    return true
  }

  /** SIGTERM, and SIGKILL after `graceMs`. Returns the milliseconds it took to end. */
  async stop(name: string, graceMs = 5000): Promise<number> {
    const started = performance.now()
    this.signal(name, 'SIGTERM')
    while (this.pid(name) !== undefined) {
      if (performance.now() - started > graceMs) this.signal(name, 'SIGKILL')
      await sleep(5)
    }
    rmSync(this.#pidFile(name), { force: true })
    return performance.now() - started
  }

  async stopAll(graceMs = 2000): Promise<void> {
    const names = readdirSync(this.#directory)
      .filter((file) => file.endsWith('.pid'))
      .map((file) => file.slice(0, -4))
    await Promise.all(names.map((name) => this.stop(name, graceMs)))
  }

  #pidFile(name: string): string {
    return join(this.#directory, `${name}.pid`)
  }
}

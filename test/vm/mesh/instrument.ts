/** A program of ours that is told one command a line, and answers each with one line of JSON. */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'

const PROGRAMS = join(import.meta.dirname, '../../../build/vm/programs')

interface Waiting {
  readonly resolve: (answer: unknown) => void
  readonly reject: (error: Error) => void
}

export class Instrument {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>
  readonly #waiting: Waiting[] = []
  readonly #name: string
  #over = false

  constructor(name: string, args: readonly string[] = []) {
    this.#name = name
    this.#child = spawn(join(PROGRAMS, name), args, { stdio: ['pipe', 'pipe', 'inherit'] })
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#answered(line))
    this.#child.stdin.on('error', () => undefined)
    const end = (why: string): void => {
      this.#over = true
      for (const { reject } of this.#waiting.splice(0)) reject(new Error(`${name} ${why}`))
    }
    this.#child.once('error', (error) => end(error.message))
    this.#child.once('exit', (status, signal) => end(`ended (${status ?? signal})`))
  }

  #answered(line: string): void {
    const waiting = this.#waiting.shift()
    const answer = JSON.parse(line) as { readonly error?: string }
    if (answer.error === undefined) waiting?.resolve(answer)
    else waiting?.reject(new Error(`${this.#name}: ${answer.error}`))
  }

  /** The next line that nobody waits for yet: what the program says by itself. */
  async heard<T>(): Promise<T> {
    if (this.#over) throw new Error(`${this.#name} has ended`)
    return (await new Promise<unknown>((resolve, reject) => this.#waiting.push({ resolve, reject }))) as T
  }

  async ask<T>(command: string): Promise<T> {
    const answer = this.heard<T>()
    this.#child.stdin.write(`${command}\n`)
    return answer
  }

  async end(): Promise<void> {
    if (this.#over) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }
}

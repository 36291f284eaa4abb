/** The demo as a newcomer runs it: its ends that are not the good one, and what is left on the machine then. */
import { spawn } from 'node:child_process'
import type { ChildProcessByStdio } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { afterAll, describe, expect, it } from 'vitest'
import { curl } from '../../lab/ask.ts'
import { Lab, ROOT } from '../../lab/lab.ts'
import { sleep, waitFor } from '../../lab/run.ts'
import { namespacesOf, processesIn, processesOfGroup, remains } from '../support/remains.ts'

/** A demo under way, in a process group of its own as a shell starts it. */
class Demo {
  readonly #child: ChildProcessByStdio<null, Readable, Readable>
  readonly #ended: Promise<number | null>
  output = ''

  constructor(command: readonly [string, ...string[]], env: Readonly<Record<string, string>>) {
    const [file, ...args] = command
    this.#child = spawn(file, args, {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, KEEP: '', DEMO_JSON: '', ...env },
    })
    for (const stream of [this.#child.stdout, this.#child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (this.output += text))
    this.#ended = new Promise((resolve) => this.#child.once('close', resolve))
  }

  /** Waits for a line of the screen. */
  async line(text: string): Promise<void> {
    await waitFor(
      `a line with "${text}"`,
      () => {
        if (this.#child.exitCode !== null) throw new Error(`it has ended:\n${this.output}`)
        return this.output.includes(text) ? true : undefined
      },
      { timeoutMs: 60_000 },
    )
  }

  /** What it started and did not put into a session of its own: the instruments. */
  group(): string[] {
    return processesOfGroup(this.#child.pid ?? 0).map(({ command }) => command)
  }

  /** What Ctrl-C does: everybody in the group hears it. */
  interrupt(): void {
    process.kill(-(this.#child.pid ?? 0), 'SIGINT')
  }

  /** The exit status. */
  ended(): Promise<number | null> {
    return this.#ended
  }
}

const start = (env: Readonly<Record<string, string>>): Demo => new Demo([process.execPath, 'lab/demo.ts'], env)
const PROVEN = 'both prove each other on two slots'

describe.concurrent('the demo', () => {
  // Devices of userspace go by the first eight letters.
  const ONE = 'ske1'
  const TWO = 'ske2'
  afterAll(async () => {
    for (const prefix of [ONE, TWO]) await Lab.down(prefix)
  })

  it('is gone after Ctrl-C in the middle of the seal; one right after it stands, stays up with KEEP=1, and ends when told to', async () => {
    const env = { DEMO_PREFIX: ONE, DEMO_PART: 'seal' }
    const cut = start(env)
    await cut.line('denied name of a pod there')
    // The next line takes seconds: load, and a change of key on each node.
    const namespaces = namespacesOf(ONE)
    expect(namespaces.size).toBeGreaterThanOrEqual(12)
    await waitFor('the load', () => (cut.group().some((one) => one.includes('/traffic')) ? true : undefined))
    const running = processesIn(namespaces).map(({ command }) => command)
    for (const program of ['wireguard-go', 'unbound', 'src/main.ts'])
      expect(running.some((command) => command.includes(program))).toBe(true)
    await sleep(1500)
    cut.interrupt()
    expect(await cut.ended()).toBe(130)
    expect(cut.output).not.toContain('keys of both nodes changed')
    expect([await remains(ONE), processesIn(namespaces), cut.group()]).toEqual([[], [], []])

    const kept = start({ ...env, KEEP: '1', DEMO_UNTIL: PROVEN })
    expect([await kept.ended(), kept.output]).toEqual([0, expect.stringContaining('make demo-down')])
    const up = Lab.open(ONE)
    if (up === undefined) throw new Error('nothing stays up')
    expect((await curl(up, 'client-a', 'http://www.shop.example/')).code).toBe(0)
    const names = namespacesOf(ONE)
    const down = new Demo(['make', 'demo-down'], { DEMO_PREFIX: ONE })
    expect([await down.ended(), down.output]).toEqual([0, ''])
    expect([await remains(ONE), processesIn(names)]).toEqual([[], []])
  })

  it('ends with 2 when it cannot be set up, with 1 when a line does not hold, and leaves nothing', async () => {
    const env = { DEMO_PREFIX: TWO, DEMO_UNTIL: 'allowed name' }
    const folder = mkdtempSync(join(tmpdir(), 'sekisho-demo-'))
    const script = join(folder, 'unbound-checkconf')
    writeFileSync(script, '#!/bin/sh\nexit 1\n')
    chmodSync(script, 0o755)
    const broken = start({ ...env, PATH: `${folder}:${process.env['PATH']}` })
    expect([await broken.ended(), broken.output]).toEqual([2, expect.stringContaining('unbound-checkconf')])
    rmSync(folder, { recursive: true })
    expect(await remains(TWO)).toEqual([])

    const failing = start(env)
    await failing.line('a second node')
    const namespaces = namespacesOf(TWO)
    // The agents start now, and then a page is fetched.
    expect(Lab.open(TWO)?.processes.signal('web', 'SIGKILL')).toBe(true)
    expect([await failing.ended(), failing.output]).toEqual([1, expect.stringContaining('last words')])
    expect([await remains(TWO), processesIn(namespaces), failing.group()]).toEqual([[], [], []])
  })
})

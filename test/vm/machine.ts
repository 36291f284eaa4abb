/** Boots a guest, reads what it prints on the serial console, ends it when it is over or late. */
import { execFileSync, spawn } from 'node:child_process'
import { createReadStream, createWriteStream, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { pipeline } from 'node:stream/promises'
import type { Kernel } from './image.ts'
import { type TestResult, parseLine } from './protocol.ts'

export interface GuestRun {
  readonly kernel: string
  readonly version: string
  /** Until the first process of the guest was ready to run tests. */
  readonly bootSeconds: number
  readonly seconds: number
  /** What the emulator took of the processors until the tests were over; NaN when they never were, s. */
  readonly cpuSeconds: number
  readonly results: readonly TestResult[]
  /** Why the run is not whole: undefined when the guest came to its end by itself. */
  readonly broken: string | undefined
}

/** USER_HZ is 100 on every architecture that Node runs on. */
const TICKS = 100

/** Fields 14 and 15 of proc(5), counted from the one behind the name. */
function cpuSecondsOf(pid: number | undefined): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}

const BUILD = join(import.meta.dirname, '../../build/vm')
/** MiB: everything the guest has is in memory. */
const MEMORY = 1536

export interface GuestOptions {
  /** Path of the TypeScript file to run, from the root of the checkout. */
  readonly entry: string
  readonly timeoutSeconds: number
  /** Words for the environment of the guest. */
  readonly environment: Readonly<Record<string, string>>
  /** Of the guest, MiB. */
  readonly memory?: number
  readonly onLine: (line: string) => void
}

export async function runGuest(kernel: Kernel, parts: readonly string[], options: GuestOptions): Promise<GuestRun> {
  const initrd = join(BUILD, `initrd-${kernel.version}-${process.pid}.cpio`)
  for (const [i, part] of [kernel.modules, ...parts].entries())
    await pipeline(createReadStream(part), createWriteStream(initrd, { flags: i === 0 ? 'w' : 'a' }))
  const words = Object.entries({ ENTRY: options.entry, ...options.environment }).map(
    ([key, value]) => `${key}="${value}"`,
  )
  const khz = execFileSync(join(BUILD, 'programs/tsc'), { encoding: 'utf8' }).trim()
  const started = performance.now()
  const child = spawn(
    'qemu-system-x86_64',
    [
      // No KVM: the same everywhere. -cpu max has the instructions that WireGuard's ciphers want. Of the others some cost: one more
      // table to walk, a jump out of translated code each time the kernel looks at a program's memory, and memory that is set and
      // copied octet by octet (ERMS), at a twentieth of the speed.
      ...[
        '-accel',
        'tcg,thread=multi',
        '-cpu',
        'max,la57=off,smap=off,erms=off,fsrm=off',
        '-smp',
        '2',
        '-m',
        String(options.memory ?? MEMORY),
        '-nographic',
        '-vga',
        'none',
        '-no-reboot',
        '-nic',
        'none',
      ],
      ...['-kernel', kernel.image, '-initrd', initrd],
      ...[
        '-append',
        `console=ttyS0 quiet panic=-1 mitigations=off apparmor=0 audit=0 tsc=reliable tsc_early_khz=${khz} ${words.join(' ')}`,
      ],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  // A guest must not outlive who started it.
  const kill = (): boolean => child.kill('SIGKILL')
  process.once('exit', kill)
  let broken: string | undefined = 'the guest stopped before its end'
  let bootSeconds = NaN
  let cpuSeconds = NaN
  const results: TestResult[] = []
  const timer = setTimeout(() => {
    broken = `not over after ${options.timeoutSeconds} s`
    kill()
  }, options.timeoutSeconds * 1000)
  const exited = new Promise<void>((resolve, reject) => {
    child.once('exit', () => resolve())
    child.once('error', reject)
  })
  for await (const text of createInterface({ input: child.stdout })) {
    const line = text.trimEnd()
    const found = parseLine(line)
    if (found.kind === 'boot') bootSeconds = (performance.now() - started) / 1000
    if (found.kind === 'result') results.push(found.result)
    if (found.kind === 'end') cpuSeconds = cpuSecondsOf(child.pid)
    if (found.kind === 'end') broken = found.status === 0 ? undefined : `the entry ended with ${found.status}`
    options.onLine(line)
  }
  await exited
  clearTimeout(timer)
  process.off('exit', kill)
  await rm(initrd)
  if (Number.isNaN(bootSeconds)) broken ??= 'the guest never said that it runs'
  const seconds = (performance.now() - started) / 1000
  return { kernel: kernel.line, version: kernel.version, bootSeconds, seconds, cpuSeconds, results, broken }
}

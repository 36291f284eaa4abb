import { readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Startable } from '../core/lifecycle.ts'
import { CpuAccount, kernelOwner, parseStat, type CpuOwner, type CpuSeconds, type ProcStat } from './cpu.ts'
import type { Slot } from './slots.ts'

export interface CpuSamplerOptions {
  readonly devices: readonly { readonly slot: Slot; readonly device: string }[]
  /** Program of the userspace driver. */
  readonly command: string
  readonly intervalMs: number
  /** Where proc is mounted. */
  readonly proc: string
}

export const CPU_SAMPLER_DEFAULTS = { command: 'wireguard-go', intervalMs: 10_000, proc: '/proc' } as const

/** TASK_COMM_LEN less the final zero. */
const COMM_LENGTH = 15
/** Processes of others are looked at again, for numbers that are used anew, every so many samples. */
const FORGET_AFTER = 6
/** Kernel threads that may work for a device now or later: workers take the name of what they do. */
const MAY_WORK = /^(?:kworker|napi)\//
/** Files of proc read in one turn of the event loop: half a millisecond. By the thread pool each costs ten times as much. */
const TOGETHER = 32

export interface CpuSampler extends Startable {
  readonly visible: boolean
  totals(): readonly CpuSeconds[]
  /** One sample; `start` takes them by a timer. */
  sample(): Promise<void>
}

/** Reads the processor time of WireGuard's kernel threads, and of the processes of the userspace driver, from proc. */
export function createCpuSampler(given: Partial<CpuSamplerOptions> & Pick<CpuSamplerOptions, 'devices'>): CpuSampler {
  const options: CpuSamplerOptions = { ...CPU_SAMPLER_DEFAULTS, ...given }
  const account = new CpuAccount(options.devices)
  const comm = basename(options.command).slice(0, COMM_LENGTH)
  const strangers = new Set<string>()
  let samples = 0
  let timer: NodeJS.Timeout | undefined
  let stopped = true
  let running: Promise<void> = Promise.resolve()

  function ownerOf(stat: ProcStat): CpuOwner | undefined {
    if (stat.kernel) return kernelOwner(stat.name)
    const line = text(join(options.proc, String(stat.pid), 'cmdline')) ?? ''
    const device = line.split('\0').find((word) => options.devices.some((one) => one.device === word))
    return device === undefined ? undefined : { device, work: undefined }
  }

  async function sample(): Promise<void> {
    if (samples++ % FORGET_AFTER === 0) strangers.clear()
    const threads: { stat: ProcStat; owner: CpuOwner | undefined }[] = []
    let read = 0
    for (const pid of await readdir(options.proc).catch(() => [])) {
      if (!/^[0-9]+$/.test(pid) || strangers.has(pid)) continue
      if (++read % TOGETHER === 0) await new Promise((resolve) => setImmediate(resolve))
      const line = text(join(options.proc, pid, 'stat'))
      const stat = line === undefined ? undefined : parseStat(line)
      if (stat === undefined) continue
      if (stat.kernel ? MAY_WORK.test(stat.name) : stat.name === comm) threads.push({ stat, owner: ownerOf(stat) })
      else strangers.add(pid)
    }
    account.sample(threads)
  }

  function again(): void {
    if (stopped) return
    timer = setTimeout(() => {
      running = sample().then(again, again)
    }, options.intervalMs)
    timer.unref()
  }

  return {
    get visible() {
      return account.visible
    },
    totals: () => account.totals(),
    sample,
    async start() {
      stopped = false
      await sample()
      again()
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      await running
    },
  }
}

/** Undefined when the process is gone. */
function text(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

import type { Slot } from './slots.ts'

/** What WireGuard's own threads do: encrypt and decrypt; handshakes; hand packets on, where the device's NAPI is threaded. */
export const CPU_WORK = ['crypt', 'kex', 'napi'] as const
export type CpuWork = (typeof CPU_WORK)[number]

/** One line of /proc/PID/stat. */
export interface ProcStat {
  readonly pid: number
  /** With the work queue of a kworker: `kworker/0:1-wg-crypt-kwg0`, `+` while it works on it. */
  readonly name: string
  readonly kernel: boolean
  /** User and system time, clock ticks. */
  readonly ticks: number
  /** Tells two processes with one number apart. */
  readonly startedAt: number
}

/** USER_HZ, 100 on every architecture that we run on (include/asm-generic/param.h). */
const TICKS_PER_SECOND = 100
/** PF_KTHREAD of include/linux/sched.h. */
const KERNEL_THREAD = 0x0020_0000

/** proc_pid_stat(5). The name stands in parentheses and may hold any; undefined when the text is no such line. */
export function parseStat(text: string): ProcStat | undefined {
  const open = text.indexOf('(')
  const close = text.lastIndexOf(')')
  if (open < 0 || close < open) return undefined
  // From field 3, the state, on.
  const fields = text.slice(close + 2).split(' ')
  const [pid, flags, user, system, startedAt] = [
    text.slice(0, open),
    fields[6],
    fields[11],
    fields[12],
    fields[19],
  ].map(Number)
  const numbers = [pid, flags, user, system, startedAt]
  if (!numbers.every((number) => Number.isSafeInteger(number) && (number ?? -1) >= 0)) return undefined
  return {
    pid: pid ?? 0,
    name: text.slice(open + 1, close),
    kernel: ((flags ?? 0) & KERNEL_THREAD) !== 0,
    ticks: (user ?? 0) + (system ?? 0),
    startedAt: startedAt ?? 0,
  }
}

/** A thread or process that works for a device now. */
export interface CpuOwner {
  readonly device: string
  /** Undefined for a process of the userspace driver. */
  readonly work: CpuWork | undefined
}

/** Whose a kernel thread is by its name. Workers are shared: the name is of the queue it worked on last. */
export function kernelOwner(name: string): CpuOwner | undefined {
  const worker = /^kworker\/\S+[-+]wg-(crypt|kex)-(\S+)$/.exec(name)
  if (worker !== null) return { device: worker[2] ?? '', work: worker[1] === 'kex' ? 'kex' : 'crypt' }
  const napi = /^napi\/(\S+)-\d+$/.exec(name)
  return napi === null ? undefined : { device: napi[1] ?? '', work: 'napi' }
}

export interface CpuSeconds {
  readonly slot: Slot
  readonly work: CpuWork | undefined
  readonly seconds: number
}

/**
 * Adds up processor time between samples. What a kernel worker used since the last sample is put down to the queue that it
 * worked on last, so single figures are estimates, the better the busier the seal is; time in soft interrupts (receiving, and
 * handing on without threaded NAPI) is in nobody's account and is not counted.
 */
export class CpuAccount {
  readonly #slots: ReadonlyMap<string, Slot>
  #last = new Map<string, number>()
  readonly #ticks = new Map<string, { slot: Slot; work: CpuWork | undefined; ticks: number }>()
  /** Kernel threads are seen: not so in a PID namespace of one's own. */
  visible = false

  constructor(devices: readonly { readonly slot: Slot; readonly device: string }[]) {
    this.#slots = new Map(devices.map(({ slot, device }) => [device, slot]))
  }

  /** `owner`: undefined for threads that may work for a device later. */
  sample(threads: Iterable<{ readonly stat: ProcStat; readonly owner: CpuOwner | undefined }>): void {
    const seen = new Map<string, number>()
    this.visible = false
    for (const { stat, owner } of threads) {
      this.visible ||= stat.kernel
      const key = `${stat.pid} ${stat.startedAt}`
      const before = this.#last.get(key)
      seen.set(key, stat.ticks)
      const slot = owner === undefined ? undefined : this.#slots.get(owner.device)
      if (slot !== undefined && before !== undefined) this.#add(slot, owner?.work, Math.max(0, stat.ticks - before))
    }
    this.#last = seen
  }

  totals(): CpuSeconds[] {
    return [...this.#ticks.values()].map(({ slot, work, ticks }) => ({ slot, work, seconds: ticks / TICKS_PER_SECOND }))
  }

  #add(slot: Slot, work: CpuWork | undefined, ticks: number): void {
    const key = `${slot} ${work}`
    const total = this.#ticks.get(key) ?? { slot, work, ticks: 0 }
    total.ticks += ticks
    this.#ticks.set(key, total)
  }
}

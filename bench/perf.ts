import { run } from '../lab/run.ts'

/** One stack, innermost frame first. */
interface Frame {
  readonly symbol: string
  readonly object: string
}

export interface Shares {
  readonly samples: number
  /** Part of the process's CPU time by what it was spent on, largest first; sums to 1. */
  readonly byWork: readonly (readonly [work: string, share: number])[]
  readonly bySymbol: readonly (readonly [symbol: string, share: number])[]
}

/** False where there is no perf, or the kernel does not let it. */
export async function perfWorks(): Promise<boolean> {
  try {
    return (await run(['perf', 'stat', '-e', 'cpu-clock', 'true'])).code === 0
  } catch {
    return false
  }
}

/** Samples a process for some seconds. Virtual machines have no cycle counter: the clock of the CPU ticks instead. */
export async function sampleProcess(pid: number, seconds: number, file: string): Promise<Shares> {
  const record = ['perf', 'record', '-q', '-e', 'cpu-clock', '-F', '1999', '-g', '-p', String(pid), '-o', file]
  await run([...record, '--', 'sleep', String(seconds)], { timeoutMs: seconds * 1000 + 15_000 })
  const script = await run(['perf', 'script', '-i', file, '-F', 'comm,tid,ip,sym,dso'], { timeoutMs: 60_000 })
  return shares(script.stdout)
}

export function shares(script: string): Shares {
  const work = new Map<string, number>()
  const symbols = new Map<string, number>()
  let samples = 0
  for (const block of script.split('\n\n')) {
    const stack = frames(block)
    const leaf = stack[0]
    if (leaf === undefined) continue
    samples++
    add(work, workOf(stack))
    add(symbols, `${leaf.symbol} [${leaf.object}]`)
  }
  const sorted = (map: Map<string, number>): (readonly [string, number])[] =>
    [...map].map(([key, n]) => [key, n / samples] as const).sort((a, b) => b[1] - a[1])
  return { samples, byWork: sorted(work), bySymbol: sorted(symbols) }
}

function add(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1)
}

/** Lines "   ffffffff81 symbol (object)" below the head of a sample. */
function frames(block: string): Frame[] {
  return [...block.matchAll(/^\s+[0-9a-f]+ (.*?) \(([^()]*)\)$/gm)].map((m) => ({
    symbol: (m[1] ?? '').replace(/\+0x[0-9a-f]+$/, ''),
    object: (m[2] ?? '').replace(/^.*\//, ''),
  }))
}

const KERNEL = /^\[(?:kernel|guest)|^\[unknown\]$|^bpf_prog/

/** What a stack was doing, in words: `sendmmsg: wakes the receiver`, `JavaScript`. */
function workOf(stack: readonly Frame[]): string {
  const leaf = stack[0]
  if (leaf === undefined) return 'unknown'
  if (!KERNEL.test(leaf.object) && !leaf.symbol.startsWith('bpf_prog')) return userWork(leaf)
  const call = stack
    .map((f) => /^_{2,4}(?:(?:x64|arm64|se|do)_)?sys_(\w+)/.exec(f.symbol)?.[1])
    .find((name) => name !== undefined)
  const has = (pattern: RegExp): boolean => stack.some((f) => pattern.test(f.symbol))
  if (call === 'io_uring_enter' && has(/^io_send/)) return workWithin('io_uring send', has)
  if (call === 'io_uring_enter' && has(/^io_recv/)) return workWithin('io_uring receive', has)
  if (call === undefined) {
    return has(/^exit_to_user_mode_loop$/)
      ? 'kernel: another thread took the CPU'
      : 'kernel: entry, exit and interrupts'
  }
  return workWithin(call, has)
}

function workWithin(call: string, has: (pattern: RegExp) => boolean): string {
  if (has(/^(?:try_to_wake_up|ttwu_|wake_up_q|sock_def_readable|ep_poll_callback|__wake_up)/))
    return `${call}: wakes others`
  if (has(/^(?:__)?schedule$|^schedule_hrtimeout|^do_nanosleep/)) return `${call}: sleeps`
  if (has(/^bpf_prog_|^__bpf_/)) return `${call}: BPF`
  return `${call}: work`
}

function userWork(leaf: Frame): string {
  if (/^perf-\d+\.map$|^\[JIT\]|^\/\/anon|^anon$/.test(leaf.object)) return 'user: JavaScript'
  return `user: ${leaf.object.replace(/\.so.*$/, '')}`
}

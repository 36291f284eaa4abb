import { readdirSync, readFileSync } from 'node:fs'

/** What a process has used so far. Times in microseconds. */
export interface Cost {
  /** Time on a CPU of all its threads that live (/proc/PID/task/TID/schedstat: nanoseconds, no sampling). */
  readonly cpuUs: number
  /** Voluntary and involuntary switches of all threads (/proc/PID/task/TID/status). */
  readonly switches: number
  readonly threads: ReadonlyMap<string, number>
}

const tasks = (pid: number): string[] => readdirSync(`/proc/${pid}/task`)

function readTask(pid: number, task: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/task/${task}/${file}`, 'utf8')
  } catch {
    // The thread ended between the listing and now.
    return ''
  }
}

/** Throws when the process is gone. */
export function costOf(pid: number): Cost {
  let cpuUs = 0
  let switches = 0
  const threads = new Map<string, number>()
  for (const task of tasks(pid)) {
    const us = Number(readTask(pid, task, 'schedstat').split(' ')[0] ?? 0) / 1000
    cpuUs += us
    for (const match of readTask(pid, task, 'status').matchAll(/^(?:non)?voluntary_ctxt_switches:\s+(\d+)/gm)) {
      switches += Number(match[1])
    }
    threads.set(`${readTask(pid, task, 'comm').trim()}/${task}`, us)
  }
  return { cpuUs, switches, threads }
}

/** Resident memory in MiB: all, and the part that is anonymous or shared memory rather than files (/proc/PID/status). */
export function memoryOf(pid: number): { readonly residentMiB: number; readonly ownMiB: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const kib = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0)
  return { residentMiB: kib('VmRSS') / 1024, ownMiB: (kib('RssAnon') + kib('RssShmem')) / 1024 }
}

/** Kernel memory in MiB of the BPF maps that a process has open (`memlock` of /proc/PID/fdinfo), each once. */
export function mapsMiB(pid: number): number {
  const octets = new Map<string, number>()
  for (const fd of readdirSync(`/proc/${pid}/fdinfo`)) {
    try {
      const info = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8')
      const id = /^map_id:\s+(\d+)$/m.exec(info)?.[1]
      if (id !== undefined) octets.set(id, Number(/^memlock:\s+(\d+)$/m.exec(info)?.[1] ?? 0))
    } catch {
      // Closed between the listing and now.
    }
  }
  return [...octets.values()].reduce((sum, one) => sum + one, 0) / 2 ** 20
}

import { existsSync, readFileSync, readdirSync, readlinkSync, statSync } from 'node:fs'
import { must } from '../../lab/run.ts'
import { PODS } from '../../lab/topology.ts'

export interface Running {
  readonly pid: number
  readonly command: string
}

/** Fields of /proc/PID/stat behind the name (proc(5)): state, parent, group, ... */
const statOf = (pid: string): string[] => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}

/** Every process that can be looked at; one that has ended and waits for its parent is none. */
function processes(): (Running & { readonly group: number })[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return []
    try {
      const [state, , group] = statOf(pid)
      if (state === 'Z') return []
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
      return [{ pid: Number(pid), command, group: Number(group) }]
    } catch {
      return []
    }
  })
}

/** Inodes of the network namespaces of a lab: they name them also when nothing in /run/netns does any more. */
export function namespacesOf(prefix: string): ReadonlySet<number> {
  const names = readdirSync('/run/netns').filter((name) => name.startsWith(`${prefix}-`))
  return new Set(names.map((name) => statSync(`/run/netns/${name}`).ino))
}

/** Processes that run in one of these namespaces. */
export function processesIn(namespaces: ReadonlySet<number>): Running[] {
  return processes().filter(({ pid }) => {
    try {
      return namespaces.has(Number(/\d+/.exec(readlinkSync(`/proc/${pid}/ns/net`))?.[0]))
    } catch {
      return false
    }
  })
}

/** Processes of a process group. */
export const processesOfGroup = (group: number): Running[] => processes().filter((one) => one.group === group)

/** What of a lab is left on the machine: namespaces, mounts, folders, sockets of userspace WireGuard, processes that were told of it. */
export async function remains(prefix: string): Promise<string[]> {
  const namespaces = (await must(['ip', 'netns', 'list'])).split('\n').filter((line) => line.startsWith(`${prefix}-`))
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .filter((line) => line.includes(`/${prefix}/`) || line.includes(`/${prefix}-`))
  const folders = [`/run/sekisho-lab/${prefix}`, ...PODS.map((pod) => `/etc/netns/${prefix}-${pod}`)].filter((path) =>
    existsSync(path),
  )
  const sockets = existsSync('/run/wireguard')
    ? readdirSync('/run/wireguard').filter((name) => new RegExp(`^${prefix.slice(0, 8)}[12]kwg`).test(name))
    : []
  // Each is told the lab's folder, a namespace or a device.
  const told = new RegExp(
    `/run/sekisho-lab/${prefix}/|/run/netns/${prefix}-|\\b${prefix}-|\\b${prefix.slice(0, 8)}[12]kwg`,
  )
  const running = processes()
    .filter(({ command }) => told.test(command))
    .map(({ pid, command }) => `${pid} ${command}`)
  return [...namespaces, ...mounts, ...folders, ...sockets, ...running]
}

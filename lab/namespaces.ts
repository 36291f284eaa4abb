import { existsSync, mkdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { must, run } from './run.ts'
import {
  DNS4,
  INTERNET4,
  INTERNET6,
  NARROW4,
  NARROW6,
  NARROW_MTU,
  NODE4,
  NODE6,
  SEARCH,
  FAR_PODS,
  SPOKES,
  spoke,
} from './topology.ts'
import type { Place, PodKey } from './topology.ts'

export const namespaceOf = (prefix: string, key: Place): string => `${prefix}-${key}`

/**
 * Command in a network namespace only: the mount namespace stays, and with it bpffs (`ip netns exec` would put
 * a fresh /sys over it).
 */
export const inside = (namespace: string, command: readonly string[]): string[] => [
  'nsenter',
  `--net=/run/netns/${namespace}`,
  '--',
  ...command,
]

/** Command in a namespace with its own /etc/resolv.conf (ip-netns(8)). */
export const insidePod = (namespace: string, command: readonly string[]): string[] => [
  'ip',
  'netns',
  'exec',
  namespace,
  ...command,
]

/** What a pod asks: written before `ip netns exec`, which binds it over /etc/resolv.conf. */
export function writeResolvConf(
  prefix: string,
  pod: PodKey,
  servers: readonly string[] = [DNS4],
  options = 'ndots:5 timeout:2 attempts:2',
): void {
  const directory = `/etc/netns/${namespaceOf(prefix, pod)}`
  mkdirSync(directory, { recursive: true })
  const lines = [...servers.map((server) => `nameserver ${server}`), `search ${SEARCH.join(' ')}`, `options ${options}`]
  writeFileSync(`${directory}/resolv.conf`, lines.join('\n') + '\n')
}

/** `ip -batch` in a namespace: one process for many commands, stops at the first that fails. */
export async function batch(namespace: string | undefined, lines: readonly string[]): Promise<void> {
  const where = namespace === undefined ? [] : ['-n', namespace]
  await must(['ip', ...where, '-batch', '-'], { input: lines.join('\n') + '\n' })
}

export const HOST_SYSCTLS = [
  'net.ipv4.ip_forward=1',
  'net.ipv6.conf.all.forwarding=1',
  'net.ipv4.conf.all.rp_filter=0',
  'net.ipv4.conf.default.rp_filter=0',
  'net.ipv6.conf.all.accept_dad=0',
  'net.ipv6.conf.default.accept_dad=0',
]
/** Error messages may come as fast as a test wants them; the web server takes ten thousand connections in a row. */
export const SPOKE_SYSCTLS = [
  'net.ipv4.conf.all.rp_filter=0',
  'net.ipv4.conf.default.rp_filter=0',
  'net.ipv6.conf.default.accept_dad=0',
  'net.ipv6.conf.default.accept_ra=0',
  'net.ipv4.icmp_ratelimit=0',
  'net.ipv6.icmp.ratelimit=0',
  'net.core.somaxconn=8192',
  'net.ipv4.tcp_max_syn_backlog=8192',
]

/** Makes every namespace, wire and route. `down` first: what a crash left behind is swept away. */
export async function createNamespaces(prefix: string): Promise<void> {
  const node = namespaceOf(prefix, 'node')
  const all = [node, ...SPOKES.map((s) => namespaceOf(prefix, s.key))]
  await batch(
    undefined,
    all.map((name) => `netns add ${name}`),
  )
  await Promise.all(
    all.map((name) => must(inside(name, ['sysctl', '-qw', ...(name === node ? HOST_SYSCTLS : SPOKE_SYSCTLS)]))),
  )
  await batch(node, ['link set lo up', `addr add ${NODE4}/32 dev lo`, `addr add ${NODE6}/128 dev lo nodad`])
  await batch(
    node,
    SPOKES.flatMap((s) => [
      `link add ${s.link} type veth peer name eth0 netns ${namespaceOf(prefix, s.key)}`,
      `link set ${s.link} up`,
      `addr add 169.254.1.1/32 dev ${s.link} scope link`,
      `addr add fe80::1/64 dev ${s.link} nodad`,
      `route add ${s.address4}/32 dev ${s.link} src ${NODE4}`,
      `route add ${s.address6}/128 dev ${s.link} src ${NODE6}`,
    ]),
  )
  await Promise.all(
    SPOKES.map((s) =>
      batch(namespaceOf(prefix, s.key), [
        'link set lo up',
        'link set eth0 up',
        `addr add ${s.address4}/32 dev eth0`,
        `addr add ${s.address6}/128 dev eth0 nodad`,
        'route add 169.254.1.1 dev eth0 scope link',
        `route add default via 169.254.1.1 dev eth0 src ${s.address4}`,
        `route add default via fe80::1 dev eth0 src ${s.address6}`,
      ]),
    ),
  )
  await createInternet(prefix)
}

async function createInternet(prefix: string): Promise<void> {
  const { link, address4, address6 } = spoke('net')
  await batch(namespaceOf(prefix, 'net'), [
    // A local route makes every address of the prefix the host's own, without ten thousand `addr add`.
    `route add local ${INTERNET4} dev lo`,
    `route add local ${INTERNET6} dev lo`,
  ])
  await batch(namespaceOf(prefix, 'node'), [
    `route add default via ${address4} dev ${link} onlink src ${NODE4}`,
    `route add default via ${address6} dev ${link} onlink src ${NODE6}`,
    `route add ${NARROW4} via ${address4} dev ${link} onlink mtu ${NARROW_MTU}`,
    `route add ${NARROW6} via ${address6} dev ${link} onlink mtu ${NARROW_MTU}`,
  ])
}

/** Removes the namespaces of a prefix and their /etc/netns entries; processes in them are ended first. */
export async function destroyNamespaces(prefix: string): Promise<void> {
  const places: Place[] = ['node', 'node2', 'wire', ...SPOKES.map(({ key }) => key), ...FAR_PODS.map(({ key }) => key)]
  const names = places.map((key) => namespaceOf(prefix, key))
  for (const name of names.filter((n) => existsSync(`/run/netns/${n}`))) {
    const { stdout } = await run(['ip', 'netns', 'pids', name])
    for (const pid of stdout.split('\n').map(Number)) {
      if (pid > 1 && pid !== process.pid) tryKill(pid)
    }
    await run(['ip', 'netns', 'del', name])
  }
  for (const name of names) rmSync(`/etc/netns/${name}`, { recursive: true, force: true })
  try {
    rmdirSync('/etc/netns')
  } catch {
    // Not empty: another lab's, or the machine's own.
  }
}

function tryKill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended by itself between the two calls.
  }
}

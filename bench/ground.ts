import { existsSync } from 'node:fs'
import { inside } from '../lab/namespaces.ts'
import { must, run } from '../lab/run.ts'

/** Where the upstream listens, and where a forwarder that is asked by its own address does. */
export const UPSTREAM = '172.21.1.1'
export const FORWARDER = '172.21.0.10'
const NODE = '172.21.1.2'
const SERVERS = '172.21.0.0/16'
const GATEWAY = '169.254.1.1'
const HOST_MAC = '02:00:00:00:00:01'

/**
 * Pods whose interfaces the agent is told of (`gated`), and as many that it never hears of (`plain`), from which the
 * peers are asked: the client does the same work for every subject.
 */
export type Side = 'gated' | 'plain'
const SIDES: readonly Side[] = ['gated', 'plain']

export interface Ground {
  readonly prefix: string
  readonly pods: number
  readonly silent: number
  namespace(of: Side | 'node' | 'upstream'): string
  /** Command in the namespace; the mount namespace stays, and with it bpffs. */
  inside(of: Side | 'node' | 'upstream', command: readonly string[]): string[]
}

/** Address of the n-th pod of a side; gated pods past the last that talks are silent: an interface, no address. */
export function podAddress(side: Side, index: number): string {
  return `172.${side === 'gated' ? 20 : 22}.${1 + Math.floor(index / 200)}.${1 + (index % 200)}`
}

export const hostInterface = (side: Side, index: number): string => `${side[0]}${index}`
export const podInterface = (index: number): string => `e${index}`

const podMac = (index: number): string =>
  `02:00:00:01:${(index >> 8).toString(16).padStart(2, '0')}:${(index & 255).toString(16).padStart(2, '0')}`

export function ground(prefix: string, pods: number, silent: number): Ground {
  const namespace = (of: Side | 'node' | 'upstream'): string => `${prefix}-${of}`
  return { prefix, pods, silent, namespace, inside: (of, command) => inside(namespace(of), command) }
}

async function batch(namespace: string | undefined, lines: readonly string[]): Promise<void> {
  const where = namespace === undefined ? [] : ['-n', namespace]
  await must(['ip', ...where, '-batch', '-'], { input: lines.join('\n') + '\n', timeoutMs: 60_000 })
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

/** Makes the four namespaces and their wires. Neighbours are permanent: no ARP in a measurement. */
export async function raise(g: Ground): Promise<void> {
  const all = ([...SIDES, 'node', 'upstream'] as const).map((of) => g.namespace(of))
  await batch(
    undefined,
    all.map((name) => `netns add ${name}`),
  )
  const settings = ['net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.default.rp_filter=0', 'net.ipv4.ip_forward=1']
  for (const name of all) await must(inside(name, ['sysctl', '-qw', ...settings]))
  const node = g.namespace('node')
  await batch(node, [
    'link set lo up',
    `addr add ${FORWARDER}/32 dev lo`,
    `link add up0 type veth peer name eth0 netns ${g.namespace('upstream')}`,
    'link set up0 up',
    `addr add ${NODE}/30 dev up0`,
    ...SIDES.flatMap((side) => range(g.pods).flatMap((i) => hostCommands(g, side, i))),
    ...range(g.silent).flatMap((i) => {
      const name = hostInterface('gated', g.pods + i)
      return [`link add ${name} type veth peer name x${i} netns ${g.namespace('gated')}`, `link set ${name} up`]
    }),
  ])
  await batch(g.namespace('upstream'), [
    'link set lo up',
    'link set eth0 up',
    `addr add ${UPSTREAM}/30 dev eth0`,
    `route add default via ${NODE} dev eth0`,
  ])
  for (const side of SIDES) {
    await batch(g.namespace(side), ['link set lo up', ...range(g.pods).flatMap((i) => podCommands(side, i))])
  }
}

function hostCommands(g: Ground, side: Side, i: number): string[] {
  const host = hostInterface(side, i)
  const pod = `name ${podInterface(i)} address ${podMac(i)} netns ${g.namespace(side)}`
  return [
    `link add ${host} address ${HOST_MAC} type veth peer ${pod}`,
    `link set ${host} up`,
    `route add ${podAddress(side, i)}/32 dev ${host} src ${NODE}`,
    `neigh add ${podAddress(side, i)} lladdr ${podMac(i)} dev ${host} nud permanent`,
  ]
}

function podCommands(side: Side, i: number): string[] {
  const link = podInterface(i)
  return [
    `link set ${link} up`,
    `addr add ${podAddress(side, i)}/32 dev ${link}`,
    `neigh add ${GATEWAY} lladdr ${HOST_MAC} dev ${link} nud permanent`,
    // One route an interface, told apart by the metric; a socket bound to its device sees only its own.
    `route add ${SERVERS} via ${GATEWAY} dev ${link} onlink src ${podAddress(side, i)} metric ${i + 1}`,
  ]
}

/** Removes the namespaces of this ground; whoever still runs in them must have been stopped before. */
export async function raze(g: Ground): Promise<void> {
  for (const of of [...SIDES, 'node', 'upstream'] as const) {
    if (existsSync(`/run/netns/${g.namespace(of)}`)) await run(['ip', 'netns', 'del', g.namespace(of)])
  }
}

/**
 * The lab's map. Every address lives inside a namespace of the lab, so two labs with different prefixes may use the
 * same ones at the same time.
 *
 * ```
 *  client-a  client-b  plain      pods: /32 and /128, gateway 169.254.1.1 and fe80::1 on the node's side
 *      \        |       /
 *       lxca  lxcb  lxcp
 *              node ── lxcdns ── dns    unbound :53 (the resolver), nsd on its loopback (the zones)
 *               |  \──── odd ─── odd    a server that answers what no honest server answers
 *              net ───────────── net    web servers on 198.18.0.0/15 and 2001:db8:100::/40
 * ```
 *
 * With a second node (`second-node.ts`):
 *
 * ```
 *  client-a, -b, plain    node ── under0 ── wire ── under0 ── node2    far-shop  far-other  far-dns
 *  10.88.1.0/24                192.168.88.1   192.168.88.2             10.89.1.0/24
 *  fd88:1::/64                 fd88:ff::1     fd88:ff::2               fd89:1::/64
 * ```
 */
export const NODE4 = '10.88.0.1'
export const NODE6 = 'fd88::1'
export const DNS4 = '10.88.2.53'
export const DNS6 = 'fd88:2::53'
export const ODD4 = '10.88.4.66'
export const ODD6 = 'fd88:4::66'
export const INTERNET4 = '198.18.0.0/15'
export const INTERNET6 = '2001:db8:100::/40'
/** A part of the internet behind a link of 1400 octets. */
export const NARROW4 = '198.18.40.0/24'
export const NARROW6 = '2001:db8:140::/48'
export const NARROW_MTU = 1400

/** A namespace with one interface towards the node. */
export interface Spoke {
  /** Suffix of the namespace's name. */
  readonly key: 'client-a' | 'client-b' | 'plain' | 'dns' | 'odd' | 'net'
  /** Interface on the node's side. */
  readonly link: string
  readonly address4: string
  readonly address6: string
  /** Pods have a resolv.conf of their own. */
  readonly pod: boolean
}

export const SPOKES: readonly Spoke[] = [
  { key: 'client-a', link: 'lxca', address4: '10.88.1.10', address6: 'fd88:1::10', pod: true },
  { key: 'client-b', link: 'lxcb', address4: '10.88.1.11', address6: 'fd88:1::11', pod: true },
  { key: 'plain', link: 'lxcp', address4: '10.88.1.12', address6: 'fd88:1::12', pod: true },
  { key: 'dns', link: 'lxcdns', address4: DNS4, address6: DNS6, pod: false },
  { key: 'odd', link: 'odd', address4: ODD4, address6: ODD6, pod: false },
  { key: 'net', link: 'net', address4: '10.88.3.2', address6: 'fd88:3::2', pod: false },
]

export type PodKey = 'client-a' | 'client-b' | 'plain'
export const PODS: readonly PodKey[] = ['client-a', 'client-b', 'plain']

export function spoke(key: Spoke['key']): Spoke {
  const found = SPOKES.find((s) => s.key === key)
  if (found === undefined) throw new Error(`no spoke ${key}`)
  return found
}

/** A node of the lab that has a second one: what is behind it, and where it stands on the underlay. */
export interface LabNode {
  readonly key: 'node' | 'node2'
  /** As it publishes itself. */
  readonly name: string
  readonly underlay: readonly [string, string]
  /** CIDRs of its pods. */
  readonly prefixes: readonly [string, string]
}

export const LAB_NODES: readonly [LabNode, LabNode] = [
  {
    key: 'node',
    name: 'lab',
    underlay: ['192.168.88.1', 'fd88:ff::1'],
    prefixes: ['10.88.1.0/24', 'fd88:1::/64'],
  },
  {
    key: 'node2',
    name: 'far',
    underlay: ['192.168.88.2', 'fd88:ff::2'],
    prefixes: ['10.89.1.0/24', 'fd89:1::/64'],
  },
]

/** A pod of the second node. */
export interface FarPod {
  readonly key: 'far-shop' | 'far-other' | 'far-dns'
  readonly link: string
  readonly address4: string
  readonly address6: string
}

export const FAR_PODS: readonly FarPod[] = [
  { key: 'far-shop', link: 'lxcfs', address4: '10.89.1.10', address6: 'fd89:1::10' },
  { key: 'far-other', link: 'lxcfo', address4: '10.89.1.11', address6: 'fd89:1::11' },
  { key: 'far-dns', link: 'lxcfd', address4: '10.89.1.53', address6: 'fd89:1::53' },
]

export function farPod(key: FarPod['key']): FarPod {
  const found = FAR_PODS.find((pod) => pod.key === key)
  if (found === undefined) throw new Error(`no pod ${key}`)
  return found
}

/** Every namespace of a lab by the end of its name. */
export type Place = Spoke['key'] | LabNode['key'] | FarPod['key'] | 'wire'

/** Kubernetes' search list with a cloud's suffix at its end: what every pod there lives with. */
export const SEARCH = [
  'default.svc.cluster.local',
  'svc.cluster.local',
  'cluster.local',
  'abc.internal.cloudapp.example',
]

/** The nth never-seen address: one host in a range that no named server uses. */
export const freshName = (n: number): string => `n${String(n).padStart(6, '0')}.fresh.test`
export const fresh4 = (n: number): string => `198.19.${(n >> 8) & 255}.${n & 255}`
export const fresh6 = (n: number): string => `2001:db8:1ff::${(n >> 16).toString(16)}:${(n & 0xffff).toString(16)}`

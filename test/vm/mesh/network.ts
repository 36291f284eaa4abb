/**
 * A cluster of namespaces: nodes, a pod on each, and the underlay that joins them. Node i is 192.168.0.i and fd00::i on
 * `eth0`; its pods are 10.1.i.0/24 and fd10:i::/64 behind `pod0`, and every node has routes to the pods of the others
 * over the underlay, as a CNI without tunnels makes them: without the seal all talk to all, in the clear.
 */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inside, run } from '../../support/datapath/in-namespace.ts'
import type { End } from './traffic.ts'

/** What the seal protects; the sniffer looks for these on the underlay. */
export const PROTECTED = ['10.1.0.0/16', 'fd10::/16']

/** 1500 of the underlay, less 80 for WireGuard over IPv6, down to a multiple of 16. */
const POD_MTU = 1408

export interface Node {
  /** From 1. */
  readonly index: number
  readonly name: string
  readonly namespace: string
  readonly pod: string
  /** The end of its link at the bridge. */
  readonly port: string
  readonly addresses: readonly string[]
  readonly prefixes: readonly string[]
  /** On the node itself, inside its prefixes. */
  readonly gateways: readonly string[]
  readonly podAddresses: readonly string[]
}

const batch = (namespace: string, lines: readonly string[]): void => {
  execFileSync('ip', namespace === '' ? ['-batch', '-'] : ['-n', namespace, '-batch', '-'], {
    input: `${lines.join('\n')}\n`,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
}

/** Before interfaces come: they take the default. Without it no address of IPv6 can be used for a second or two. */
const NO_DAD = { 'ipv6/conf/default/accept_dad': 0, 'ipv6/conf/all/accept_dad': 0 }

const withLength = (address: string): string => `${address}/${address.includes(':') ? '64' : '24'}`

const addAddress = (address: string, device: string): string =>
  `address add ${withLength(address)} dev ${device}${address.includes(':') ? ' nodad' : ''}`

/** Writes settings of a namespace below /proc/sys/net. */
function setSysctls(namespace: string, settings: Readonly<Record<string, number>>): void {
  const script = Object.entries(settings).map(([path, value]) => `echo ${value} > /proc/sys/net/${path}`)
  run(...inside(namespace, 'sh', '-e', '-c', script.join('\n')))
}

export class Network {
  readonly nodes: readonly Node[]
  /** Namespace of the bridge. */
  readonly fabric: string

  /** `prefix` begins the name of every namespace. */
  constructor(prefix: string, count: number) {
    this.fabric = `${prefix}fab`
    this.nodes = Array.from({ length: count }, (_, i) => describe(prefix, i + 1))
  }

  node(index: number): Node {
    const node = this.nodes[index - 1]
    if (node === undefined) throw new Error(`there is no node ${index}`)
    return node
  }

  get ports(): string[] {
    return this.nodes.map(({ port }) => port)
  }

  build(): void {
    const { fabric, nodes } = this
    batch(
      '',
      [fabric, ...nodes.flatMap(({ namespace, pod }) => [namespace, pod])].map((name) => `netns add ${name}`),
    )
    for (const { namespace, pod } of nodes) {
      setSysctls(namespace, { 'ipv4/ip_forward': 1, 'ipv6/conf/all/forwarding': 1, ...NO_DAD })
      setSysctls(pod, NO_DAD)
    }
    batch(fabric, [
      'link set lo up',
      // A bridge that looks for listeners keeps back neighbour solicitations of the first seconds.
      'link add br0 type bridge mcast_snooping 0',
      'link set br0 up',
      'address add 192.168.0.254/24 dev br0',
      'address add fd00::fe/64 dev br0 nodad',
      ...nodes.flatMap(({ port, namespace }) => [
        `link add ${port} type veth peer name eth0 netns ${namespace}`,
        `link set ${port} master br0 up`,
      ]),
    ])
    for (const node of nodes) this.#buildNode(node)
  }

  #buildNode(node: Node): void {
    const { namespace, pod, index } = node
    batch(namespace, [
      'link set lo up',
      'link set eth0 up',
      `address add 192.168.0.${index}/24 dev eth0`,
      `address add fd00::${index}/64 dev eth0 nodad`,
      'route add default via 192.168.0.254',
      'route add default via fd00::fe',
      `link add pod0 mtu ${POD_MTU} type veth peer name eth0 mtu ${POD_MTU} netns ${pod}`,
      'link set pod0 up',
      ...node.gateways.map((address) => addAddress(address, 'pod0')),
      ...this.nodes
        .filter((other) => other !== node)
        .flatMap((other) => other.prefixes.map((prefix, i) => `route add ${prefix} via ${other.addresses[i]}`)),
    ])
    batch(pod, [
      'link set lo up',
      'link set eth0 up',
      ...node.podAddresses.map((address) => addAddress(address, 'eth0')),
      ...node.gateways.map((address) => `route add default via ${address}`),
    ])
  }

  /** What a boot takes away: devices of WireGuard with their keys, rules and routes that are no CNI's. */
  loseDevices(node: Node): void {
    for (const device of ['kwg0', 'kwg1']) run('ip', '-n', node.namespace, 'link', 'delete', device)
    for (const family of ['-4', '-6'])
      for (const table of ['20000', '20100', '20101'])
        run('ip', family, '-n', node.namespace, 'route', 'flush', 'table', table)
    run('ip', '-n', node.namespace, 'nexthop', 'flush')
  }

  /** Removes all of it; what is not there is passed over. */
  remove(): void {
    const there = new Set(run('ip', 'netns', 'list').split(/\s/))
    const ours = [this.fabric, ...this.nodes.flatMap(({ namespace, pod }) => [namespace, pod])]
    const gone = ours.filter((name) => there.has(name))
    if (gone.length > 0)
      batch(
        '',
        gone.map((name) => `netns delete ${name}`),
      )
  }

  /**
   * Every packet to a node comes so much later. Said before there is traffic, with 0, it costs no packet later: who takes a
   * queue away, or puts one where none was, loses some. Needs netem.
   */
  delay(ms: number): void {
    for (const { port } of this.nodes) this.#tc(`qdisc replace dev ${port} root netem delay ${ms}ms limit 100000`)
  }

  /**
   * Before 6.6 programs on a device need a qdisc (clsact), and the first to put it there loses what is sent in that moment:
   * the kernel stops the queues (dev_deactivate in qdisc_graft). docs/limits.md has it; here it was there before.
   */
  readyForPrograms(): void {
    for (const { namespace } of this.nodes) run(...inside(namespace, ...'tc qdisc replace dev eth0 clsact'.split(' ')))
  }

  /** The link of a node is down: it sees that it has no carrier. */
  setLink(node: Node, up: boolean): void {
    run('ip', '-n', this.fabric, 'link', 'set', node.port, up ? 'up' : 'down')
  }

  /** Nothing reaches the node or leaves it, and nobody is told. Needs netem. */
  silence(node: Node, on: boolean): void {
    const rest = on ? 'netem loss 100%' : ''
    this.#tc(`qdisc ${on ? 'replace' : 'delete'} dev ${node.port} root ${rest}`)
    run(
      ...inside(node.namespace, 'tc', ...`qdisc ${on ? 'replace' : 'delete'} dev eth0 root ${rest}`.trim().split(' ')),
    )
  }

  #tc(line: string): void {
    run(...inside(this.fabric, 'tc', ...line.trim().split(' ')))
  }

  /** Nothing from its prefixes leaves the node: as if its pods did not run. */
  holdPods(node: Node): void {
    const file = join(tmpdir(), `${node.namespace}.nft`)
    const [four = '', six = ''] = node.prefixes
    const chain = (hook: string): string =>
      `chain ${hook} { type filter hook ${hook} priority 0; ip saddr ${four} oifname "eth0" drop; ip6 saddr ${six} oifname "eth0" drop; };`
    writeFileSync(file, `table inet held { ${chain('output')} ${chain('forward')} }\n`)
    run(...inside(node.namespace, 'nft', '-f', file))
  }

  releasePods(node: Node): void {
    run(...inside(node.namespace, 'nft', 'delete', 'table', 'inet', 'held'))
  }

  /** Nodes and pods forget what they were told of the paths, such as how large a packet may be. */
  forgetPaths(): void {
    for (const { namespace, pod } of this.nodes)
      for (const one of [namespace, pod])
        for (const family of ['-4', '-6']) run('ip', family, '-n', one, 'route', 'flush', 'cache')
  }

  /** Other addresses of the underlay for the node; its routes stay, and what others send to the old ones is for nobody. */
  readdress(node: Node, from: readonly string[], to: readonly string[]): void {
    // Else the kernel takes all other addresses of the network away with the first.
    setSysctls(node.namespace, { 'ipv4/conf/eth0/promote_secondaries': 1 })
    batch(node.namespace, [
      ...to.map((address) => addAddress(address, 'eth0')),
      ...from.map((address) => `address delete ${withLength(address)} dev eth0`),
    ])
  }

  /** What comes from these addresses does not come in at the node. */
  blockSources(node: Node, addresses: readonly string[]): void {
    const rules = addresses.map((address) => `${address.includes(':') ? 'ip6' : 'ip'} saddr ${address} drop;`)
    this.#block(node, rules.join(' '))
  }

  /** Datagrams to this port do not come in at the node, as a firewall would have it. */
  blockPort(node: Node, port: number): void {
    this.#block(node, `udp dport ${port} drop;`)
  }

  #block(node: Node, rules: string): void {
    const file = join(tmpdir(), `${node.namespace}.nft`)
    writeFileSync(file, `table inet blocked { chain input { type filter hook input priority 0; ${rules} }; }\n`)
    run(...inside(node.namespace, 'nft', '-f', file))
  }

  unblock(node: Node): void {
    run(...inside(node.namespace, 'nft', 'delete', 'table', 'inet', 'blocked'))
  }

  /** Ends of pod-to-pod flows between two nodes, IPv4 and IPv6. */
  podEnds(a: Node, b: Node): readonly (readonly [End, End])[] {
    return ends(a.pod, a.podAddresses, b.pod, b.podAddresses)
  }

  /** The same between the nodes themselves: their own addresses in their prefixes. */
  hostEnds(a: Node, b: Node): readonly (readonly [End, End])[] {
    return ends(a.namespace, a.gateways, b.namespace, b.gateways)
  }

  /** Each pair of nodes once. */
  pairs(): readonly (readonly [Node, Node])[] {
    return this.nodes.flatMap((a, i) => this.nodes.slice(i + 1).map((b) => [a, b] as const))
  }
}

function ends(a: string, from: readonly string[], b: string, to: readonly string[]): readonly (readonly [End, End])[] {
  return from.map((address, i) => [
    { namespace: a, address },
    { namespace: b, address: to[i] ?? '' },
  ])
}

function describe(prefix: string, index: number): Node {
  return {
    index,
    name: `n${index}`,
    namespace: `${prefix}n${index}`,
    pod: `${prefix}p${index}`,
    port: `v${index}`,
    addresses: [`192.168.0.${index}`, `fd00::${index}`],
    prefixes: [`10.1.${index}.0/24`, `fd10:${index}::/64`],
    gateways: [`10.1.${index}.1`, `fd10:${index}::1`],
    podAddresses: [`10.1.${index}.2`, `fd10:${index}::2`],
  }
}

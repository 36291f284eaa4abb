import { existsSync, mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Lab } from './lab.ts'
import { startAuthority } from './nameservers.ts'
import { batch, HOST_SYSCTLS, inside, namespaceOf, SPOKE_SYSCTLS } from './namespaces.ts'
import { must, run, waitFor } from './run.ts'
import { FAR_PODS, farPod, LAB_NODES } from './topology.ts'
import type { LabNode, Place } from './topology.ts'

/** 1500 of the underlay, less 80 for WireGuard over IPv6, down to a multiple of 16. */
const FAR_MTU = 1408
/** One address each for names that nobody has asked yet; all of them are far-shop's. */
const FRESH4 = '10.89.1.128/25'
const FRESH6 = 'fd89:1::1:0/112'
export const FAR_FRESH = 120
export const FAR_ZONE = 'far.example'
/** Prefixes that only encrypted packets may carry over the wire. */
export const SEALED = LAB_NODES.flatMap(({ prefixes }) => prefixes)
/** Ends of the wire between the nodes, where a sniffer sees both ways. */
export const WIRE_PORTS = ['wire1', 'wire2']

/** Agent of a node: its folder in the lab's and the name of its process. */
export const agentName = (key: LabNode['key']): string => (key === 'node' ? 'agent' : 'agent2')

/** Devices of the seal: programs in userspace share one folder of sockets on the machine, so each name must be one of a kind. */
export const devicePrefix = (prefix: string, key: LabNode['key']): string =>
  `${prefix.slice(0, 8)}${key === 'node' ? '1' : '2'}kwg`

/** Settings of an agent that keeps the seal in this lab, by section. */
export function sealSettings(lab: Lab, { key, name, underlay, prefixes }: LabNode) {
  return {
    node: { name },
    wireguard: {
      mode: 'manage',
      // The kernel's WireGuard where it has one, else a program.
      driver: 'auto',
      target: 'strict',
      devicePrefix: devicePrefix(lab.prefix, key),
      prefixes,
      endpoints: underlay,
      // Long enough here, where no packet is on its way for a millisecond.
      quiet: '1s',
      directory: { path: join(lab.directory, 'keys') },
    },
  }
}

/**
 * Adds a second node with three pods, and an underlay between the two. Packets between their pods are routed over it as
 * they are: it is up to the agents to seal them. `lab.directory/keys` is the folder in which they find each other.
 */
export async function addSecondNode(lab: Lab): Promise<void> {
  const { prefix } = lab
  mkdirSync(join(lab.directory, 'keys'), { recursive: true })
  const places: Place[] = ['node2', 'wire', ...FAR_PODS.map(({ key }) => key)]
  await batch(
    undefined,
    places.map((key) => `netns add ${namespaceOf(prefix, key)}`),
  )
  await Promise.all(
    places.map((key) =>
      must(inside(namespaceOf(prefix, key), ['sysctl', '-qw', ...(key === 'node2' ? HOST_SYSCTLS : SPOKE_SYSCTLS)])),
    ),
  )
  await buildWire(prefix)
  await buildFarPods(prefix)
  for (const key of ['far-shop', 'far-other'] as const)
    lab.processes.start(key, inside(namespaceOf(prefix, key), [resolve(import.meta.dirname, '../build/lab/web'), '80']))
  const { address4, address6 } = farPod('far-dns')
  await startAuthority(prefix, 'far-dns', join(lab.directory, 'far-dns'), lab.processes, {
    zones: new Map([[FAR_ZONE, farZone()]]),
    listen: [`${address4}@53`, `${address6}@53`],
  })
  await waitFor('the servers of the second node', async () => {
    const dig = ['dig', `@${address4}`, '+short', '+tries=1', '+time=1', `shop.${FAR_ZONE}`]
    const answer = await run(inside(namespaceOf(prefix, 'node2'), dig))
    const web = ['curl', '-s', '-o', '/dev/null', '-m', '1', `http://${farPod('far-shop').address4}/`]
    const page = await run(inside(namespaceOf(prefix, 'node2'), web))
    return answer.stdout.includes(farPod('far-shop').address4) && page.code === 0 ? true : undefined
  })
}

async function buildWire(prefix: string): Promise<void> {
  await batch(namespaceOf(prefix, 'wire'), [
    'link set lo up',
    // A bridge that looks for listeners keeps back neighbour solicitations of the first seconds.
    'link add br0 type bridge mcast_snooping 0',
    'link set br0 up',
    ...LAB_NODES.flatMap(({ key }, i) => [
      `link add ${WIRE_PORTS[i]} type veth peer name under0 netns ${namespaceOf(prefix, key)}`,
      `link set ${WIRE_PORTS[i]} master br0 up`,
    ]),
  ])
  for (const node of LAB_NODES) {
    const others = LAB_NODES.filter((one) => one !== node)
    await batch(namespaceOf(prefix, node.key), [
      'link set lo up',
      'link set under0 up',
      `addr add ${node.underlay[0]}/24 dev under0`,
      `addr add ${node.underlay[1]}/64 dev under0 nodad`,
      ...others.flatMap((other) => other.prefixes.map((cidr, i) => `route add ${cidr} via ${other.underlay[i]}`)),
    ])
  }
  // To the internet through the first node.
  await batch(
    namespaceOf(prefix, 'node2'),
    LAB_NODES[0].underlay.map((gateway) => `route add default via ${gateway}`),
  )
}

async function buildFarPods(prefix: string): Promise<void> {
  await batch(
    namespaceOf(prefix, 'node2'),
    FAR_PODS.flatMap(({ key, link, address4, address6 }) => [
      `link add ${link} mtu ${FAR_MTU} type veth peer name eth0 mtu ${FAR_MTU} netns ${namespaceOf(prefix, key)}`,
      `link set ${link} up`,
      `addr add 169.254.1.1/32 dev ${link} scope link`,
      `addr add fe80::1/64 dev ${link} nodad`,
      `route add ${address4}/32 dev ${link}`,
      `route add ${address6}/128 dev ${link}`,
    ]),
  )
  for (const { key, address4, address6 } of FAR_PODS)
    await batch(namespaceOf(prefix, key), [
      'link set lo up',
      'link set eth0 up',
      `addr add ${address4}/32 dev eth0`,
      `addr add ${address6}/128 dev eth0 nodad`,
      'route add 169.254.1.1 dev eth0 scope link',
      `route add default via 169.254.1.1 dev eth0 src ${address4}`,
      `route add default via fe80::1 dev eth0 src ${address6}`,
      ...(key === 'far-shop' ? [FRESH4, FRESH6].map((cidr) => `route add local ${cidr} dev lo`) : []),
    ])
  const { link, address4, address6 } = farPod('far-shop')
  await batch(namespaceOf(prefix, 'node2'), [
    `route add ${FRESH4} via ${address4} dev ${link} onlink`,
    `route add ${FRESH6} via ${address6} dev ${link} onlink`,
  ])
}

/** `shop` and `other` are pods of the second node, `out` is outside of both, `nNNN` are never asked twice. */
function farZone(): string {
  const both = (name: string, v4: string, v6: string): string[] => [`${name} A ${v4}`, `${name} AAAA ${v6}`]
  const lines = [
    `$ORIGIN ${FAR_ZONE}.`,
    '$TTL 300',
    '@ SOA ns admin 1 3600 600 86400 30',
    '@ NS ns',
    ...both('ns', farPod('far-dns').address4, farPod('far-dns').address6),
    ...both('shop', farPod('far-shop').address4, farPod('far-shop').address6),
    `six AAAA ${farPod('far-shop').address6}`,
    ...both('other', farPod('far-other').address4, farPod('far-other').address6),
    ...both('out', '198.18.9.1', '2001:db8:109::1'),
    ...Array.from({ length: FAR_FRESH }, (_, i) =>
      both(`n${String(i).padStart(3, '0')}`, `10.89.1.${128 + i}`, `fd89:1::1:${(i + 1).toString(16)}`),
    ).flat(),
  ]
  return lines.join('\n') + '\n'
}

/** `sekisho cleanup` on every node of a lab that has devices of the seal: programs of userspace WireGuard end with theirs. */
export async function cleanSeals(prefix: string, directory: string): Promise<void> {
  await Promise.all(
    LAB_NODES.map(async ({ key }) => {
      const config = join(directory, agentName(key), 'config.yaml')
      const namespace = namespaceOf(prefix, key)
      if (!existsSync(config) || !existsSync(`/run/netns/${namespace}`)) return
      const links = await run(['ip', '-n', namespace, '-o', 'link'])
      if (!links.stdout.includes(` ${devicePrefix(prefix, key)}`)) return
      const launcher = resolve(import.meta.dirname, '../bin/sekisho')
      await run(inside(namespace, [launcher, 'cleanup', '--force', '--config', config]))
    }),
  )
}

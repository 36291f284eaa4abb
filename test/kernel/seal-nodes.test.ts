/**
 * Two nodes with all that can be turned on: what nodes themselves send is sealed but for what is left out, prefixes beyond the
 * pod CIDRs, and pods that were made before anybody thought of tunnels, with an MTU that does not fit.
 */
import { spawnSync } from 'node:child_process'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { inside, run } from '../support/datapath/in-namespace.ts'
import { sleep } from '../vm/harness.ts'
import { Lab } from '../vm/mesh/lab.ts'
import type { Node } from '../vm/mesh/network.ts'
import type { Report } from '../vm/mesh/traffic.ts'
import { disable } from '../vm/seal.ts'

/** Programs in userspace share one folder of sockets on the machine, so each name must be one of a kind. */
const prefixOf = ({ index }: Node): string => `sno${process.pid % 100_000}${index}k`
/** Nothing here waits for a processor that is emulated, so no packet comes later, ms. */
const LATE_MS = 700
/** Of Ethernet: what a CNI gives to pods when nobody tells it. The tunnels carry less over IPv4 of 1500. */
const POD_MTU = 1500
const TUNNEL_MTU = 1440
/** The flow that is left out of what nodes send over IPv4: an API server, say. The first port that the traffic takes. */
const LEFT_OUT = 20_000
/** Two times the shortest time after which TCP sends again (RFC 6298 section 2.4 as Linux has it), ms. */
const STANDSTILL_MS = 400
/** Records a second, and octets of one: 800 kB/s each way and family. */
const BULK = { rate: 50, size: 16_000 }
/** Addresses of a node that lie in no CIDR of its pods; within what the sniffer looks for. */
const extraOf = ({ index }: Node): { readonly prefixes: string[]; readonly addresses: [string, string] } => ({
  prefixes: [`10.1.20${index}.0/28`, `fd10:20${index}::/64`],
  addresses: [`10.1.20${index}.1`, `fd10:20${index}::1`],
})

class WideLab extends Lab {
  override async addFlows(): Promise<void> {
    const [a, b] = [this.network.node(1), this.network.node(2)]
    for (const [node, other] of [
      [a, b],
      [b, a],
    ] as const) {
      run('ip', '-n', node.namespace, 'link', 'set', 'pod0', 'mtu', String(POD_MTU))
      run('ip', '-n', node.pod, 'link', 'set', 'eth0', 'mtu', String(POD_MTU))
      for (const [i, address] of extraOf(node).addresses.entries()) {
        run('ip', '-n', node.namespace, 'address', 'add', `${address}/${i === 0 ? 32 : 128}`, 'dev', 'lo')
        const via = ['via', other.addresses[i] ?? '']
        run('ip', '-n', node.namespace, 'route', 'add', extraOf(other).prefixes[i] ?? '', ...via)
      }
    }
    const ends = (from: Node, to: Node, addresses: (node: Node) => readonly string[], family: 0 | 1) =>
      [from, to].map((node) => ({ namespace: node.namespace, address: addresses(node)[family] ?? '' })) as [
        { namespace: string; address: string },
        { namespace: string; address: string },
      ]
    const nodes = (node: Node): readonly string[] => node.addresses
    const extra = (node: Node): readonly string[] => extraOf(node).addresses
    await this.traffic.tcp('left-out', ...ends(a, b, nodes, 0), 20, 1200)
    await this.traffic.tcp('node', ...ends(a, b, nodes, 0), 20, 1200)
    for (const family of [0, 1] as const) {
      await this.traffic.udp(family === 0 ? 'node' : 'left-out', ...ends(a, b, nodes, family), 25)
      await this.traffic.udp('extra', ...ends(a, b, extra, family), 25)
    }
    for (const [from, to] of this.network.podEnds(a, b)) await this.traffic.tcp('bulk', from, to, BULK.rate, BULK.size)
    await super.addFlows()
  }
}

const lab = new WideLab({
  prefix: `sno${process.pid}`,
  nodes: 2,
  rate: 50,
  driver: 'userspace',
  wireguard: (node) => ({
    devicePrefix: prefixOf(node),
    extraPrefixes: extraOf(node).prefixes,
    encryptNodes: true,
    bypass: [`192.168.0.2/32 tcp/${LEFT_OUT}`, 'fd00::/64'],
  }),
})

const COUNTERS = ['node', 'left_out4', 'left_out6'] as const
type Seen = Record<(typeof COUNTERS)[number], number>

/** Counts what goes in clear text from node to node, by address and port: its envelope has the same addresses. */
function watchNodes(): () => Seen {
  const four = 'ip saddr 192.168.0.0/24 ip daddr 192.168.0.0/24'
  const six = 'ip6 saddr fd00::/64 ip6 daddr fd00::/64'
  const chains = lab.network.ports.map(
    (port) => `chain ${port} { type filter hook ingress device "${port}" priority 0;
      ${four} tcp dport ${LEFT_OUT} counter name left_out4 accept; ${four} tcp sport ${LEFT_OUT} accept;
      ${four} udp dport { 51871, 51872 } accept;
      ${four} meta l4proto { tcp, udp } counter name node; ${six} meta l4proto { tcp, udp } counter name left_out6; }`,
  )
  const objects = COUNTERS.map((name) => `counter ${name} { }`)
  run(...inside(lab.network.fabric, 'nft', `table netdev seen {\n${[...objects, ...chains].join('\n')}\n}\n`))
  return () => {
    const text = run(...inside(lab.network.fabric, 'nft', 'list', 'counters'))
    const count = (name: string): number => Number(new RegExp(`counter ${name} \\{\\s*packets (\\d+)`).exec(text)?.[1])
    return Object.fromEntries(COUNTERS.map((name) => [name, count(name)])) as Seen
  }
}

let seen: () => Seen
const since = (before: Seen): Seen => {
  const now = seen()
  return Object.fromEntries(COUNTERS.map((name) => [name, now[name] - before[name]])) as Seen
}

/** Nothing lost, and no stream stood still: a segment that does not fit is sent again at once, and never again. */
function assertStreams(report: Report): void {
  const { tcp, seconds, stallMs, udp, flows } = report
  lab.assertSmooth(report)
  const bulk = flows.filter(({ label }) => label.startsWith('bulk'))
  expect(bulk).toHaveLength(4)
  for (const { label, sent, gapMs } of bulk) {
    expect(sent, label).toBeGreaterThan(seconds * BULK.rate * 0.9)
    expect(gapMs, label).toBeLessThan(2 * Math.max(stallMs, udp.txMaxGapMs, tcp.txMaxGapMs) + STANDSTILL_MS)
  }
  const segments = (bulk.length * seconds * BULK.rate * BULK.size) / TUNNEL_MTU
  expect(tcp.retransmits).toBeLessThan(segments / 20)
}

beforeAll(async () => {
  if (process.getuid?.() !== 0) throw new Error('this makes namespaces: run it as root')
  await lab.open()
  await lab.traffic.late(LATE_MS)
  seen = watchNodes()
}, 60_000)

afterAll(async () => {
  await lab.agents.endAll()
  for (const node of lab.nodes)
    for (const slot of [0, 1]) spawnSync('ip', ['-n', node.namespace, 'link', 'delete', `${prefixOf(node)}${slot}`])
  await lab.close()
}, 60_000)

test('enabling them costs no packet and no connection, and streams go on, though pods send packets that do not fit', async () => {
  await sleep(500)
  const open = seen()
  expect(COUNTERS.filter((name) => !(open[name] > 10))).toEqual([])
  expect(await lab.clearFrames()).toBeGreaterThan(100)
  void lab.window('clear')
  for (const node of lab.nodes) lab.agents.start(node, 'strict')
  await lab.untilMode('strict')
  await lab.untilSettled()
  assertStreams(await lab.traffic.mark('enable'))
  // How the pods came to know.
  for (const node of lab.nodes)
    for (const address of lab.network.node(3 - node.index).podAddresses)
      expect(run('ip', '-n', node.pod, 'route', 'get', address)).toMatch(
        new RegExp(`expires \\d+sec mtu ${TUNNEL_MTU}`),
      )
}, 90_000)

test('what nodes send is sealed but for what is left out, and prefixes beyond the pod CIDRs are', async () => {
  const before = seen()
  await lab.clearFrames()
  await sleep(1500)
  const { node, left_out4, left_out6 } = since(before)
  expect([node, await lab.clearFrames()]).toEqual([0, 0])
  expect(left_out4).toBeGreaterThan(20)
  expect(left_out6).toBeGreaterThan(50)
  assertStreams(await lab.traffic.mark('sealed'))
}, 60_000)

test('pods whose packets do not fit are told of in status, metric and log, once', async () => {
  const words = `pod0 has an MTU of ${POD_MTU}, and the tunnels carry ${TUNNEL_MTU}`
  for (const node of lab.nodes) {
    const { warnings } = await lab.agents.report(node)
    expect(warnings.filter((text) => text.includes('MTU'))).toEqual([expect.stringContaining(words)])
    expect(await lab.agents.metrics(node)).toMatch(/^sekisho_wg_large_pod_interfaces 1$/m)
    const log = lab.agents.log(node, Infinity).split('\n')
    expect(log.filter((line) => line.includes(words))).toHaveLength(1)
  }
}, 60_000)

test('disabling them costs no packet either', async () => {
  const before = seen()
  expect(await disable(lab)).toMatchObject({ lost: 0, duplicated: 0, resets: 0 })
  expect(since(before).node).toBeGreaterThan(10)
}, 90_000)

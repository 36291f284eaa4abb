/** A cluster with agents under traffic: network, directory, agents, flows of every pair, and the sniffer beneath. */
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import type { SealPeer } from '../../../src/http/wg-ports.ts'
import { sleep, until } from '../harness.ts'
import { Agents, type Target } from './agents.ts'
import { Network, type Node, PROTECTED } from './network.ts'
import { Relay } from './relay.ts'
import { Sniffer } from './sniffer.ts'
import { badFlows, type Report, Traffic } from './traffic.ts'

/**
 * What a receiver may wait, by how long the generator itself stood still: a packet that waited for a processor there can wait as
 * long again for the kernel's threads that encrypt it.
 */
const GAP_STALLS = 2
const GAP_SLACK_MS = 100
const LATE_MS = 2000
/** Before there are tunnels: a window that calls late packets lost is taken again. */
const FIRST_LATE_MS = 500
/** Records a second of each TCP stream, and packets a second between nodes themselves. */
const TCP_RATE = 5
const NODE_RATE = 5

export interface LabOptions {
  readonly prefix: string
  readonly nodes: number
  /** Packets a second of each UDP flow from pod to pod. */
  readonly rate: number
  readonly driver?: 'kernel' | 'userspace'
  /** More settings of `wireguard`. */
  readonly wireguard?: (node: Node) => Readonly<Record<string, unknown>>
}

/** Off: clear text, whether the tunnels stand by or not. */
const isIn = ({ mode }: SealPeer, wanted: Target): boolean =>
  wanted === 'off' ? mode === 'off' || mode === 'proven' : mode === wanted

/** mulberry32: the same weather with the same seed. */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

export class Lab {
  readonly network: Network
  readonly relay: Relay
  readonly agents: Agents
  readonly root: string
  readonly random: () => number
  readonly #options: LabOptions
  #traffic: Traffic | undefined
  #sniffer: Sniffer | undefined
  #clearBefore = 0

  constructor(options: LabOptions) {
    this.#options = options
    this.root = `/run/${options.prefix}lab`
    this.network = new Network(options.prefix, options.nodes)
    this.random = randomOf(Number(process.env['VM_SEED'] ?? 1))
    this.relay = new Relay(
      `${this.root}/directory`,
      this.nodes.map(({ name }) => name),
      this.random,
    )
    this.agents = new Agents(this.network, {
      root: this.root,
      directory: (node) => this.relay.folder(node.name),
      driver: options.driver ?? 'kernel',
      ...(options.wireguard === undefined ? {} : { wireguard: options.wireguard }),
    })
  }

  get nodes(): readonly Node[] {
    return this.network.nodes
  }

  get traffic(): Traffic {
    if (this.#traffic === undefined) throw new Error('the lab has no traffic yet')
    return this.#traffic
  }

  /** Namespaces and traffic; packets go in the clear until agents start. */
  async open(): Promise<void> {
    this.network.build()
    // Machines where the program does the work need not have netem and clsact.
    if (this.#options.driver !== 'userspace') {
      this.network.delay(0)
      this.network.readyForPrograms()
    }
    this.#traffic = new Traffic()
    await this.#traffic.late(FIRST_LATE_MS)
    this.#sniffer = await Sniffer.open(this.network.fabric, this.network.ports, PROTECTED)
    await this.addFlows()
    await this.#traffic.start()
    // Neighbours are found with the first packets.
    let lost = Infinity
    for (let i = 0; lost > 0 && i < 10; i++) {
      await sleep(200)
      const { udp, tcp } = await this.#traffic.mark('begin')
      lost = udp.lost + tcp.lost
    }
    assert.equal(lost, 0, 'a network without tunnels loses packets')
    await this.#traffic.late(LATE_MS)
  }

  async addFlows(): Promise<void> {
    for (const [a, b] of this.network.pairs()) {
      for (const [from, to] of this.network.podEnds(a, b)) {
        await this.traffic.udp('pod', from, to, this.#options.rate)
        await this.traffic.tcp('pod', from, to, TCP_RATE, 1200)
      }
      for (const [from, to] of this.network.hostEnds(a, b)) await this.traffic.udp('node', from, to, NODE_RATE)
    }
  }

  /** Ends a window of the traffic now; what it says is known when late packets were waited for, and the next has begun. */
  window(name: string): Promise<Report> {
    return watched(this.traffic.mark(name))
  }

  /** The same, and nothing is sent any more. */
  lastWindow(name: string): Promise<Report> {
    return watched(this.traffic.stop(name))
  }

  /** Frames of protected prefixes seen on the underlay since this was asked last. */
  async clearFrames(): Promise<number> {
    const { frames } = (await this.#sniffer?.count()) ?? { frames: NaN }
    const fresh = frames - this.#clearBefore
    this.#clearBefore = frames
    return fresh
  }

  /** The first frame in the clear ever seen. */
  async clearSample(): Promise<string> {
    return (await this.#sniffer?.count())?.sample ?? ''
  }

  /** Fails unless nothing was lost, doubled or broken, and no flow stood still for longer than the machine did. */
  assertSmooth(report: Report): void {
    const { udp, tcp } = report
    assert.ok(udp.sent > 0 && tcp.sent > 0, 'nothing was sent')
    assert.equal(
      udp.lost + udp.duplicated + tcp.lost + tcp.resets,
      0,
      `${report.window}: ${JSON.stringify({ udp, tcp, stallMs: report.stallMs })}\n${badFlows(report)}`,
    )
    const stall = Math.max(udp.txMaxGapMs, tcp.txMaxGapMs, report.stallMs)
    assert.ok(
      udp.maxGapMs <= GAP_STALLS * stall + GAP_SLACK_MS,
      `${report.window}: gap ${udp.maxGapMs} ms, stall ${stall} ms`,
    )
  }

  /** Every agent of these sees every other one in this mode. */
  async untilMode(mode: Target, nodes: readonly Node[] = this.nodes, timeoutMs = 60_000): Promise<number> {
    // Each answer costs an agent some time: those that have not come so far are asked, and in the end all of them.
    let left: readonly Node[] = nodes
    const firstBehind = async (): Promise<number> => {
      for (const [i, node] of left.entries()) if (!(await this.#sees(node, mode, nodes))) return i
      return -1
    }
    return until(
      `all pairs ${mode}`,
      async () => {
        const behind = await firstBehind()
        if (behind >= 0) left = left.slice(behind)
        else if (left.length === nodes.length) return true
        else left = nodes
        return false
      },
      timeoutMs,
      async () => (await Promise.all(nodes.map(async (node) => this.describe(node)))).join('\n'),
    )
  }

  async #sees(node: Node, mode: Target, nodes: readonly Node[]): Promise<boolean> {
    if (!this.agents.runs(node)) throw new Error(`the agent of ${node.name} has ended\n${this.agents.log(node)}`)
    const peers = await this.agents.peers(node).catch(() => undefined)
    if (peers === undefined) return false
    const others = nodes.filter((other) => other !== node)
    return others.every(({ name }) => peers.some((peer) => peer.name === name && isIn(peer, mode)))
  }

  /** Empty while the agent does not answer. */
  async peersOf(node: Node): Promise<readonly SealPeer[]> {
    try {
      return await this.agents.peers(node)
    } catch {
      return []
    }
  }

  async describe(node: Node): Promise<string> {
    const peers = (await this.peersOf(node)).map(
      ({ name, mode, egress, tunnels }) =>
        `${name} ${mode} by ${egress} (${tunnels.map(({ slot, state }) => `${slot} ${state}`).join(', ')})`,
    )
    const rotation = await this.agents
      .report(node)
      .then((report) => JSON.stringify(report.rotation))
      .catch(() => 'no answer')
    return `${node.name}: ${peers.join('; ')}; ${rotation}\n${this.agents.log(node)}`
  }

  /** Waits until every tunnel of every pair is proven on both slots and no rotation runs. */
  async untilSettled(nodes: readonly Node[] = this.nodes, timeoutMs = 60_000): Promise<number> {
    return until(
      'all tunnels proven, no rotation',
      async () => {
        for (const node of nodes) {
          const peers = await this.peersOf(node)
          if (peers.length < nodes.length - 1) return false
          if (!peers.every(({ tunnels }) => tunnels.length === 2 && tunnels.every(({ state }) => state === 'proven')))
            return false
          if ((await this.agents.report(node)).rotation.phase !== 'idle') return false
        }
        return true
      },
      timeoutMs,
      async () => (await Promise.all(nodes.map(async (node) => this.describe(node)))).join('\n'),
    )
  }

  /** Packets in clear text that the guards have dropped, by node and direction; those without are left out. */
  async dropped(): Promise<Record<string, number>> {
    const found: Record<string, number> = {}
    for (const node of this.nodes)
      for (const { direction, family, packets } of (await this.agents.report(node)).dropped)
        if (packets > 0) found[`${node.name} ${direction} IPv${family}`] = packets
    return found
  }

  /** The slot that a rotation takes next. */
  async olderSlot(node: Node): Promise<number> {
    const { slots } = await this.agents.report(node)
    return slots.toSorted((a, b) => b.keyAgeSeconds - a.keyAgeSeconds)[0]?.slot ?? -1
  }

  /** Asks for a rotation at each of these at once and waits until all are over. Tells how long it took, ms. */
  async rotate(nodes: readonly Node[], timeoutMs = 90_000): Promise<number> {
    const before = new Map<Node, number>()
    for (const node of nodes) before.set(node, (await this.agents.report(node)).rotation.completed)
    await Promise.all(nodes.map(async (node) => this.agents.rotate(node)))
    return until(
      'rotations over',
      async () => {
        for (const node of nodes) {
          const { rotation } = await this.agents.report(node)
          if (rotation.completed <= (before.get(node) ?? 0) || rotation.phase !== 'idle') return false
        }
        return true
      },
      timeoutMs,
      async () => (await Promise.all(nodes.map(async (node) => this.describe(node)))).join('\n'),
    )
  }

  async close(): Promise<void> {
    this.relay.stop()
    await this.agents.endAll()
    await this.#traffic?.end()
    await this.#sniffer?.end()
    this.network.remove()
    rmSync(this.root, { recursive: true, force: true })
  }
}

/** Who waits for it comes later. */
function watched<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined)
  return promise
}

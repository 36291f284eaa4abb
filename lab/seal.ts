import { Sniffer } from '../test/vm/mesh/sniffer.ts'
import { badFlows, Traffic } from '../test/vm/mesh/traffic.ts'
import type { Report } from '../test/vm/mesh/traffic.ts'
import type { Agent } from './agent.ts'
import type { Lab } from './lab.ts'
import { Hopeless, sleep, SLOW, waitFor } from './run.ts'
import { devicePrefix, SEALED, WIRE_PORTS } from './second-node.ts'
import { farPod, spoke } from './topology.ts'

/** Packets a second of each UDP flow, each way; an emulated machine has no room for more. */
const RATE = SLOW > 1 ? 25 : 100
const RECORD = 1000
/** Exit status of a command of ours to which no agent answered in time (EX_UNAVAILABLE of sysexits.h). */
const UNAVAILABLE = 69

/** Two agents that keep the seal between the lab's nodes, the load between their pods, and who watches the wire. */
export class Seal {
  readonly lab: Lab
  readonly near: Agent
  readonly far: Agent
  readonly #sniffer: Sniffer
  #traffic: Traffic | undefined
  #seen = 0

  private constructor(lab: Lab, near: Agent, far: Agent, sniffer: Sniffer) {
    this.lab = lab
    this.near = near
    this.far = far
    this.#sniffer = sniffer
  }

  static async open(lab: Lab, near: Agent, far: Agent): Promise<Seal> {
    return new Seal(lab, near, far, await Sniffer.open(lab.namespace('wire'), WIRE_PORTS, SEALED))
  }

  /** Frames of pods that were in the clear on the wire since this was asked last. */
  async clearFrames(): Promise<number> {
    const { frames } = await this.#sniffer.count()
    const fresh = frames - this.#seen
    this.#seen = frames
    return fresh
  }

  /** Waits until both nodes have proven each other on both slots and drop clear text. Returns how long that took, ms. */
  async sealed(timeoutMs = 40_000): Promise<number> {
    const started = performance.now()
    await waitFor(
      'both nodes to prove each other on both slots',
      async () => {
        for (const agent of [this.near, this.far]) {
          if (agent.pid === undefined) throw new Hopeless(`an agent ended\n${agent.log().slice(-2000)}`)
          const [peer] = await agent.sealPeers()
          if (peer === undefined) return undefined
          const states = peer.tunnels.map(({ state }) => state)
          if (peer.mode !== 'strict' || states.length !== 2 || states.some((state) => state !== 'proven'))
            throw new Error(`${peer.name} ${peer.mode}, ${states.join(' and ')}`)
        }
        return true
      },
      { timeoutMs, everyMs: 50 },
    )
    return performance.now() - started
  }

  /** As an operator does it, and again when the agent was too busy to answer at once. Throws when no key was changed in time. */
  async rotate(agent: Agent): Promise<void> {
    const { completed } = (await agent.seal()).rotation
    let said = ''
    await waitFor(
      'the rotation',
      async () => {
        const { rotation } = await agent.seal()
        if (rotation.completed > completed && rotation.phase === 'idle') return true
        if (rotation.phase === 'idle' && rotation.queue.length === 0) {
          const done = await agent.command(['wg', 'rotate'])
          said = `wg rotate: exit ${done.code} ${done.stdout}${done.stderr}`
          if (done.code !== 0 && done.code !== UNAVAILABLE) throw new Hopeless(said)
        }
        throw new Error(`${said} ${JSON.stringify(rotation)}`)
      },
      { timeoutMs: 90_000, everyMs: 20 },
    )
  }

  /** Public keys of an agent's slots. */
  async keys(agent: Agent): Promise<readonly (string | undefined)[]> {
    return (await agent.seal()).slots.map(({ publicKey }) => publicKey)
  }

  /** Public keys of the first node's devices by wg(8): needs no agent. */
  async deviceKeys(): Promise<readonly string[]> {
    const { stdout } = await this.lab.at('node', ['wg', 'show', 'all', 'public-key'])
    const ours = devicePrefix(this.lab.prefix, 'node')
    const rows = stdout.split('\n').filter((line) => line.startsWith(ours))
    return rows.sort().map((line) => line.split('\t')[1] ?? '')
  }

  /**
   * Starts flows between client-a and far-shop: UDP both ways and a TCP stream, IPv4 and IPv6, on ports from 20000. The pod
   * must have looked the name up: it sends to nobody else.
   */
  async load(): Promise<void> {
    const traffic = new Traffic()
    this.#traffic = traffic
    const [from, to] = [spoke('client-a'), farPod('far-shop')]
    const at = (key: 'client-a' | 'far-shop', address: string) => ({ namespace: this.lab.namespace(key), address })
    await traffic.late(500 * Math.min(4, SLOW))
    for (const family of ['address4', 'address6'] as const) {
      const ends = [at('client-a', from[family]), at('far-shop', to[family])] as const
      await traffic.udp('pod', ...ends, RATE)
      await traffic.tcp('pod', ...ends, RATE / 5, RECORD)
    }
    await traffic.start()
    // Neighbours are found with the first packets.
    await waitFor('flows that lose nothing', async () => {
      await sleep(200)
      const { flows } = await traffic.mark('begin')
      return flows.every(({ sent, lost }) => sent > 0 && lost === 0) ? true : undefined
    })
  }

  /** What became of the packets sent since this was asked last; throws when one was lost or doubled, or a stream broke. */
  async smooth(name: string): Promise<Report> {
    if (this.#traffic === undefined) throw new Error('there is no load')
    const report = await this.#traffic.mark(name)
    const bad = badFlows(report)
    if (bad !== '') throw new Error(`${bad}\n${await this.#explain()}`)
    if (report.udp.sent === 0 || report.tcp.sent === 0) throw new Error('nothing was sent')
    return report
  }

  /** What the agents have dropped and said, for who reads that a packet is lost. */
  async #explain(): Promise<string> {
    const parts = [this.near, this.far].map(async (agent) => {
      const drops = agent.pid === undefined ? [] : await agent.drops(20).catch((error: unknown) => [String(error)])
      const { dropped } = await agent.seal().catch(() => ({ dropped: [] }))
      return `${JSON.stringify(drops)}\n${JSON.stringify(dropped)}\n${agent.log().slice(-3000)}`
    })
    return (await Promise.all(parts)).join('\n')
  }

  async endLoad(): Promise<void> {
    await this.#traffic?.end()
    this.#traffic = undefined
  }

  /** Instruments only; the agents stay. */
  async close(): Promise<void> {
    await this.endLoad()
    await this.#sniffer.end()
  }
}

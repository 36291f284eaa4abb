import { silentLog, type Log } from '../../../src/core/log.ts'
import { parseCidr } from '../../../src/core/ip.ts'
import { createEngine, type Engine, type EngineOptions } from '../../../src/wg/engine.ts'
import type { EngineClock } from '../../../src/wg/engine/types.ts'
import { DEFAULT_MACHINE } from '../../../src/wg/machine-types.ts'
import type { KeyEvent } from '../../../src/wg/seams.ts'
import type { Slot } from '../../../src/wg/slots.ts'
import { FakeClock } from './fake-clock.ts'
import { FakeNet, deviceName, type FakeKernel } from './fake-kernel.ts'
import {
  FakeCounter,
  FakeDriver,
  FakeGuard,
  FakeProber,
  FakeRouting,
  type FakeProbers,
  type Hook,
} from './fake-parts.ts'
import { MemoryDirectory } from './memory-directory.ts'

export interface Agent {
  readonly engine: Engine
  readonly driver: FakeDriver
  readonly routing: FakeRouting
  readonly guard: FakeGuard
  readonly prober: FakeProber
}

/** A few nodes with real engines on fake kernels. Kernels outlive the agents on them. */
export class EngineWorld {
  readonly clock = new FakeClock()
  readonly net: FakeNet
  readonly directory: MemoryDirectory
  readonly agents: (Agent | undefined)[]
  readonly keyLog: KeyEvent[] = []
  /** Called around every call of a part of node `index`. */
  hook: (index: number, what: string) => void = () => undefined
  log: Log = silentLog
  readonly #probers: FakeProbers = new Map()
  readonly #uids: string[]
  readonly #boots = new Map<number, { readonly id: string; readonly at: number }>()

  constructor(nodes: number) {
    this.net = new FakeNet(this.clock, nodes)
    this.directory = new MemoryDirectory(this.clock)
    this.agents = Array.from({ length: nodes }, () => undefined)
    this.#uids = Array.from({ length: nodes }, (_, i) => `uid-${i}`)
    this.clock.watch = () => {
      this.net.tryAll()
    }
  }

  kernel(index: number): FakeKernel {
    const kernel = this.net.kernels[index]
    if (kernel === undefined) throw new RangeError(`there is no node ${index}`)
    return kernel
  }

  agent(index: number): Agent {
    const agent = this.agents[index]
    if (agent === undefined) throw new RangeError(`no agent runs on node ${index}`)
    return agent
  }

  uid(index: number): string {
    return this.#uids[index] ?? ''
  }

  /** The node is made anew, under the same name. */
  reborn(index: number, uid: string): void {
    this.#uids[index] = uid
    this.#wipe(index)
  }

  /** The machine starts again: its kernel knows nothing, and its monotonic clock begins at zero. */
  reboot(index: number, bootId: string): void {
    this.#boots.set(index, { id: bootId, at: this.clock.monotonicMs() })
    this.#wipe(index)
  }

  #wipe(index: number): void {
    const kernel = this.kernel(index)
    kernel.devices.clear()
    kernel.routes.clear()
    kernel.guarded.clear()
  }

  /** The clock of a node: that of the world, from its last boot on. */
  #clockOf(index: number): EngineClock {
    const booted = this.#boots.get(index)?.at ?? 0
    return {
      monotonicMs: () => this.clock.monotonicMs() - booted,
      wallMs: () => this.clock.wallMs(),
      setTimer: (act, ms) => this.clock.setTimer(act, ms),
    }
  }

  make(index: number, options: Partial<EngineOptions> = {}): Agent {
    const kernel = this.kernel(index)
    const hook: Hook = (what) => {
      this.net.tryAll()
      this.hook(index, what)
    }
    const driver = new FakeDriver(kernel, this.net, this.clock, hook)
    const routing = new FakeRouting(kernel, this.clock, hook)
    const guard = new FakeGuard(kernel, hook)
    const prober = new FakeProber(kernel, this.net, this.clock, this.#probers, (i) => this.uid(i), hook)
    const engine = createEngine(
      {
        node: `node-${index}`,
        uid: this.uid(index),
        bootId: this.#boots.get(index)?.id ?? `boot-${index}`,
        domain: 'test',
        devices: [deviceName(index, 0), deviceName(index, 1)],
        ports: [51_871, 51_872],
        fwmark: 0x1e00,
        keepalive: 25,
        endpoints: [kernel.underlay],
        prefixes: [parseCidr(kernel.prefix)],
        nodeIPs: [kernel.underlay],
        encryptNodes: false,
        target: 'active',
        machine: DEFAULT_MACHINE,
        excuseAfterMs: 3_600_000,
        ...options,
      },
      {
        driver,
        directory: this.directory.node(`node-${index}`),
        routing,
        guard,
        prober,
        counter: new FakeCounter(kernel, hook),
        clock: this.#clockOf(index),
        log: this.log,
        keyLog: (event) => this.keyLog.push(event),
      },
    )
    const agent = { engine, driver, routing, guard, prober }
    this.agents[index] = agent
    return agent
  }

  /** Starts all that do not run, and waits until every pair is sealed and nothing goes on. */
  async up(options: Partial<EngineOptions> = {}): Promise<void> {
    for (let i = 0; i < this.agents.length; i++) if (this.agents[i] === undefined) await this.start(i, options)
    await this.clock.until(() => this.sealed, 60_000)
    await this.clock.advance(3_000)
  }

  async start(index: number, options: Partial<EngineOptions> = {}): Promise<Agent> {
    const agent = this.make(index, options)
    await this.wait(agent.engine.start())
    return agent
  }

  /** The agent ends as by its own will; the kernel stays. */
  async stop(index: number): Promise<void> {
    await this.wait(this.agent(index).engine.stop())
    this.agents[index] = undefined
  }

  /** Lets time go by until a promise is kept. */
  async wait<T>(promise: Promise<T>): Promise<T> {
    let done = false
    const mark = (): void => {
      done = true
    }
    promise.then(mark, mark)
    await this.clock.until(() => done, 120_000)
    if (!done) throw new Error('nothing came of it in two minutes')
    return promise
  }

  /** Every node sends to every other through a tunnel, both slots proven. */
  get sealed(): boolean {
    return this.agents.every((agent) => {
      const peers = agent?.engine.peers() ?? []
      return (
        peers.length === this.agents.length - 1 &&
        peers.every(
          ({ mode, tunnels }) =>
            (mode === 'active' || mode === 'strict') && tunnels.every(({ state }) => state === 'proven'),
        )
      )
    })
  }

  get idle(): boolean {
    return this.agents.every((agent) => {
      const report = agent?.engine.report()
      return report?.rotation.phase === 'idle' && report.rotation.queue.length === 0 && report.directory.published
    })
  }

  key(index: number, slot: Slot): string | undefined {
    return this.kernel(index).device(slot)?.publicKey
  }
}

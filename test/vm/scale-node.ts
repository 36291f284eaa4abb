/** The parts of an agent that bring thousands of peers into a slot, put together as the engine puts them together. */
import { randomBytes } from 'node:crypto'
import { systemClock } from '../../src/core/clock.ts'
import { parseIp } from '../../src/core/ip.ts'
import { silentLog } from '../../src/core/log.ts'
import type { Native } from '../../src/native/binding.ts'
import { adopt } from '../../src/wg/adopt.ts'
import { CAP_PROBES, CAP_TWO_SLOTS, type NodeRecord } from '../../src/wg/directory/record.ts'
import { InOrder } from '../../src/wg/drivers/in-order.ts'
import { KernelWgDriver } from '../../src/wg/drivers/kernel.ts'
import { stampsOf } from '../../src/wg/engine/by-key.ts'
import { engineClock } from '../../src/wg/engine/clock.ts'
import { Executor } from '../../src/wg/engine/executor.ts'
import { Faults } from '../../src/wg/engine/faults.ts'
import { Peers } from '../../src/wg/engine/peers.ts'
import { diffPeers } from '../../src/wg/engine/reconcile.ts'
import { RouteKeeper } from '../../src/wg/engine/route-keeper.ts'
import { SlotJobs } from '../../src/wg/engine/slot-jobs.ts'
import { step } from '../../src/wg/machine.ts'
import { DEFAULT_MACHINE, type WgEvent, type WgState } from '../../src/wg/machine-types.ts'
import type { WgDevice } from '../../src/wg/ports.ts'
import type { RoutingOptions } from '../../src/wg/routing/options.ts'
import { createRouting } from '../../src/wg/routing/routing.ts'
import type { Guard, Prober, Routing, SlotCounter } from '../../src/wg/seams.ts'
import { run } from '../support/datapath/in-namespace.ts'
import { sleep } from './harness.ts'

/** The slot under test; the other has the traffic. */
export const SLOT = 1
export const DEVICES = ['kwg0', 'kwg1'] as const
export const ENDPOINT = '192.168.9.9'
const FWMARK = 0x1e00

const ROUTING: RoutingOptions = {
  devices: DEVICES,
  table: 20_000,
  slotTables: [20_100, 20_101],
  rulePriority: 90,
  slotRulePriority: 80,
  fwmark: FWMARK,
  fwmarkMask: 0x1f00,
  protocol: 155,
  nexthopBase: 5000,
  slotAddresses: [parseIp('169.254.77.1'), parseIp('169.254.77.2')],
  probeAddresses: [],
  mtu: 1408,
  bypass: [],
}

/** 10.64.0.0/24 onwards, and a /64 each. */
export const prefixesOf = (i: number): readonly string[] => [
  `10.${64 + (i >> 8)}.${i & 255}.0/24`,
  `fd00:64:${(i + 1).toString(16)}::/64`,
]

/** Nobody knows the private key; below 2^255 - 19, or it would be another spelling of a point. */
export function newPublicKey(): string {
  const bytes = randomBytes(32)
  bytes[31] = (bytes[31] ?? 0) & 0x3f
  return bytes.toString('base64')
}

const recordOf = (i: number): NodeRecord => ({
  domain: 'scale',
  node: `node-${i}`,
  nodeUID: `uid-${i}`,
  bootID: 'boot',
  created: i,
  revision: 0,
  endpoints: [{ ip: ENDPOINT }],
  prefixes: [...prefixesOf(i)],
  nodeIPs: [],
  slots: ([0, 1] as const).map((id) => ({ id, port: 51_871 + id, publicKey: newPublicKey(), gen: 0, since: 0 })),
  drain: null,
  caps: [CAP_TWO_SLOTS, CAP_PROBES],
})

const guard: Guard = {
  start: () => Promise.resolve(new Set<string>()),
  protect: () => Promise.resolve(),
  check: () => Promise.resolve(0),
  counts: () => [],
  stop: () => Promise.resolve(),
  cleanup: () => Promise.resolve(),
}
const counter: SlotCounter = {
  slotReplaced: () => Promise.resolve(),
  packets: () => 0,
  stop: () => Promise.resolve(),
}
const prober: Prober = {
  start: () => Promise.resolve(),
  slotReplaced: () => Promise.resolve(),
  setTargets: () => undefined,
  ask: () => undefined,
  stop: () => Promise.resolve(),
}

export class ScaleNode {
  readonly driver: KernelWgDriver
  readonly routing: Routing
  readonly records: NodeRecord[]
  readonly #peers: Peers
  readonly #executor: Executor
  readonly #jobs: SlotJobs
  readonly #faults = new Faults(silentLog, engineClock)
  #aside = 0
  #state: WgState | undefined
  #dump: WgDevice | undefined

  constructor(native: Native, count: number) {
    this.driver = new KernelWgDriver(native)
    this.routing = createRouting(ROUTING, { native, log: silentLog, clock: systemClock })
    this.records = Array.from({ length: count }, (_, i) => recordOf(i))
    const self = { endpoints: [parseIp('192.168.9.1')], prefixes: [], nodeIPs: [] }
    const state = (): WgState => this.#now()
    // Without keepalive: thousands of handshakes with nobody would be all there is to see.
    this.#peers = new Peers({ encryptNodes: false, keepalive: 0 }, self, state)
    const common = { driver: this.driver, devices: DEVICES, state, clock: engineClock, faults: this.#faults }
    this.#executor = new Executor({
      ...common,
      peers: this.#peers,
      routes: new RouteKeeper(this.routing, guard, () => performance.now()),
      dump: () => this.#dump,
      retryMs: 250,
    })
    this.#jobs = new SlotJobs({
      ...common,
      routing: this.routing,
      lane: new InOrder(),
      prober,
      counter,
      executor: this.#executor,
      options: (slot) => this.#options(slot),
      feed: (event) => {
        this.#feed(event)
      },
      retryMs: 250,
    })
  }

  /** Both devices, made or found; the machine knows all peers, and that they are sealed. */
  async start(): Promise<void> {
    const keys: string[] = []
    for (const slot of [0, 1] as const) {
      keys.push((await this.driver.create(DEVICES[slot], this.#options(slot))).publicKey)
    }
    const adoption = { uid: 'self', bootId: 'boot', config: DEFAULT_MACHINE, own: undefined, target: 'active' } as const
    const now = engineClock.monotonicMs()
    const adopted = adopt({ ...adoption, keys: [keys[0] ?? '', keys[1] ?? ''], wallMs: engineClock.wallMs() }, now)
    this.#state = adopted.state
    for (const record of this.records) {
      this.#peers.set(record)
      this.#state = step(this.#state, { kind: 'peer', record }, now).state
    }
    const peers = this.#state.peers.map((pair) => ({ ...pair, egress: SLOT, mode: 'active' as const }))
    this.#state = { ...this.#state, peers }
    await this.routing.start()
  }

  /**
   * The device of the slot anew, without a peer. The one before goes aside: for each peer that is deleted with a device the
   * kernel waits for every processor, half a minute for a thousand under emulation.
   */
  async empty(): Promise<void> {
    const device = DEVICES[SLOT]
    run('ip', 'link', 'set', device, 'down')
    run('ip', 'link', 'set', device, 'name', `aside${this.#aside++}`)
    const { publicKey } = await this.driver.create(device, this.#options(SLOT))
    // Told as the engine tells it: else a rotation finds another key than it knows, takes that for its own work, and changes none.
    this.#feed({ kind: 'keyMade', slot: SLOT, publicKey, wallMs: engineClock.wallMs() })
    await this.routing.slotReplaced(SLOT)
    this.#dump = await this.driver.read(device)
  }

  /** What the agent does at every look: dump, machine, comparison, and what is missing is put in. How many were wrong. */
  async reconcile(): Promise<number> {
    const dump = await this.dump()
    this.#dump = dump
    this.#feed({ kind: 'dump', slot: SLOT, stamps: stampsOf(dump), wallMs: engineClock.wallMs() })
    const look = { roamed: () => false, skip: () => false }
    const { fixes, strangers } = diffPeers(this.#peers.allWanted(SLOT), dump, look)
    for (const { uid, endpoint, extra } of fixes) this.#executor.markProgram(uid, SLOT, { endpoint, extra })
    for (const key of strangers) this.#executor.markDrop(SLOT, key)
    await this.#settled()
    return fixes.length + strangers.length
  }

  async dump(): Promise<WgDevice> {
    const dump = await this.driver.read(DEVICES[SLOT])
    if (dump === undefined) throw new Error('the device is gone')
    return dump
  }

  async route(): Promise<void> {
    for (const { nodeUID } of this.records) this.#executor.markRoute(nodeUID)
    await this.#settled()
  }

  async unroute(): Promise<void> {
    await Promise.all(this.records.map(({ nodeUID }) => this.routing.removePeer(nodeUID)))
  }

  /** The peer publishes another key. */
  async changeKey(i: number): Promise<void> {
    const before = this.records[i]
    if (before === undefined) throw new RangeError(`there is no peer ${i}`)
    const [first, second] = before.slots
    if (first === undefined || second === undefined) throw new Error('a record without two slots')
    const record = { ...before, slots: [first, { ...second, publicKey: newPublicKey() }] }
    this.records[i] = record
    this.#peers.set(record)
    this.#feed({ kind: 'peer', record })
    await this.#settled()
  }

  /** Our own key of the slot, as in the middle of a rotation. */
  async rotate(): Promise<void> {
    const before = this.#now().slots[SLOT].publicKey
    this.#jobs.changeKey(SLOT, false)
    while (this.#jobs.busy(SLOT) || this.#now().slots[SLOT].publicKey === before) await sleep(1)
  }

  async moveEgress(i: number): Promise<void> {
    const uid = this.records[i]?.nodeUID ?? ''
    const pair = this.#now().peers.get(uid)
    if (pair === undefined) throw new RangeError(`there is no peer ${i}`)
    const peers = this.#now().peers.with({ ...pair, egress: pair.egress === 0 ? 1 : 0 })
    this.#state = { ...this.#now(), peers }
    this.#executor.markRoute(uid)
    await this.#settled()
  }

  async stop(): Promise<void> {
    await this.#executor.stop()
    await this.#jobs.stop()
    await this.routing.cleanup()
    await this.routing.stop()
    await this.driver.close()
  }

  #options(slot: 0 | 1): { listenPort: number; fwmark: number; mtu: number } {
    return { listenPort: 51_871 + slot, fwmark: FWMARK, mtu: 1408 }
  }

  #now(): WgState {
    if (this.#state === undefined) throw new Error('not started')
    return this.#state
  }

  #feed(event: WgEvent): void {
    const { state, effects } = step(this.#now(), event, engineClock.monotonicMs())
    this.#state = state
    for (const effect of effects) {
      if (effect.kind === 'install' && effect.slot === SLOT) {
        this.#executor.markProgram(effect.uid, SLOT, { replaces: effect.replaces })
      }
    }
  }

  async #settled(): Promise<void> {
    while (!this.#executor.idle) await sleep(1)
    if (this.#faults.count > 0) throw new Error('the executor met an error')
  }
}

import { SekishoError } from '../../../src/core/errors.ts'
import { formatCidr } from '../../../src/core/ip.ts'
import { sendsThroughTunnel } from '../../../src/wg/activation.ts'
import type { WgDevice, WgDeviceOptions, WgDriver, WgPeerBatch } from '../../../src/wg/ports.ts'
import type {
  FoundRoutes,
  Guard,
  PeerRoutes,
  ProbeTarget,
  Prober,
  RouteRepair,
  Routing,
  SlotCounter,
} from '../../../src/wg/seams.ts'
import { SLOTS, type Slot } from '../../../src/wg/slots.ts'
import type { FakeClock } from './fake-clock.ts'
import { deviceName, type FakeDevice, type FakeKernel, type FakeNet, type FakePeer } from './fake-kernel.ts'

/** Called before and after every call of a part; it may throw, and the call fails then. */
export type Hook = (what: string) => void

export const FAKE_MTU = 1408

abstract class FakePart {
  protected readonly hook: Hook

  constructor(hook: Hook) {
    this.hook = hook
  }

  protected async call<T>(what: string, act: () => T): Promise<T> {
    // Never at once: nothing of the kernel is done in the turn of the caller.
    await Promise.resolve()
    this.hook(`${what} before`)
    const result = act()
    this.hook(`${what} after`)
    return result
  }
}

export class FakeDriver extends FakePart implements WgDriver {
  readonly kind = 'kernel'
  readonly calls: { readonly what: string; readonly name: string; readonly batch?: WgPeerBatch }[] = []
  /** How long a new key takes, ms. */
  keyMs = 100
  /** How long a dump takes, ms. */
  readMs = 0
  reads = 0
  readonly #kernel: FakeKernel
  readonly #net: FakeNet
  readonly #clock: FakeClock
  #last: Promise<unknown> = Promise.resolve()

  constructor(kernel: FakeKernel, net: FakeNet, clock: FakeClock, hook: Hook) {
    super(hook)
    this.#kernel = kernel
    this.#net = net
    this.#clock = clock
  }

  async features() {
    return { removeAllowedIp: true }
  }

  create(name: string, options: WgDeviceOptions) {
    return this.#do('create', name, () => {
      let device = this.#kernel.devices.get(name)
      const created = device === undefined
      device ??= { publicKey: undefined, listenPort: 0, fwmark: 0, mtu: 0, up: true, deaf: false, peers: new Map() }
      Object.assign(device, options, { up: true })
      device.publicKey ??= this.#kernel.newKey()
      this.#kernel.devices.set(name, device)
      return { created, publicKey: device.publicKey }
    })
  }

  delete(name: string) {
    return this.#do('delete', name, () => {
      const slot = SLOTS.find((one) => deviceName(this.#kernel.index, one) === name)
      const stood = this.#kernel.devices.delete(name)
      if (stood && slot !== undefined) this.#kernel.flush(slot)
      return stood
    })
  }

  read(name: string): Promise<WgDevice | undefined> {
    return this.#do('read', name, async () => {
      this.reads++
      if (this.readMs > 0) await new Promise<void>((resolve) => this.#clock.setTimer(resolve, this.readMs))
      const device = this.#kernel.devices.get(name)
      if (device === undefined) return undefined
      const { publicKey, listenPort, fwmark } = device
      const peers = [...device.peers].map(([key, peer]) => ({
        publicKey: key,
        endpoint: peer.endpoint,
        allowedIps: [...peer.allowedIps.values()],
        keepalive: peer.keepalive,
        lastHandshakeNs: BigInt(Math.floor(peer.stamp)) * 1_000_000n,
        rxBytes: peer.rx,
        txBytes: peer.tx,
      }))
      return { name, publicKey, listenPort, fwmark, peers }
    })
  }

  configure(name: string, options: Partial<Pick<WgDeviceOptions, 'listenPort' | 'fwmark'>>) {
    return this.#do('configure', name, () => void Object.assign(this.#must(name), options))
  }

  setPeers(name: string, batch: WgPeerBatch) {
    return this.#do('setPeers', name, () => {
      this.calls.push({ what: 'setPeers', name, batch })
      this.#set(name, batch)
    })
  }

  restart(name: string) {
    return this.#do('restart', name, () => {
      this.calls.push({ what: 'restart', name })
      for (const peer of this.#must(name).peers.values()) Object.assign(peer, { send: undefined, receive: [] })
      const slot = SLOTS.find((one) => deviceName(this.#kernel.index, one) === name)
      if (slot !== undefined) this.#kernel.flush(slot)
    })
  }

  rotateKey(name: string) {
    return this.#do('rotateKey', name, async () => {
      await new Promise<void>((resolve) => this.#clock.setTimer(resolve, this.keyMs))
      const device = this.#must(name)
      this.calls.push({ what: 'rotateKey', name })
      device.publicKey = this.#kernel.newKey()
      for (const peer of device.peers.values())
        Object.assign(peer, { send: undefined, begun: undefined, begunAt: undefined })
      return device.publicKey
    })
  }

  async close() {}

  #do<T>(what: string, name: string, act: () => T | Promise<T>): Promise<T> {
    const result = this.#last.then(async () => {
      this.hook(`driver.${what} before`)
      const value = await act()
      this.hook(`driver.${what} after`)
      return value
    })
    this.#last = result.catch(() => undefined)
    void name
    return result
  }

  #must(name: string): FakeDevice {
    const device = this.#kernel.devices.get(name)
    if (device === undefined) throw new SekishoError('SEKISHO_WG_DEVICE', `${name}: there is no such device`)
    return device
  }

  #set(name: string, { set = [], remove = [] }: WgPeerBatch): void {
    const device = this.#must(name)
    const slot = SLOTS.find((one) => deviceName(this.#kernel.index, one) === name) ?? 0
    for (const one of set) {
      let peer = device.peers.get(one.publicKey)
      if (peer === undefined) {
        if (one.updateOnly === true) continue
        peer = blank()
        device.peers.set(one.publicKey, peer)
      }
      if (one.endpoint !== undefined) peer.endpoint = one.endpoint
      for (const cidr of one.addAllowedIps ?? []) {
        for (const other of device.peers.values()) other.allowedIps.delete(formatCidr(cidr))
        peer.allowedIps.set(formatCidr(cidr), cidr)
      }
      const begins =
        peer.keepalive === 0 && (one.keepalive ?? 0) > 0 && (this.#net.wireMs === 0 || peer.send === undefined)
      if (one.keepalive !== undefined) peer.keepalive = one.keepalive
      if (begins) this.#net.handshake(this.#kernel, slot, one.publicKey)
    }
    for (const one of set) {
      for (const cidr of one.removeAllowedIps ?? [])
        device.peers.get(one.publicKey)?.allowedIps.delete(formatCidr(cidr))
    }
    for (const key of remove) device.peers.delete(key)
  }
}

const blank = (): FakePeer => ({
  endpoint: undefined,
  allowedIps: new Map(),
  keepalive: 0,
  stamp: 0,
  rx: 0,
  tx: 0,
  send: undefined,
  receive: [],
})

export class FakeRouting extends FakePart implements Routing {
  readonly mtu = FAKE_MTU
  readonly told: PeerRoutes[] = []
  readonly #kernel: FakeKernel
  readonly #clock: FakeClock
  readonly #claims = new Map<string, PeerRoutes>()
  #remnants = new Set<string>()
  #unwatch: () => void = () => undefined

  constructor(kernel: FakeKernel, clock: FakeClock, hook: Hook) {
    super(hook)
    this.#kernel = kernel
    this.#clock = clock
  }

  start(): Promise<FoundRoutes> {
    return this.call('routing.start', () => {
      this.#remnants = new Set(this.#kernel.routes.keys())
      const egress = new Map([...this.#kernel.routes].map(([prefix, via]) => [prefix, via === 'closed' ? 0 : via]))
      return { egress }
    })
  }

  setPeer(routes: PeerRoutes): Promise<void> {
    return this.call('routing.setPeer', () => {
      this.told.push(routes)
      const before = this.#claims.get(routes.uid)
      this.#claims.set(routes.uid, routes)
      for (const cidr of before?.prefixes ?? []) this.#settle(formatCidr(cidr))
      for (const cidr of routes.prefixes) this.#settle(formatCidr(cidr))
    })
  }

  removePeer(uid: string): Promise<void> {
    return this.call('routing.removePeer', () => {
      const before = this.#claims.get(uid)
      this.#claims.delete(uid)
      for (const cidr of before?.prefixes ?? []) this.#settle(formatCidr(cidr))
    })
  }

  prune(): Promise<void> {
    return this.call('routing.prune', () => {
      const left = [...this.#remnants].filter((prefix) => this.#wanted(prefix) === undefined)
      this.#remnants.clear()
      for (const prefix of left) this.#settle(prefix)
    })
  }

  slotReplaced(): Promise<void> {
    return this.call('routing.slotReplaced', () => void this.#mend())
  }

  check(): Promise<readonly RouteRepair[]> {
    return this.call('routing.check', () => this.#mend())
  }

  watch(changed: () => void): void {
    this.#unwatch = this.#kernel.onChange(() => this.#clock.setTimer(changed, 50))
  }

  warnings(): readonly string[] {
    return []
  }

  async stop(): Promise<void> {
    this.#unwatch()
  }

  cleanup(): Promise<void> {
    return this.call('routing.cleanup', () => {
      this.#kernel.routes.clear()
    })
  }

  #wanted(prefix: string): Slot | undefined {
    for (const { prefixes, egress, mode } of this.#claims.values()) {
      if (sendsThroughTunnel(mode) && prefixes.some((cidr) => formatCidr(cidr) === prefix)) return egress
    }
    return undefined
  }

  #settle(prefix: string): void {
    const slot = this.#wanted(prefix)
    if (slot === undefined) {
      if (!this.#remnants.has(prefix) || this.#claims.size > 0) this.#kernel.routes.delete(prefix)
      return
    }
    this.#kernel.routes.set(prefix, this.#kernel.device(slot)?.up === true ? slot : 'closed')
  }

  #mend(): RouteRepair[] {
    const repairs: RouteRepair[] = []
    for (const slot of SLOTS) {
      const device = this.#kernel.device(slot)
      if (device === undefined) continue
      if (!device.up) {
        device.up = true
        repairs.push('link')
      }
      if (device.mtu !== FAKE_MTU) {
        device.mtu = FAKE_MTU
        repairs.push('mtu')
      }
    }
    for (const { prefixes } of this.#claims.values()) {
      for (const cidr of prefixes) {
        const prefix = formatCidr(cidr)
        const before = this.#kernel.routes.get(prefix)
        const slot = this.#wanted(prefix)
        if (slot === undefined || before === slot || this.#kernel.device(slot) === undefined) continue
        this.#settle(prefix)
        repairs.push('route')
      }
    }
    return repairs
  }
}

export class FakeGuard extends FakePart implements Guard {
  readonly told: string[] = []
  mended = 0
  readonly #kernel: FakeKernel

  constructor(kernel: FakeKernel, hook: Hook) {
    super(hook)
    this.#kernel = kernel
  }

  start() {
    return this.call('guard.start', (): ReadonlySet<string> => new Set(this.#kernel.guarded))
  }

  protect(prefix: Parameters<Guard['protect']>[0], on: boolean) {
    return this.call('guard.protect', () => {
      this.told.push(`${formatCidr(prefix)} ${on ? 'on' : 'off'}`)
      if (on) this.#kernel.guarded.add(formatCidr(prefix))
      else this.#kernel.guarded.delete(formatCidr(prefix))
    })
  }

  check() {
    return this.call('guard.check', () => {
      const { mended } = this
      this.mended = 0
      return mended
    })
  }

  counts() {
    return []
  }

  async stop() {}

  async cleanup() {
    this.#kernel.guarded.clear()
  }
}

const RTT_MS = 20

/** Probers find each other here. */
export type FakeProbers = Map<number, FakeProber>

export class FakeProber extends FakePart implements Prober {
  targets: readonly ProbeTarget[] = []
  asked = 0
  readonly #kernel: FakeKernel
  readonly #net: FakeNet
  readonly #clock: FakeClock
  readonly #all: FakeProbers
  readonly #uid: (index: number) => string
  #handlers: Parameters<Prober['start']>[0] | undefined

  constructor(
    kernel: FakeKernel,
    net: FakeNet,
    clock: FakeClock,
    all: FakeProbers,
    uid: (index: number) => string,
    hook: Hook,
  ) {
    super(hook)
    this.#kernel = kernel
    this.#net = net
    this.#clock = clock
    this.#all = all
    this.#uid = uid
  }

  start(handlers: Parameters<Prober['start']>[0]) {
    return this.call('prober.start', () => {
      this.#handlers = handlers
      this.#all.set(this.#kernel.index, this)
    })
  }

  slotReplaced() {
    return this.call('prober.slotReplaced', () => undefined)
  }

  setTargets(targets: readonly ProbeTarget[]): void {
    this.targets = targets
  }

  ask(uid: string, slot: Slot): void {
    this.asked++
    const index = this.#net.kernels.findIndex((kernel) => this.#uid(kernel.index) === uid)
    const there = this.#net.kernels[index]
    const known = there !== undefined && this.targets.some((target) => target.uid === uid)
    this.#clock.setTimer(() => {
      const other = this.#all.get(index)
      const passed = known && this.#net.passes(this.#kernel, there, slot) && this.#net.passes(there, this.#kernel, slot)
      const announcement = passed ? other?.announce(this.#uid(this.#kernel.index), slot) : undefined
      if (announcement === undefined) {
        this.#clock.setTimer(() => this.#handlers?.result({ uid, slot, answered: false }), 1000 - RTT_MS / 2)
        return
      }
      this.#clock.setTimer(
        () => this.#handlers?.result({ uid, slot, answered: true, rttMs: RTT_MS, announcement }),
        RTT_MS / 2,
      )
    }, RTT_MS / 2)
  }

  announce(uid: string, slot: Slot): ReturnType<Parameters<Prober['start']>[0]['announce']> {
    return this.#handlers?.announce(uid, slot)
  }

  async stop(): Promise<void> {
    this.#handlers = undefined
    if (this.#all.get(this.#kernel.index) === this) this.#all.delete(this.#kernel.index)
  }
}

export class FakeCounter extends FakePart implements SlotCounter {
  readonly #kernel: FakeKernel

  constructor(kernel: FakeKernel, hook: Hook) {
    super(hook)
    this.#kernel = kernel
  }

  slotReplaced() {
    return this.call('counter.slotReplaced', () => undefined)
  }

  packets(slot: Slot): number {
    return this.#kernel.received[slot]
  }

  async stop() {}
}

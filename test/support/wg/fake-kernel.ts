import { createHash } from 'node:crypto'
import { formatCidr, formatIp, parseIp, type Cidr, type Ip } from '../../../src/core/ip.ts'
import type { WgEndpoint } from '../../../src/wg/ports.ts'
import { SLOTS, type Slot } from '../../../src/wg/slots.ts'
import type { FakeClock } from './fake-clock.ts'

interface Session {
  readonly born: number
  /** Who began the handshake, and renews it; over a wire alone. */
  readonly by?: FakeKernel
}

export interface FakePeer {
  endpoint: WgEndpoint | undefined
  readonly allowedIps: Map<string, Cidr>
  keepalive: number
  /** Wall clock ms. */
  stamp: number
  rx: number
  tx: number
  send: Session | undefined
  receive: Session[]
  /** An initiation of ours that waits for its answer, over a wire alone. */
  begun?: object | undefined
  /** When the last one was sent: Linux sends no other to a peer for 5 s, until one of the two keys is another. */
  begunAt?: number | undefined
}

export interface FakeDevice {
  publicKey: string | undefined
  listenPort: number
  fwmark: number
  mtu: number
  up: boolean
  /** Handshakes work, and packets do not come in. */
  deaf: boolean
  readonly peers: Map<string, FakePeer>
}

const SESSION_MS = 180_000
const RENEW_MS = 120_000
const RETRY_MS = 5_000
/** WireGuard waits up to a third of a second longer, so that two ends do not try again in one moment for ever. */
const JITTER_MS = 333

/** What one node's kernel keeps, whatever becomes of the agent. */
export class FakeKernel {
  readonly index: number
  readonly devices = new Map<string, FakeDevice>()
  /** By prefix: slot, or `closed`: the fail-closed route alone. */
  readonly routes = new Map<string, Slot | 'closed'>()
  readonly guarded = new Set<string>()
  readonly received: [number, number] = [0, 0]
  #listeners = new Set<() => void>()
  #keys = 0

  constructor(index: number) {
    this.index = index
  }

  get underlay(): Ip {
    return parseIp(`192.0.2.${this.index + 1}`)
  }

  get prefix(): string {
    return `10.1.${this.index}.0/24`
  }

  device(slot: Slot): FakeDevice | undefined {
    return this.devices.get(deviceName(this.index, slot))
  }

  /** A key that nobody can have guessed, but the same in every run. */
  newKey(): string {
    const bytes = createHash('sha256').update(`${this.index} ${this.#keys++}`).digest()
    bytes[31] = (bytes[31] ?? 0) & 0x7f
    return bytes.toString('base64')
  }

  /** Routes of a device that is gone or down are gone; those that fail closed stay. */
  flush(slot: Slot): void {
    for (const [prefix, via] of this.routes) if (via === slot) this.routes.set(prefix, 'closed')
    this.changed()
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  changed(): void {
    for (const listener of this.#listeners) listener()
  }

  // What somebody else does, by hand.

  deleteDevice(slot: Slot): void {
    this.devices.delete(deviceName(this.index, slot))
    this.flush(slot)
  }

  foreignKey(slot: Slot): void {
    const device = this.device(slot)
    if (device === undefined) return
    device.publicKey = this.newKey()
    for (const peer of device.peers.values()) peer.send = undefined
  }
}

export const deviceName = (index: number, slot: Slot): string => `eng${index}s${slot}`

export interface Loss {
  readonly at: number
  readonly from: number
  readonly to: number
  readonly via: Slot | 'closed' | 'clear'
}

/** The kernels of a few nodes and the network between them. WireGuard as `KernelModel` has it, down to allowed IPs and endpoints. */
export class FakeNet {
  readonly kernels: readonly FakeKernel[]
  readonly losses: Loss[] = []
  packets = 0
  /** Packets of pods are tried; turned off where there are too many pairs. */
  trying = true
  clearText = 0
  /** How long a message of a handshake takes, ms. 0: it is over when it begins. */
  wireMs = 0
  /** Answers to handshakes that nobody waited for, as both ends had begun one. */
  crossed = 0
  /** Initiations that came to an end that does not know who began. */
  unknown = 0
  #jitter = 0
  readonly #clock: FakeClock
  readonly #cut = new Set<number>()
  readonly #established = new Set<string>()

  constructor(clock: FakeClock, nodes: number) {
    this.#clock = clock
    this.kernels = Array.from({ length: nodes }, (_, index) => new FakeKernel(index))
    this.#keepAlive()
  }

  /** Nothing goes to the node or comes from it. */
  cut(index: number, cut: boolean): void {
    if (cut) this.#cut.add(index)
    else this.#cut.delete(index)
  }

  /** A pod of each node sends to one of each other. A pair that once worked must go on to. */
  tryAll(): void {
    if (!this.trying) return
    for (const from of this.kernels) for (const to of this.kernels) if (from !== to) this.#try(from, to)
  }

  #try(from: FakeKernel, to: FakeKernel): void {
    if (this.#cut.has(from.index) || this.#cut.has(to.index)) return
    const via = from.routes.get(to.prefix) ?? 'clear'
    this.packets++
    const pair = `${from.index} ${to.index}`
    if (via === 'clear') this.clearText++
    const passed =
      via === 'clear'
        ? !from.guarded.has(to.prefix) && !to.guarded.has(from.prefix)
        : via !== 'closed' && this.passes(from, to, via)
    if (passed && via !== 'clear') {
      this.#established.add(pair)
      to.received[via as Slot]++
    }
    if (!passed && this.#established.has(pair)) {
      this.losses.push({ at: this.#clock.monotonicMs(), from: from.index, to: to.index, via })
    }
  }

  /** Forgets that pairs worked: what comes is not counted as loss. */
  forgive(): void {
    this.#established.clear()
    this.losses.length = 0
  }

  /** A packet from pod to pod by this slot: read at the other end? */
  passes(from: FakeKernel, to: FakeKernel, slot: Slot): boolean {
    const out = from.device(slot)
    if (out?.publicKey === undefined || !out.up) return false
    const entry = [...out.peers].find(([, peer]) => peer.allowedIps.has(to.prefix))
    if (entry === undefined) return false
    const [key, peer] = entry
    const now = this.#clock.monotonicMs()
    if (peer.send === undefined || now - peer.send.born >= SESSION_MS) {
      // What is kept until there is a session counts as lost over a wire.
      if (!this.handshake(from, slot, key) || this.wireMs > 0) return false
    } else if (now - peer.send.born >= RENEW_MS && (peer.send.by ?? from) === from) this.handshake(from, slot, key)
    const session = peer.send
    const there = this.#at(peer.endpoint)
    const device = there?.kernel === to ? there.device : undefined
    if (device === undefined || session === undefined || device.deaf || this.#cut.has(from.index)) return false
    const reader = [...device.peers.values()].find(({ receive }) => receive.includes(session))
    if (reader?.allowedIps.has(from.prefix) !== true) return false
    // The first packet of a session tells whoever answered the handshake that it may be used.
    if (reader.receive[0] === session) reader.send = session
    peer.tx += 1000
    reader.rx += 1000
    return true
  }

  handshake(from: FakeKernel, slot: Slot, key: string): boolean {
    if (this.wireMs > 0) return this.#initiate(from, slot, key)
    const out = from.device(slot)
    const peer = out?.peers.get(key)
    const there = this.#at(peer?.endpoint)
    if (out?.publicKey === undefined || !out.up || peer === undefined || there === undefined) return false
    if (this.#cut.has(from.index) || this.#cut.has(there.kernel.index)) return false
    const back = there.device.peers.get(out.publicKey)
    if (there.device.publicKey !== key || back === undefined) return false
    const session: Session = { born: this.#clock.monotonicMs() }
    for (const end of [peer, back]) {
      end.send = session
      end.receive = [session, ...end.receive].slice(0, 2)
      end.stamp = this.#clock.wallMs()
    }
    back.endpoint = { ip: from.underlay, port: out.listenPort }
    return true
  }

  /** One message after the other. As Linux has one handshake a peer, an initiation that comes puts an end to ours. */
  #initiate(from: FakeKernel, slot: Slot, key: string): boolean {
    const now = this.#clock.monotonicMs()
    const out = from.device(slot)
    const peer = out?.peers.get(key)
    if (out?.publicKey === undefined || !out.up || peer === undefined) return false
    if (peer.begunAt !== undefined && now - peer.begunAt < RETRY_MS) return true
    const begun = {}
    Object.assign(peer, { begun, begunAt: now })
    const own = out.publicKey
    this.#clock.setTimer(() => {
      this.#answer(from, slot, { own, key, peer, begun })
    }, this.wireMs)
    this.#jitter = (this.#jitter * 7 + 101) % JITTER_MS
    this.#clock.setTimer(() => {
      if (peer.begun === begun && from.device(slot)?.peers.get(key) === peer) this.#initiate(from, slot, key)
    }, RETRY_MS + this.#jitter)
    return true
  }

  #answer(from: FakeKernel, slot: Slot, to: { own: string; key: string; peer: FakePeer; begun: object }): void {
    const there = this.#at(to.peer.endpoint)
    if (there === undefined || this.#cut.has(from.index) || this.#cut.has(there.kernel.index)) return
    const back = there.device.peers.get(to.own)
    if (there.device.publicKey !== to.key || back === undefined) {
      this.unknown++
      return
    }
    const session: Session = { born: this.#clock.monotonicMs(), by: from }
    back.begun = undefined
    back.receive = [session, ...back.receive].slice(0, 2)
    this.#clock.setTimer(() => {
      if (to.peer.begun !== to.begun || from.device(slot)?.publicKey !== to.own) {
        this.crossed++
        return
      }
      to.peer.begun = undefined
      to.peer.send = session
      to.peer.receive = [session, ...to.peer.receive].slice(0, 2)
      to.peer.stamp = this.#clock.wallMs()
      this.#clock.setTimer(() => {
        if (back.receive[0] !== session || there.device.publicKey !== to.key) return
        back.send = session
        back.stamp = this.#clock.wallMs()
      }, this.wireMs)
    }, this.wireMs)
  }

  #at(endpoint: WgEndpoint | undefined): { kernel: FakeKernel; device: FakeDevice } | undefined {
    if (endpoint === undefined) return undefined
    const kernel = this.kernels.find(({ underlay }) => formatIp(underlay) === formatIp(endpoint.ip))
    const device = kernel && [...kernel.devices.values()].find((one) => one.up && one.listenPort === endpoint.port)
    return kernel === undefined || device === undefined ? undefined : { kernel, device }
  }

  /** As the kernel's timers do. */
  #keepAlive(): void {
    this.#clock.setTimer(() => {
      const now = this.#clock.monotonicMs()
      for (const kernel of this.kernels) {
        for (const slot of SLOTS) {
          for (const [key, { send, keepalive }] of kernel.device(slot)?.peers ?? []) {
            // Over a wire each initiation is tried again by itself.
            if (this.wireMs > 0 && send?.by !== kernel) continue
            if (keepalive > 0 && (send === undefined || now - send.born >= RENEW_MS)) this.handshake(kernel, slot, key)
          }
        }
      }
      this.#keepAlive()
    }, RETRY_MS)
  }
}

export const allowed = (cidrs: readonly Cidr[]): Map<string, Cidr> =>
  new Map(cidrs.map((cidr) => [formatCidr(cidr), cidr]))

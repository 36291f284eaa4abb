/**
 * A device of WireGuard behind the native door, in memory: what the driver sends is read octet by octet, and dumps are what
 * the kernel would send. Handshakes are done at once and again every two minutes, as between peers that talk.
 */
import {
  AttributeReader,
  attribute,
  attributeNested,
  attributeString,
  attributeU16,
  attributeU32,
} from '../src/netlink/attributes.ts'
import { encodeMessage } from '../src/netlink/message.ts'
import {
  WG_CMD_GET_DEVICE,
  WGALLOWEDIP_A_FLAGS,
  WGDEVICE_A_FWMARK,
  WGDEVICE_A_LISTEN_PORT,
  WGDEVICE_A_PEERS,
  WGDEVICE_A_PUBLIC_KEY,
  WGPEER_A_ALLOWEDIPS,
  WGPEER_A_ENDPOINT,
  WGPEER_A_FLAGS,
  WGPEER_A_KEEPALIVE,
  WGPEER_A_LAST_HANDSHAKE,
  WGPEER_A_PUBLIC_KEY,
  WGPEER_A_RX_BYTES,
  WGPEER_A_TX_BYTES,
  WGPEER_F_REMOVE_ME,
  WGPEER_F_UPDATE_ONLY,
} from '../src/wg/drivers/family.ts'
import type { KernelWgDoor } from '../src/wg/drivers/kernel.ts'

const FAMILY = 0x1e
const PORT = 7
const HEADERS = 20
/** What the kernel puts into a datagram of a dump. */
const DATAGRAM_BYTES = 31_000
/** Of a peer: so many looks until its handshake is another. */
const LOOKS = 64
/** Of a peer: in one of so many looks it has sent and received, as with probes of both ends each ten seconds. */
const TALKS = 3
/** Of a question and its answer, in each family. */
const TALK_BYTES = 480

interface Peer {
  readonly key: Uint8Array
  endpoint: Uint8Array
  keepalive: number
  readonly allowedIps: Map<string, Uint8Array>
  /** As a dump has it, and where its stamp and its counts lie in that. */
  told: { readonly octets: Uint8Array; readonly stamp: number; readonly counts: number }
}

const UNTOLD = { octets: new Uint8Array(), stamp: 0, counts: 0 } as const

interface Datagram {
  readonly octets: Uint8Array
  readonly view: DataView
  /** Where the stamps of its peers lie, and their octets received and sent. */
  readonly stamps: readonly number[]
  readonly counts: readonly number[]
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

export class FakeWg {
  readonly #peers = new Map<string, Peer>()
  readonly #queue: Uint8Array[] = []
  readonly #settings: { publicKey: Uint8Array; port: number; fwmark: number }
  #dump: Datagram[] | undefined
  #looks = 0

  constructor(publicKey: string, port: number, fwmark: number) {
    this.#settings = { publicKey: Buffer.from(publicKey, 'base64'), port, fwmark }
  }

  get door(): KernelWgDoor {
    const never = (): never => {
      throw new Error('not a part of this')
    }
    return {
      netlinkOpen: () => 1,
      netlinkPort: () => PORT,
      close: () => undefined,
      netlinkSendAsync: async (_fd, message) => {
        this.#take(message)
        await turn()
      },
      netlinkReceiveAsync: never,
      wgReceive: async (_fd, _timeoutMs, most = 1) => {
        await turn()
        return Buffer.concat(this.#queue.splice(0, most))
      },
      wgExchange: async (_fd, message) => {
        this.#take(message)
        await turn()
        return this.#queue.shift()?.slice() ?? new Uint8Array()
      },
      wgSetNewKey: never,
    }
  }

  #take(message: Uint8Array): void {
    const view = new DataView(message.buffer, message.byteOffset, message.byteLength)
    const [type, sequence] = [view.getUint16(4, true), view.getUint32(8, true)]
    const say = (kind: number, flags: number, parts: readonly Uint8Array[]): void => {
      this.#queue.push(addressed(encodeMessage(kind, flags, sequence, parts), sequence))
    }
    const acknowledge = (): void => say(2, 0, [new Uint8Array(20)])
    if (type !== FAMILY) {
      say(type, 0, [Uint8Array.of(1, 2, 0, 0), attributeU16(1, FAMILY), attributeString(2, 'wireguard')])
      acknowledge()
      return
    }
    if (message[16] === WG_CMD_GET_DEVICE) {
      for (const octets of this.#look()) this.#queue.push(addressed(octets, sequence))
      say(3, 2, [new Uint8Array(4)])
      return
    }
    const reader = new AttributeReader(message, HEADERS)
    while (reader.next()) {
      if (reader.type === WGDEVICE_A_LISTEN_PORT) this.#settings.port = reader.u16() ?? 0
      if (reader.type === WGDEVICE_A_FWMARK) this.#settings.fwmark = reader.u32() ?? 0
      if (reader.type !== WGDEVICE_A_PEERS) continue
      for (const peers = reader.nested(); peers.next();) this.#takePeer(peers.nested())
    }
    this.#dump = undefined
    acknowledge()
  }

  #takePeer(reader: AttributeReader): void {
    let [key, flags] = [new Uint8Array(), 0]
    const allowedIps: Uint8Array[] = []
    const change: { endpoint?: Uint8Array; keepalive?: number } = {}
    while (reader.next()) {
      if (reader.type === WGPEER_A_PUBLIC_KEY) key = reader.payload().slice()
      else if (reader.type === WGPEER_A_FLAGS) flags = reader.u32() ?? 0
      else if (reader.type === WGPEER_A_ENDPOINT) change.endpoint = reader.payload().slice()
      else if (reader.type === WGPEER_A_KEEPALIVE) change.keepalive = reader.u16() ?? 0
      else if (reader.type === WGPEER_A_ALLOWEDIPS) {
        for (const ips = reader.nested(); ips.next();) allowedIps.push(withoutFlags(ips.payload().slice()))
      }
    }
    const name = Buffer.from(key).toString('latin1')
    const known = this.#peers.get(name)
    if ((flags & WGPEER_F_REMOVE_ME) !== 0) this.#peers.delete(name)
    if ((flags & WGPEER_F_REMOVE_ME) !== 0 || (known === undefined && (flags & WGPEER_F_UPDATE_ONLY) !== 0)) return
    const peer = known ?? {
      key,
      endpoint: new Uint8Array(16),
      keepalive: 0,
      allowedIps: new Map<string, Uint8Array>(),
      told: UNTOLD,
    }
    this.#peers.set(name, Object.assign(peer, change))
    for (const one of allowedIps) peer.allowedIps.set(Buffer.from(one).toString('latin1'), one)
    // Here, as peers come a few at a time: thousands in one turn would be the longest turn there is.
    peer.told = toldOf(peer)
  }

  /** Some handshakes are newer than at the look before, and some peers have talked. */
  #look(): Uint8Array[] {
    const seconds = BigInt(Math.floor(Date.now() / 1000))
    const look = this.#looks++
    const fresh = this.#dump === undefined
    this.#dump ??= this.#build()
    return this.#dump.map(({ octets, view, stamps, counts }) => {
      for (let i = fresh ? 0 : look % LOOKS; i < stamps.length; i += fresh ? 1 : LOOKS) {
        view.setBigInt64(stamps[i] ?? 0, seconds, true)
      }
      for (let i = look % TALKS; i < counts.length; i += TALKS) {
        const at = counts[i] ?? 0
        // Received, and behind it, with a header of its own, sent.
        for (const count of [at, at + 12]) view.setUint32(count, view.getUint32(count, true) + TALK_BYTES, true)
      }
      return octets
    })
  }

  #build(): Datagram[] {
    const { publicKey, port, fwmark } = this.#settings
    const built: Datagram[] = []
    let [peers, stamps, counts, size]: [Uint8Array[], number[], number[], number] = [[], [], [], 0]
    const flush = (): void => {
      const head =
        built.length > 0
          ? []
          : [
              ...[attributeU16(WGDEVICE_A_LISTEN_PORT, port), attributeU32(WGDEVICE_A_FWMARK, fwmark)],
              attribute(WGDEVICE_A_PUBLIC_KEY, publicKey),
            ]
      const start = HEADERS + head.reduce((sum, one) => sum + one.length, 0) + 4
      const nest = attributeNested(WGDEVICE_A_PEERS, peers)
      const octets = encodeMessage(FAMILY, 2, 0, [Uint8Array.of(0, 1, 0, 0), ...head, nest])
      const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength)
      const inside = (ats: readonly number[]): number[] => ats.map((at) => start + at)
      built.push({ octets, view, stamps: inside(stamps), counts: inside(counts) })
      ;[peers, stamps, counts, size] = [[], [], [], 0]
    }
    for (const { told } of this.#peers.values()) {
      if (size + told.octets.length > DATAGRAM_BYTES) flush()
      stamps.push(size + told.stamp)
      counts.push(size + told.counts)
      peers.push(told.octets)
      size += told.octets.length
    }
    flush()
    return built
  }
}

function toldOf({ key, endpoint, keepalive, allowedIps }: Peer): Peer['told'] {
  const before = attribute(WGPEER_A_PUBLIC_KEY, key)
  const between = [
    attribute(WGPEER_A_LAST_HANDSHAKE, new Uint8Array(16)),
    ...[attributeU16(WGPEER_A_KEEPALIVE, keepalive), attribute(WGPEER_A_ENDPOINT, endpoint)],
  ]
  const octets = attributeNested(0, [
    ...[before, ...between],
    ...[attribute(WGPEER_A_RX_BYTES, new Uint8Array(8)), attribute(WGPEER_A_TX_BYTES, new Uint8Array(8))],
    attributeNested(
      WGPEER_A_ALLOWEDIPS,
      [...allowedIps.values()].map((one) => attributeNested(0, [one])),
    ),
  ])
  const stamp = 4 + before.length + 4
  return { octets, stamp, counts: stamp + between.reduce((sum, one) => sum + one.length, 0) }
}

function addressed(octets: Uint8Array, sequence: number): Uint8Array {
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength)
  view.setUint32(8, sequence, true)
  view.setUint32(12, PORT, true)
  return octets
}

/** An allowed IP as dumps have it. */
function withoutFlags(octets: Uint8Array): Uint8Array {
  const reader = new AttributeReader(octets)
  while (reader.next()) if (reader.type === WGALLOWEDIP_A_FLAGS) throw new Error('not a part of this')
  return octets
}

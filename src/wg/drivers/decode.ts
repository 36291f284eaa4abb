import { SekishoError } from '../../core/errors.ts'
import { type Cidr, formatCidr, maxBits } from '../../core/ip.ts'
import { AttributeReader } from '../../netlink/attributes.ts'
import { AF_INET, AF_INET6 } from '../../netlink/constants.ts'
import { GENERIC_HEADER_BYTES } from '../../netlink/generic.ts'
import type { Message } from '../../netlink/message.ts'
import { encodeKey, KEY_BYTES } from '../keys.ts'
import type { WgDevice, WgEndpoint, WgPeer } from '../ports.ts'
import {
  WGALLOWEDIP_A_CIDR_MASK,
  WGALLOWEDIP_A_FAMILY,
  WGALLOWEDIP_A_IPADDR,
  WGDEVICE_A_FWMARK,
  WGDEVICE_A_LISTEN_PORT,
  WGDEVICE_A_PEERS,
  WGDEVICE_A_PUBLIC_KEY,
  WGPEER_A_ALLOWEDIPS,
  WGPEER_A_ENDPOINT,
  WGPEER_A_KEEPALIVE,
  WGPEER_A_LAST_HANDSHAKE,
  WGPEER_A_PUBLIC_KEY,
  WGPEER_A_RX_BYTES,
  WGPEER_A_TX_BYTES,
} from './family.ts'
import { Beside, type Seen, wordsOf } from './seen.ts'

/** Undefined for what is no sockaddr_in or sockaddr_in6. */
export function decodeEndpoint(bytes: Uint8Array): WgEndpoint | undefined {
  if (bytes.length < 16) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const family = view.getUint16(0, true)
  const port = view.getUint16(2)
  if (family === AF_INET) return { ip: { family: 4, bytes: bytes.slice(4, 8) }, port }
  if (family === AF_INET6 && bytes.length >= 28) return { ip: { family: 6, bytes: bytes.slice(8, 24) }, port }
  return undefined
}

/**
 * A device of thousands of peers comes several times a minute, so nothing is made here that is not in the answer, and what a
 * peer had in the dump before is not made again. The kernel tells peers in the order they were added, so that is the one in
 * the same place; its octets are compared.
 */
export class DeviceReader {
  /** For the reader of the next dump. */
  readonly seen: Seen[] = []
  readonly #peers: Draft[] = []
  /** Places by key; made when it is first needed. */
  #places: Map<string, number> | undefined
  /** All so far have the keys of the dump before, in its order: none came twice. */
  #inStep = true
  readonly #beside = new Beside()
  readonly #name: string
  readonly #before: readonly Seen[]
  /** What a peer that goes on in a later message has already. */
  readonly #known = new Map<string, { readonly list: Cidr[]; readonly texts: Set<string> }>()

  #head: Omit<WgDevice, 'peers'> | undefined

  constructor(name: string, before: readonly Seen[] = []) {
    this.#name = name
    this.#before = before
  }

  /** The messages of a dump, in their order. Throws SekishoError SEKISHO_WG_PROTOCOL. */
  take(message: Message): void {
    this.#head ??= this.head(message)
    this.#takePeers(message)
  }

  /** Once all were taken. Throws SekishoError SEKISHO_WG_PROTOCOL when there was none. */
  device(): WgDevice {
    if (this.#head === undefined) throw this.#malformed('an empty dump')
    return { ...this.#head, peers: this.#peers }
  }

  head(message: Message): Omit<WgDevice, 'peers'> {
    const reader = this.#reader(message)
    const head = { name: this.#name, publicKey: undefined as string | undefined, listenPort: 0, fwmark: 0 }
    while (reader.next()) {
      if (reader.type === WGDEVICE_A_PUBLIC_KEY)
        head.publicKey = reader.length === KEY_BYTES ? encodeKey(reader.payload()) : undefined
      else if (reader.type === WGDEVICE_A_LISTEN_PORT) head.listenPort = reader.u16() ?? 0
      else if (reader.type === WGDEVICE_A_FWMARK) head.fwmark = reader.u32() ?? 0
    }
    if (reader.broken) throw this.#malformed('attributes')
    return head
  }

  #takePeers(message: Message): void {
    const reader = this.#reader(message)
    const words = wordsOf(reader.view)
    while (reader.next()) {
      if (reader.type !== WGDEVICE_A_PEERS) continue
      const peers = reader.nested()
      while (peers.next()) this.#takePeer(peers, words)
      if (peers.broken) throw this.#malformed('a peer')
    }
    if (reader.broken) throw this.#malformed('attributes')
  }

  /** The attribute that `outer` is at. */
  #takePeer(outer: AttributeReader, words: Int32Array | undefined): void {
    const place = this.#peers.length
    const before = this.#before[place]
    const { at, length } = outer
    this.#beside.begin(words, at, length, before)
    if (before !== undefined && this.#beside.whole && this.#placeOf(before.peer.publicKey, before) === undefined) {
      this.#add(before.peer, { peer: before.peer, words, at: at >> 2, length: length >> 2 })
      return
    }
    const { peer, ips } = this.#read(outer.nested(), before?.peer)
    const known = this.#placeOf(peer.publicKey, before)
    if (known !== undefined) {
      if (ips !== undefined) this.#goOn(known, ips)
      return
    }
    if (ips !== undefined) peer.allowedIps = this.#takeAllowedIps([], ips)
    const whole = at % 4 === 0 && length % 4 === 0
    this.#add(peer, { peer, words: whole ? words : undefined, at: at >> 2, length: length >> 2 })
  }

  /** `ips`: its allowed IPs, where they are not those of the peer before. */
  #read(
    reader: AttributeReader,
    before: WgPeer | undefined,
  ): { readonly peer: Draft; readonly ips: AttributeReader | undefined } {
    let ips: AttributeReader | undefined
    let publicKey: string | undefined
    let endpoint: WgEndpoint | undefined
    let allowedIps: readonly Cidr[] = []
    let lastHandshakeNs = 0n
    let [keepalive, rxBytes, txBytes] = [0, 0, 0]
    while (reader.next()) {
      const same = this.#beside.same(reader.at, reader.length) ? before : undefined
      switch (reader.type) {
        case WGPEER_A_PUBLIC_KEY:
          if (reader.length === KEY_BYTES) publicKey = same?.publicKey ?? encodeKey(reader.payload())
          break
        case WGPEER_A_ENDPOINT:
          endpoint = same?.endpoint ?? decodeEndpoint(reader.payload())
          break
        case WGPEER_A_KEEPALIVE:
          keepalive = reader.u16() ?? 0
          break
        case WGPEER_A_LAST_HANDSHAKE:
          lastHandshakeNs = same?.lastHandshakeNs ?? timeOf(reader)
          break
        case WGPEER_A_RX_BYTES:
          rxBytes = reader.u64() ?? 0
          break
        case WGPEER_A_TX_BYTES:
          txBytes = reader.u64() ?? 0
          break
        case WGPEER_A_ALLOWEDIPS:
          ips = same === undefined ? reader.nested() : undefined
          allowedIps = same?.allowedIps ?? []
          break
      }
    }
    if (reader.broken || publicKey === undefined) throw this.#malformed('a peer')
    return { peer: { publicKey, endpoint, keepalive, lastHandshakeNs, rxBytes, txBytes, allowedIps }, ips }
  }

  #add(peer: Draft, seen: Seen): void {
    this.#places?.set(peer.publicKey, this.#peers.length)
    this.#peers.push(peer)
    this.seen.push(seen)
  }

  /** Where a peer of this key was already. No two of the dump before have one key. */
  #placeOf(key: string, before: Seen | undefined): number | undefined {
    const last = this.#peers.length - 1
    // What did not fit into a message begins the next.
    if (this.#peers[last]?.publicKey === key) return last
    this.#inStep &&= before?.peer.publicKey === key
    if (this.#inStep) return undefined
    this.#places ??= new Map(this.#peers.map(({ publicKey }, i) => [publicKey, i]))
    return this.#places.get(key)
  }

  /** The rest of its allowed IPs. */
  #goOn(place: number, reader: AttributeReader): void {
    const [peer, seen] = [this.#peers[place], this.seen[place]]
    if (peer === undefined || seen === undefined) return
    let known = this.#known.get(peer.publicKey)
    if (known === undefined) {
      // Peer and list may be those of the dump before, which stay as they are; and the next dump must not take this by its begin.
      known = { list: [...peer.allowedIps], texts: new Set(peer.allowedIps.map(formatCidr)) }
      this.#known.set(peer.publicKey, known)
      const whole: Draft = { ...peer, allowedIps: known.list }
      this.#peers[place] = whole
      this.seen[place] = { ...seen, peer: whole, words: undefined }
    }
    this.#takeAllowedIps(known.list, reader, known.texts)
  }

  #takeAllowedIps(list: Cidr[], reader: AttributeReader, known?: Set<string>): Cidr[] {
    while (reader.next()) {
      const cidr = allowedIpOf(reader.nested())
      if (cidr === undefined) throw this.#malformed('an allowed IP')
      if (known !== undefined) {
        const text = formatCidr(cidr)
        if (known.has(text)) continue
        known.add(text)
      }
      list.push(cidr)
    }
    if (reader.broken) throw this.#malformed('an allowed IP')
    return list
  }

  #reader({ body }: Message): AttributeReader {
    if (body.length < GENERIC_HEADER_BYTES) throw this.#malformed('attributes')
    return new AttributeReader(body, GENERIC_HEADER_BYTES)
  }

  #malformed(why: string): SekishoError {
    return new SekishoError('SEKISHO_WG_PROTOCOL', `${this.#name}: ${why}`)
  }
}

type Draft = Omit<WgPeer, 'allowedIps'> & { allowedIps: readonly Cidr[] }

/** struct __kernel_timespec: two s64. Older forms have two s32. */
function timeOf(reader: AttributeReader): bigint {
  const { view, at, length } = reader
  if (length === 16) {
    const seconds = view.getBigInt64(at, true)
    return seconds === 0n ? view.getBigInt64(at + 8, true) : seconds * 1_000_000_000n + view.getBigInt64(at + 8, true)
  }
  if (length === 8) return BigInt(view.getInt32(at, true)) * 1_000_000_000n + BigInt(view.getInt32(at + 4, true))
  return 0n
}

function allowedIpOf(reader: AttributeReader): Cidr | undefined {
  let family: 4 | 6 | undefined
  let bytes: Uint8Array | undefined
  let bits: number | undefined
  while (reader.next()) {
    if (reader.type === WGALLOWEDIP_A_FAMILY) {
      const number = reader.u16()
      family = number === AF_INET ? 4 : number === AF_INET6 ? 6 : undefined
    } else if (reader.type === WGALLOWEDIP_A_IPADDR) bytes = reader.payload()
    else if (reader.type === WGALLOWEDIP_A_CIDR_MASK) bits = reader.u8()
  }
  if (reader.broken || family === undefined || bits === undefined || bytes === undefined) return undefined
  if (bytes.length !== maxBits(family) / 8 || bits > maxBits(family)) return undefined
  return { ip: { family, bytes: bytes.slice() }, bits }
}

/**
 * What the first message of a dump says of the device itself.
 *
 * @throws SekishoError SEKISHO_WG_PROTOCOL
 */
export const decodeHead = (name: string, first: Message): Omit<WgDevice, 'peers'> => new DeviceReader(name).head(first)

/**
 * A device from the messages of its dump. The first has the attributes of the device, the others peers only; a peer whose
 * allowed IPs do not fit goes on in the next with its key and the rest of them.
 *
 * @throws SekishoError SEKISHO_WG_PROTOCOL
 */
export function decodeDevice(name: string, messages: readonly Message[]): WgDevice {
  const reader = new DeviceReader(name)
  for (const message of messages) reader.take(message)
  return reader.device()
}

import type { Cidr } from '../../core/ip.ts'
import { attributeNested, AttributeWriter, NLA_HEADER_BYTES } from '../../netlink/attributes.ts'
import { AF_INET, AF_INET6 } from '../../netlink/constants.ts'
import type { WgEndpoint, WgPeerSet } from '../ports.ts'
import {
  WGALLOWEDIP_A_CIDR_MASK,
  WGALLOWEDIP_A_FAMILY,
  WGALLOWEDIP_A_FLAGS,
  WGALLOWEDIP_A_IPADDR,
  WGALLOWEDIP_F_REMOVE_ME,
  WGDEVICE_A_PEERS,
  WGPEER_A_ALLOWEDIPS,
  WGPEER_A_ENDPOINT,
  WGPEER_A_FLAGS,
  WGPEER_A_KEEPALIVE,
  WGPEER_A_PUBLIC_KEY,
  WGPEER_F_REMOVE_ME,
  WGPEER_F_UPDATE_ONLY,
} from './family.ts'
import { keyBytes } from './key-bytes.ts'

/** Peers of one message, as wg(8) has: each costs the kernel a Curve25519 under the lock of the routing tables. */
const MAX_PEERS = 64
/** Each removal waits for all CPUs. */
const MAX_REMOVALS = 16
/** Half of what the length of a nest can say. */
const MAX_NEST_BYTES = 32 * 1024
/** Allowed IPs of one peer in one message: 40 octets each for IPv6. */
const MAX_ALLOWED_IPS = 512

/** struct sockaddr_in (16 octets) or sockaddr_in6 (28). Family in host order, port and address in network order. */
export function encodeEndpoint(endpoint: WgEndpoint): Uint8Array {
  const v4 = endpoint.ip.family === 4
  const out = new Uint8Array(v4 ? 16 : 28)
  out[0] = v4 ? AF_INET : AF_INET6
  out[2] = endpoint.port >> 8
  out[3] = endpoint.port & 0xff
  out.set(endpoint.ip.bytes, v4 ? 4 : 8)
  return out
}

/** One element is written at a time. */
const writer = new AttributeWriter()

function writeAllowedIps(cidrs: readonly Cidr[], remove: boolean): void {
  const nest = writer.begin(WGPEER_A_ALLOWEDIPS)
  for (const { ip, bits } of cidrs) {
    const element = writer.begin(0)
    writer.u16(WGALLOWEDIP_A_FAMILY, ip.family === 4 ? AF_INET : AF_INET6)
    writer.bytes(WGALLOWEDIP_A_IPADDR, ip.bytes)
    writer.u8(WGALLOWEDIP_A_CIDR_MASK, bits)
    if (remove) writer.u32(WGALLOWEDIP_A_FLAGS, WGALLOWEDIP_F_REMOVE_ME)
    writer.end(element)
  }
  writer.end(nest)
}

/** One element of WGDEVICE_A_PEERS: the key, flags unless 0, and what `rest` writes. */
function encodePeer(publicKey: string, flags: number, rest: () => void): Uint8Array {
  writer.reset()
  const element = writer.begin(0)
  writer.bytes(WGPEER_A_PUBLIC_KEY, keyBytes(publicKey))
  if (flags !== 0) writer.u32(WGPEER_A_FLAGS, flags)
  rest()
  writer.end(element)
  return writer.take()
}

const slices = <T>(list: readonly T[], size: number): (readonly T[])[] =>
  list.length > 0 && list.length <= size ? [list] : parts(list, size)

const parts = <T>(list: readonly T[], size: number): (readonly T[])[] =>
  Array.from({ length: Math.ceil(list.length / size) }, (_, i) => list.slice(i * size, (i + 1) * size))

/** The elements that add or change a peer, but take nothing from it: more than one when its allowed IPs are many. */
export function encodePeerSet(peer: WgPeerSet): Uint8Array[] {
  const { publicKey, endpoint, keepalive } = peer
  const [first, ...others] = slices(peer.addAllowedIps ?? [], MAX_ALLOWED_IPS)
  const whole = encodePeer(publicKey, peer.updateOnly === true ? WGPEER_F_UPDATE_ONLY : 0, () => {
    if (endpoint !== undefined) writer.bytes(WGPEER_A_ENDPOINT, encodeEndpoint(endpoint))
    if (keepalive !== undefined) writer.u16(WGPEER_A_KEEPALIVE, keepalive)
    if (first !== undefined) writeAllowedIps(first, false)
  })
  if (others.length === 0) return [whole]
  const rest = others.map((part) =>
    // The rest of a list must not make the peer anew.
    encodePeer(publicKey, WGPEER_F_UPDATE_ONLY, () => {
      writeAllowedIps(part, false)
    }),
  )
  return [whole, ...rest]
}

/** The elements that take allowed IPs from a peer, on kernels that can. */
export const encodeAllowedIpRemovals = (peer: WgPeerSet): Uint8Array[] =>
  slices(peer.removeAllowedIps ?? [], MAX_ALLOWED_IPS).map((part) =>
    encodePeer(peer.publicKey, WGPEER_F_UPDATE_ONLY, () => {
      writeAllowedIps(part, true)
    }),
  )

export const encodePeerRemoval = (publicKey: string): Uint8Array =>
  encodePeer(publicKey, WGPEER_F_REMOVE_ME, () => undefined)

/** The elements in as many WGDEVICE_A_PEERS as it takes, in their order. */
export function packPeers(elements: readonly Uint8Array[], most: number): Uint8Array[] {
  const messages: Uint8Array[] = []
  let current: Uint8Array[] = []
  let size = NLA_HEADER_BYTES
  const flush = (): void => {
    if (current.length > 0) messages.push(attributeNested(WGDEVICE_A_PEERS, current))
    current = []
    size = NLA_HEADER_BYTES
  }
  for (const element of elements) {
    if (current.length === most || size + element.length > MAX_NEST_BYTES) flush()
    current.push(element)
    size += element.length
  }
  flush()
  return messages
}

/**
 * A small change is one message, so that the kernel does it under one lock; a larger one is several, additions first.
 */
export function packBatch(sets: readonly Uint8Array[], removals: readonly Uint8Array[]): Uint8Array[] {
  const bytes = [...sets, ...removals].reduce((sum, one) => sum + one.length, 0)
  if (sets.length + removals.length <= MAX_PEERS && removals.length <= MAX_REMOVALS && bytes <= MAX_NEST_BYTES)
    return packPeers([...sets, ...removals], MAX_PEERS)
  return [...packPeers(sets, MAX_PEERS), ...packPeers(removals, MAX_REMOVALS)]
}

import { SekishoError } from '../../core/errors.ts'
import { type Cidr, formatCidr, maxBits } from '../../core/ip.ts'
import {
  type Attribute,
  findAttribute,
  parseAttributes,
  readNested,
  readU16,
  readU32,
  readU64,
  readU8,
} from '../../netlink/attributes.ts'
import { AF_INET, AF_INET6 } from '../../netlink/constants.ts'
import { genericBody } from '../../netlink/generic.ts'
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

/** struct __kernel_timespec: two s64. Older forms have two s32. */
function decodeTime(bytes: Uint8Array | undefined): bigint {
  if (bytes === undefined) return 0n
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length === 16) return view.getBigInt64(0, true) * 1_000_000_000n + view.getBigInt64(8, true)
  if (bytes.length === 8) return BigInt(view.getInt32(0, true)) * 1_000_000_000n + BigInt(view.getInt32(4, true))
  return 0n
}

function decodeAllowedIp(attributes: readonly Attribute[]): Cidr | undefined {
  const number = readU16(attributes, WGALLOWEDIP_A_FAMILY)
  const bytes = findAttribute(attributes, WGALLOWEDIP_A_IPADDR)
  const bits = readU8(attributes, WGALLOWEDIP_A_CIDR_MASK)
  const family = number === AF_INET ? 4 : number === AF_INET6 ? 6 : undefined
  if (family === undefined || bits === undefined || bytes?.length !== maxBits(family) / 8 || bits > maxBits(family))
    return undefined
  return { ip: { family, bytes: bytes.slice() }, bits }
}

/** Undefined stands for what cannot be parsed. */
function elements(attributes: readonly Attribute[], type: number): readonly (readonly Attribute[] | undefined)[] {
  if (findAttribute(attributes, type) === undefined) return []
  return readNested(attributes, type)?.map((element) => parseAttributes(element.payload)) ?? [undefined]
}

/** A peer that may still lack allowed IPs, which later messages bring. */
interface Growing {
  readonly peer: Omit<WgPeer, 'allowedIps'>
  readonly allowedIps: Map<string, Cidr>
}

function startPeer(publicKey: string, attributes: readonly Attribute[]): Growing {
  const endpoint = findAttribute(attributes, WGPEER_A_ENDPOINT)
  return {
    peer: {
      publicKey,
      endpoint: endpoint && decodeEndpoint(endpoint),
      keepalive: readU16(attributes, WGPEER_A_KEEPALIVE) ?? 0,
      lastHandshakeNs: decodeTime(findAttribute(attributes, WGPEER_A_LAST_HANDSHAKE)),
      rxBytes: Number(readU64(attributes, WGPEER_A_RX_BYTES) ?? 0n),
      txBytes: Number(readU64(attributes, WGPEER_A_TX_BYTES) ?? 0n),
    },
    allowedIps: new Map(),
  }
}

/**
 * A device from the messages of its dump. The first has the attributes of the device, the others peers only; a peer whose
 * allowed IPs do not fit goes on in the next with its key and the rest of them.
 *
 * @throws SekishoError SEKISHO_WG_PROTOCOL
 */
export function decodeDevice(name: string, messages: readonly Message[]): WgDevice {
  const malformed = (why: string): SekishoError => new SekishoError('SEKISHO_WG_PROTOCOL', `${name}: ${why}`)
  let head: Omit<WgDevice, 'peers'> | undefined
  const peers = new Map<string, Growing>()
  for (const message of messages) {
    const attributes = genericBody(message)?.attributes
    if (attributes === undefined) throw malformed('attributes')
    if (head === undefined) {
      const key = findAttribute(attributes, WGDEVICE_A_PUBLIC_KEY)
      head = {
        name,
        publicKey: key?.length === KEY_BYTES ? encodeKey(key) : undefined,
        listenPort: readU16(attributes, WGDEVICE_A_LISTEN_PORT) ?? 0,
        fwmark: readU32(attributes, WGDEVICE_A_FWMARK) ?? 0,
      }
    }
    for (const element of elements(attributes, WGDEVICE_A_PEERS)) {
      const key = element && findAttribute(element, WGPEER_A_PUBLIC_KEY)
      if (element === undefined || key?.length !== KEY_BYTES) throw malformed('a peer')
      const publicKey = encodeKey(key)
      const growing = peers.get(publicKey) ?? startPeer(publicKey, element)
      peers.set(publicKey, growing)
      for (const entry of elements(element, WGPEER_A_ALLOWEDIPS)) {
        const cidr = entry && decodeAllowedIp(entry)
        if (cidr === undefined) throw malformed('an allowed IP')
        growing.allowedIps.set(formatCidr(cidr), cidr)
      }
    }
  }
  if (head === undefined) throw malformed('an empty dump')
  return {
    ...head,
    peers: [...peers.values()].map(({ peer, allowedIps }) => ({ ...peer, allowedIps: [...allowedIps.values()] })),
  }
}

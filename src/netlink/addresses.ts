import type { Ip } from '../core/ip.ts'
import { findAttribute, parseAttributes, readU32 } from './attributes.ts'
import type { NetlinkConnection } from './connection.ts'
import { AF_INET, AF_INET6, IFA_ADDRESS, IFA_FLAGS, IFA_LOCAL, RTM_GETADDR, RTM_NEWADDR } from './constants.ts'
import type { Message } from './message.ts'

/** struct ifaddrmsg: u8 family, u8 prefix length, u8 flags, u8 scope, u32 index. */
const IFADDR_BYTES = 8

export interface InterfaceAddress {
  readonly index: number
  /** The interface's own address, also on point-to-point links. */
  readonly ip: Ip
  readonly prefix: number
  /** RT_SCOPE_*: 0 global, 253 link, 254 host. */
  readonly scope: number
  /** IFA_F_*. */
  readonly flags: number
}

/** Undefined when the message is no IPv4 or IPv6 address or is malformed. */
export function decodeAddress(message: Message): InterfaceAddress | undefined {
  const body = message.body
  if (body.length < IFADDR_BYTES) return undefined
  const attributes = parseAttributes(body, IFADDR_BYTES)
  if (attributes === undefined) return undefined
  const family = body[0]
  const size = family === AF_INET ? 4 : family === AF_INET6 ? 16 : 0
  const bytes = findAttribute(attributes, IFA_LOCAL) ?? findAttribute(attributes, IFA_ADDRESS)
  if (size === 0 || bytes?.length !== size) return undefined
  return {
    index: new DataView(body.buffer, body.byteOffset, body.byteLength).getUint32(4, true),
    ip: { family: size === 4 ? 4 : 6, bytes: bytes.slice() },
    prefix: body[1] ?? 0,
    scope: body[3] ?? 0,
    flags: readU32(attributes, IFA_FLAGS) ?? body[2] ?? 0,
  }
}

/** Every address of every interface of this network namespace. */
export function listAddresses(connection: NetlinkConnection): InterfaceAddress[] {
  return connection
    .dump('list of addresses', RTM_GETADDR, [new Uint8Array(IFADDR_BYTES)])
    .filter((message) => message.type === RTM_NEWADDR)
    .map(decodeAddress)
    .filter((address): address is InterfaceAddress => address !== undefined)
}

import { formatIp, type Ip } from '../core/ip.ts'
import { attribute, attributeU32, findAttribute, parseAttributes, readU32 } from './attributes.ts'
import type { AsyncNetlinkConnection } from './async-connection.ts'
import type { NetlinkConnection } from './connection.ts'
import {
  AF_INET,
  AF_INET6,
  IFA_ADDRESS,
  IFA_FLAGS,
  IFA_LOCAL,
  NLM_F_CREATE,
  NLM_F_REPLACE,
  RTM_DELADDR,
  RTM_GETADDR,
  RTM_NEWADDR,
} from './constants.ts'
import { isRefusal } from './errors.ts'
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

const addressesOf = (messages: readonly Message[]): InterfaceAddress[] =>
  messages
    .filter((message) => message.type === RTM_NEWADDR)
    .map(decodeAddress)
    .filter((address): address is InterfaceAddress => address !== undefined)

/** Every address of every interface of this network namespace. */
export function listAddresses(connection: NetlinkConnection): InterfaceAddress[] {
  return addressesOf(connection.dump('list of addresses', RTM_GETADDR, [new Uint8Array(IFADDR_BYTES)]))
}

/** Body of a request that adds or deletes an address. Flags over 255 stand in the attribute only. */
export function encodeAddress(address: InterfaceAddress): Uint8Array[] {
  const header = new Uint8Array(IFADDR_BYTES)
  header[0] = address.ip.family === 4 ? AF_INET : AF_INET6
  header[1] = address.prefix
  header[2] = address.flags & 0xff
  header[3] = address.scope
  new DataView(header.buffer).setUint32(4, address.index, true)
  return [
    header,
    attribute(IFA_LOCAL, address.ip.bytes),
    attribute(IFA_ADDRESS, address.ip.bytes),
    attributeU32(IFA_FLAGS, address.flags),
  ]
}

/** Addresses by requests that run off the event loop. */
export interface AsyncAddresses {
  list(): Promise<InterfaceAddress[]>
  /** Adds the address, or changes the flags of the one that stands. */
  replace(address: InterfaceAddress): Promise<void>
  /** False when there was none. */
  delete(address: InterfaceAddress): Promise<boolean>
}

export function asyncAddresses(connection: AsyncNetlinkConnection): AsyncAddresses {
  const nameOf = ({ ip, prefix, index }: InterfaceAddress): string =>
    `address ${formatIp(ip)}/${prefix} of interface ${index}`
  return {
    async list() {
      return addressesOf(await connection.dump('list of addresses', RTM_GETADDR, [new Uint8Array(IFADDR_BYTES)]))
    },
    replace: (one) => connection.request(nameOf(one), RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, encodeAddress(one)),
    async delete(one) {
      try {
        await connection.request(nameOf(one), RTM_DELADDR, 0, encodeAddress(one))
        return true
      } catch (error) {
        if (isRefusal(error, 'EADDRNOTAVAIL')) return false
        throw error
      }
    },
  }
}

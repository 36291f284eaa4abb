import { attributeString, parseAttributes, readNested, readString, readU32, readU8 } from './attributes.ts'
import type { NetlinkConnection } from './connection.ts'
import {
  IFF_UP,
  IFLA_IFNAME,
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  IFLA_MASTER,
  IFLA_MTU,
  IFLA_OPERSTATE,
  INTERFACE_NAME_BYTES,
  RTM_GETLINK,
  RTM_NEWLINK,
} from './constants.ts'
import { isRefusal } from './errors.ts'
import type { Message } from './message.ts'

/** struct ifinfomsg: u8 family, u8 pad, u16 type, s32 index, u32 flags, u32 change. */
const IFINFO_BYTES = 16

export interface Link {
  readonly index: number
  readonly name: string
  /** IFF_*. */
  readonly flags: number
  readonly up: boolean
  readonly mtu: number | undefined
  /** "veth", "bridge", ...; undefined for a physical interface. */
  readonly kind: string | undefined
  readonly master: number | undefined
  /** RFC 2863 ifOperStatus: 6 is up. */
  readonly operState: number | undefined
}

function ifinfo(index: number, flags = 0, change = 0): Uint8Array {
  const out = new Uint8Array(IFINFO_BYTES)
  const view = new DataView(out.buffer)
  view.setInt32(4, index, true)
  view.setUint32(8, flags, true)
  view.setUint32(12, change, true)
  return out
}

/** Undefined when the message is no link or malformed. */
export function decodeLink(message: Message): Link | undefined {
  const body = message.body
  if (body.length < IFINFO_BYTES) return undefined
  const attributes = parseAttributes(body, IFINFO_BYTES)
  if (attributes === undefined) return undefined
  const name = readString(attributes, IFLA_IFNAME)
  if (name === undefined) return undefined
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  const info = readNested(attributes, IFLA_LINKINFO)
  const flags = view.getUint32(8, true)
  return {
    index: view.getInt32(4, true),
    name,
    flags,
    up: (flags & IFF_UP) !== 0,
    mtu: readU32(attributes, IFLA_MTU),
    kind: info === undefined ? undefined : readString(info, IFLA_INFO_KIND),
    master: readU32(attributes, IFLA_MASTER),
    operState: readU8(attributes, IFLA_OPERSTATE),
  }
}

const present = <T>(value: T | undefined): value is T => value !== undefined

export function listLinks(connection: NetlinkConnection): Link[] {
  return connection
    .dump('list of interfaces', RTM_GETLINK, [ifinfo(0)])
    .filter((message) => message.type === RTM_NEWLINK)
    .map(decodeLink)
    .filter(present)
}

function getLink(connection: NetlinkConnection, what: string, parts: readonly Uint8Array[]): Link | undefined {
  try {
    return connection.query(what, RTM_GETLINK, parts).map(decodeLink).find(present)
  } catch (error) {
    if (isRefusal(error, 'ENODEV')) return undefined
    throw error
  }
}

/** Undefined when there is no such interface in this network namespace; names no interface can have give the same. */
export function linkByName(connection: NetlinkConnection, name: string): Link | undefined {
  const bytes = new TextEncoder().encode(name).length
  if (bytes === 0 || bytes >= INTERFACE_NAME_BYTES || name.includes('\0')) return undefined
  return getLink(connection, `interface ${name}`, [ifinfo(0), attributeString(IFLA_IFNAME, name)])
}

export function linkByIndex(connection: NetlinkConnection, index: number): Link | undefined {
  return index <= 0 ? undefined : getLink(connection, `interface ${index}`, [ifinfo(index)])
}

/** Body of a request that sets an interface up or down. */
export const encodeLinkUp = (index: number, up: boolean): Uint8Array => ifinfo(index, up ? IFF_UP : 0, IFF_UP)

export function setLinkUp(connection: NetlinkConnection, index: number, up: boolean): void {
  connection.request(`interface ${index} ${up ? 'up' : 'down'}`, RTM_NEWLINK, 0, [encodeLinkUp(index, up)])
}

import {
  attributeNested,
  attributeString,
  attributeU32,
  parseAttributes,
  readNested,
  readString,
  readU32,
  readU8,
} from './attributes.ts'
import type { AsyncNetlinkConnection } from './async-connection.ts'
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
  NLM_F_CREATE,
  NLM_F_EXCL,
  RTM_DELLINK,
  RTM_GETLINK,
  RTM_NEWLINK,
} from './constants.ts'
import { isRefusal } from './errors.ts'
import type { Message } from './message.ts'

/** struct ifinfomsg: u8 family, u8 pad, u16 type, s32 index, u32 flags, u32 change. */
const IFINFO_BYTES = 16

export interface Link {
  readonly index: number
  /** ARPHRD_*: 1 is Ethernet. */
  readonly hardware: number
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
    hardware: view.getUint16(2, true),
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

function isInterfaceName(name: string): boolean {
  const bytes = new TextEncoder().encode(name).length
  return bytes > 0 && bytes < INTERFACE_NAME_BYTES && !name.includes('\0')
}

/** Undefined when there is no such interface in this network namespace; names no interface can have give the same. */
export function linkByName(connection: NetlinkConnection, name: string): Link | undefined {
  if (!isInterfaceName(name)) return undefined
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

/** Body of a request that makes an interface of a kind that takes no options. */
export const encodeLinkCreate = (name: string, kind: string, mtu: number): Uint8Array[] => [
  ifinfo(0),
  attributeString(IFLA_IFNAME, name),
  attributeU32(IFLA_MTU, mtu),
  attributeNested(IFLA_LINKINFO, [attributeString(IFLA_INFO_KIND, kind)]),
]

/** Bodies of requests that change, and that delete, an interface. */
export const encodeLinkMtu = (index: number, mtu: number): Uint8Array[] => [ifinfo(index), attributeU32(IFLA_MTU, mtu)]
export const encodeLinkDelete = (index: number): Uint8Array[] => [ifinfo(index)]

/** Links by requests that run off the event loop: to delete one takes the kernel up to half a second. */
export interface AsyncLinks {
  /** Undefined when there is no such interface in this network namespace. */
  find(name: string): Promise<Link | undefined>
  byIndex(index: number): Promise<Link | undefined>
  /** False when the name is taken already. Throws NetlinkError EOPNOTSUPP for a kind the kernel does not know. */
  create(name: string, kind: string, mtu: number): Promise<boolean>
  setUp(index: number, up: boolean): Promise<void>
  setMtu(index: number, mtu: number): Promise<void>
  /** False when it was gone already. */
  delete(index: number): Promise<boolean>
}

const unless = async (attempt: Promise<void>, ...errnoNames: readonly string[]): Promise<boolean> => {
  try {
    await attempt
    return true
  } catch (error) {
    if (isRefusal(error, ...errnoNames)) return false
    throw error
  }
}

export function asyncLinks(connection: AsyncNetlinkConnection): AsyncLinks {
  const change = (what: string, parts: readonly Uint8Array[], flags = 0): Promise<void> =>
    connection.request(what, RTM_NEWLINK, flags, parts)
  const get = async (what: string, parts: readonly Uint8Array[]): Promise<Link | undefined> => {
    try {
      return (await connection.query(what, RTM_GETLINK, parts)).map(decodeLink).find(present)
    } catch (error) {
      if (isRefusal(error, 'ENODEV')) return undefined
      throw error
    }
  }
  return {
    find: async (name) =>
      isInterfaceName(name) ? get(`interface ${name}`, [ifinfo(0), attributeString(IFLA_IFNAME, name)]) : undefined,
    byIndex: async (index) => (index <= 0 ? undefined : get(`interface ${index}`, [ifinfo(index)])),
    create: (name, kind, mtu) =>
      unless(
        change(`${kind} interface ${name}`, encodeLinkCreate(name, kind, mtu), NLM_F_CREATE | NLM_F_EXCL),
        'EEXIST',
      ),
    setUp: (index, up) => change(`interface ${index} ${up ? 'up' : 'down'}`, [encodeLinkUp(index, up)]),
    setMtu: (index, mtu) => change(`MTU ${mtu} of interface ${index}`, encodeLinkMtu(index, mtu)),
    delete: (index) =>
      unless(connection.request(`interface ${index}`, RTM_DELLINK, 0, encodeLinkDelete(index)), 'ENODEV'),
  }
}

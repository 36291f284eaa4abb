import { attributeU32, parseAttributes, readU32 } from './attributes.ts'
import type { AsyncNetlinkConnection } from './async-connection.ts'
import type { Request } from './batch.ts'
import {
  AF_INET,
  AF_INET6,
  NHA_ID,
  NHA_OIF,
  NLM_F_CREATE,
  NLM_F_REPLACE,
  RTM_DELNEXTHOP,
  RTM_GETNEXTHOP,
  RTM_NEWNEXTHOP,
} from './constants.ts'
import { isRefusal } from './errors.ts'
import type { Message } from './message.ts'

/** struct nhmsg: u8 family, u8 scope, u8 protocol, u8 reserved, u32 flags. */
const NEXTHOP_BYTES = 8

/**
 * An object that routes of one family point to (kernel 5.3): to replace it moves all of them at once. It must have an
 * interface that is up, and is gone, with its routes, when that goes down.
 */
export interface Nexthop {
  readonly id: number
  readonly family: 4 | 6
  /** Index of the interface. */
  readonly oif: number
  /** RTPROT_*. */
  readonly protocol: number
}

/** Body of a request that adds or replaces the object. */
export function encodeNexthop(nexthop: Nexthop): Uint8Array[] {
  const header = new Uint8Array(NEXTHOP_BYTES)
  header[0] = nexthop.family === 4 ? AF_INET : AF_INET6
  header[2] = nexthop.protocol
  return [header, attributeU32(NHA_ID, nexthop.id), attributeU32(NHA_OIF, nexthop.oif)]
}

/** Undefined when the message is no object with one interface (a group, a blackhole) or is malformed. */
export function decodeNexthop(message: Message): Nexthop | undefined {
  const body = message.body
  if (body.length < NEXTHOP_BYTES) return undefined
  const attributes = parseAttributes(body, NEXTHOP_BYTES)
  const family = body[0] === AF_INET ? 4 : body[0] === AF_INET6 ? 6 : undefined
  if (attributes === undefined || family === undefined) return undefined
  const id = readU32(attributes, NHA_ID)
  const oif = readU32(attributes, NHA_OIF)
  return id === undefined || oif === undefined ? undefined : { id, family, oif, protocol: body[2] ?? 0 }
}

/** Every object with one interface. */
export async function listNexthops(connection: AsyncNetlinkConnection): Promise<Nexthop[]> {
  let found: Nexthop[] = []
  await walkNexthops(connection, () => {
    const list: Nexthop[] = []
    found = list
    return (nexthop) => {
      list.push(nexthop)
    }
  })
  return found
}

/** The same, each as it comes. `begin` is called again when one changed meanwhile: what came before counts no more. */
export async function walkNexthops(
  connection: AsyncNetlinkConnection,
  begin: () => (nexthop: Nexthop) => void,
): Promise<void> {
  await connection.walk('list of nexthops', RTM_GETNEXTHOP, [new Uint8Array(NEXTHOP_BYTES)], () => {
    const take = begin()
    return (message) => {
      const nexthop = message.type === RTM_NEWNEXTHOP ? decodeNexthop(message) : undefined
      if (nexthop !== undefined) take(nexthop)
    }
  })
}

/** For a batch: adds the object, or moves its routes to another interface at once. */
export const replaceNexthopRequest = (nexthop: Nexthop): Request => ({
  what: () => `nexthop ${nexthop.id} to interface ${nexthop.oif}`,
  type: RTM_NEWNEXTHOP,
  flags: NLM_F_CREATE | NLM_F_REPLACE,
  parts: encodeNexthop(nexthop),
})

/** For a batch: deletes the object, and its routes with it; ENOENT when there is none. */
export const deleteNexthopRequest = (id: number): Request => ({
  what: () => `nexthop ${id}`,
  type: RTM_DELNEXTHOP,
  flags: 0,
  parts: [new Uint8Array(NEXTHOP_BYTES), attributeU32(NHA_ID, id)],
})

export function replaceNexthop(connection: AsyncNetlinkConnection, nexthop: Nexthop): Promise<void> {
  const { what, type, flags, parts } = replaceNexthopRequest(nexthop)
  return connection.request(what(), type, flags, parts)
}

/** False when there was none. Its routes go with it. */
export async function deleteNexthop(connection: AsyncNetlinkConnection, id: number): Promise<boolean> {
  try {
    const { what, type, flags, parts } = deleteNexthopRequest(id)
    await connection.request(what(), type, flags, parts)
    return true
  } catch (error) {
    if (isRefusal(error, 'ENOENT')) return false
    throw error
  }
}

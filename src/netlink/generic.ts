import {
  attributeString,
  type Attribute,
  findAttribute,
  parseAttributes,
  readString,
  readU16,
  readU32,
} from './attributes.ts'
import type { AsyncNetlinkConnection } from './async-connection.ts'
import {
  CTRL_ATTR_FAMILY_ID,
  CTRL_ATTR_FAMILY_NAME,
  CTRL_ATTR_MCAST_GROUPS,
  CTRL_ATTR_MCAST_GRP_ID,
  CTRL_ATTR_MCAST_GRP_NAME,
  CTRL_ATTR_VERSION,
  CTRL_CMD_GETFAMILY,
  CTRL_CMD_NEWFAMILY,
  GENL_ID_CTRL,
} from './constants.ts'
import { isRefusal } from './errors.ts'
import type { Message } from './message.ts'

/** struct genlmsghdr: u8 command, u8 version, u16 reserved. */
export const GENERIC_HEADER_BYTES = 4

/** Body of a generic netlink message: its header, then attributes. */
export const encodeGeneric = (
  command: number,
  version: number,
  attributes: readonly Uint8Array[] = [],
): readonly Uint8Array[] => [Uint8Array.of(command, version, 0, 0), ...attributes]

/** Command and attributes of a message; undefined when it is malformed. */
export function genericBody(
  message: Message,
): { readonly command: number; readonly attributes: readonly Attribute[] } | undefined {
  const command = message.body[0]
  if (command === undefined || message.body.length < GENERIC_HEADER_BYTES) return undefined
  const attributes = parseAttributes(message.body, GENERIC_HEADER_BYTES)
  return attributes && { command, attributes }
}

export interface GenericFamily {
  /** Type of its messages. */
  readonly id: number
  readonly version: number
  /** Multicast groups: name to the number to join. */
  readonly groups: ReadonlyMap<string, number>
}

/** Undefined when the message describes no family or is malformed. */
export function decodeFamily(message: Message): GenericFamily | undefined {
  const body = genericBody(message)
  if (message.type !== GENL_ID_CTRL || body?.command !== CTRL_CMD_NEWFAMILY) return undefined
  const id = readU16(body.attributes, CTRL_ATTR_FAMILY_ID)
  if (id === undefined) return undefined
  const groups = new Map<string, number>()
  const list = findAttribute(body.attributes, CTRL_ATTR_MCAST_GROUPS)
  for (const entry of (list && parseAttributes(list)) ?? []) {
    const group = parseAttributes(entry.payload) ?? []
    const name = readString(group, CTRL_ATTR_MCAST_GRP_NAME)
    const number = readU32(group, CTRL_ATTR_MCAST_GRP_ID)
    if (name !== undefined && number !== undefined) groups.set(name, number)
  }
  return { id, version: readU32(body.attributes, CTRL_ATTR_VERSION) ?? 0, groups }
}

/** Asks for a family by name, which makes the kernel load its module. Undefined when it has none. */
export async function resolveFamily(
  connection: AsyncNetlinkConnection,
  name: string,
): Promise<GenericFamily | undefined> {
  const body = encodeGeneric(CTRL_CMD_GETFAMILY, 1, [attributeString(CTRL_ATTR_FAMILY_NAME, name)])
  try {
    const messages = await connection.query(`generic netlink family ${name}`, GENL_ID_CTRL, body)
    return messages.map(decodeFamily).find((family) => family !== undefined)
  } catch (error) {
    if (isRefusal(error, 'ENOENT')) return undefined
    throw error
  }
}

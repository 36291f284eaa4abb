import { align4, parseAttributes, readString } from './attributes.ts'
import { NLM_F_ACK_TLVS, NLM_F_CAPPED, NLMSGERR_ATTR_MSG } from './constants.ts'

/** struct nlmsghdr: u32 length, u16 type, u16 flags, u32 sequence, u32 port. */
export const HEADER_BYTES = 16

export interface Message {
  readonly type: number
  readonly flags: number
  readonly sequence: number
  readonly port: number
  /** What follows the header; a view of the datagram. */
  readonly body: Uint8Array
}

/** `parts`: the family's fixed structure and its attributes, each padded to 4. */
export function encodeMessage(type: number, flags: number, sequence: number, parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, HEADER_BYTES))
  const view = new DataView(out.buffer)
  view.setUint32(0, out.length, true)
  view.setUint16(4, type, true)
  view.setUint16(6, flags, true)
  view.setUint32(8, sequence, true)
  let at = HEADER_BYTES
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** The messages of one datagram; undefined when a length lies outside of it. */
export function splitMessages(datagram: Uint8Array): readonly Message[] | undefined {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength)
  const found: Message[] = []
  let at = 0
  while (at < datagram.length) {
    if (datagram.length - at < HEADER_BYTES) return undefined
    const length = view.getUint32(at, true)
    if (length < HEADER_BYTES || length > datagram.length - at) return undefined
    found.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      port: view.getUint32(at + 12, true),
      body: datagram.subarray(at + HEADER_BYTES, at + length),
    })
    at += align4(length)
  }
  return found
}

export interface Acknowledgement {
  /** Positive errno, 0 for success. */
  readonly errno: number
  /** The kernel's own words (NETLINK_EXT_ACK), if it had any. */
  readonly text: string | undefined
}

/**
 * Body of NLMSG_ERROR: s32 -errno, the header of the request, the request itself unless capped, attributes if flagged.
 * Undefined when it is too short.
 */
export function decodeError(message: Message): Acknowledgement | undefined {
  const body = message.body
  if (body.length < 4 + HEADER_BYTES) return undefined
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  const errno = 0 - view.getInt32(0, true)
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return { errno, text: undefined }
  const echoed = (message.flags & NLM_F_CAPPED) !== 0 ? HEADER_BYTES : view.getUint32(4, true)
  const attributes = echoed > body.length - 4 ? undefined : parseAttributes(body, align4(4 + echoed))
  return { errno, text: attributes === undefined ? undefined : readString(attributes, NLMSGERR_ATTR_MSG) }
}

/** Body of NLMSG_DONE: s32, 0 or -errno of the dump, and attributes as in an error. */
export function decodeDone(message: Message): Acknowledgement {
  const body = message.body
  if (body.length < 4) return { errno: 0, text: undefined }
  const errno = 0 - new DataView(body.buffer, body.byteOffset, body.byteLength).getInt32(0, true)
  const attributes = (message.flags & NLM_F_ACK_TLVS) === 0 ? undefined : parseAttributes(body, 4)
  return { errno, text: attributes === undefined ? undefined : readString(attributes, NLMSGERR_ATTR_MSG) }
}

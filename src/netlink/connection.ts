import { SekishoError } from '../core/errors.ts'
import type { Fd, NetlinkCalls } from '../native/binding.ts'
import {
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_OVERRUN,
} from './constants.ts'
import { NetlinkError } from './errors.ts'
import { type Acknowledgement, decodeDone, decodeError, encodeMessage, type Message, splitMessages } from './message.ts'

/** What the protocol needs of the native door. */
export type NetlinkDoor = NetlinkCalls & { close(fd: Fd): void }

/** The kernel makes dump datagrams as large as the largest read it has seen, up to 32 KiB. */
const RECEIVE_BYTES = 64 * 1024
/** The kernel answers within the call; this only bounds a kernel that does not. */
const ANSWER_MS = 5000
/** How often a dump that a change has cut short is begun anew. */
const DUMP_ATTEMPTS = 8

/** One socket, used from one thread; requests are answered one at a time. */
export interface NetlinkConnection {
  /** A request that is answered by an acknowledgement. `what` names it in errors. Throws NetlinkError. */
  request(what: string, type: number, flags: number, parts: readonly Uint8Array[]): void
  /** A request that is answered by messages and then an acknowledgement. */
  query(what: string, type: number, parts: readonly Uint8Array[]): readonly Message[]
  /** A whole dump: begun anew when the table changed meanwhile. */
  dump(what: string, type: number, parts: readonly Uint8Array[]): readonly Message[]
  /** Idempotent. */
  close(): void
}

interface Exchange {
  readonly messages: readonly Message[]
  /** The table changed while it was read. */
  readonly interrupted: boolean
}

export function openConnection(native: NetlinkDoor, protocol: number): NetlinkConnection {
  const fd = native.netlinkOpen(protocol, [])
  const port = native.netlinkPort(fd)
  const buffer = new Uint8Array(RECEIVE_BYTES)
  let sequence = 0
  let open = true

  const malformed = (what: string, why: string): SekishoError =>
    new SekishoError('SEKISHO_NETLINK_PROTOCOL', `${what}: ${why}`)

  const check = (what: string, answer: Acknowledgement | undefined): void => {
    if (answer === undefined) throw malformed(what, 'acknowledgement is too short')
    if (answer.errno !== 0) throw new NetlinkError(what, answer.errno, answer.text)
  }

  const receive = (what: string): readonly Message[] => {
    const length = native.netlinkReceive(fd, buffer, ANSWER_MS)
    if (length === 0) throw new SekishoError('SEKISHO_NETLINK_TIMEOUT', what)
    const messages = splitMessages(buffer.subarray(0, length))
    if (messages === undefined) throw malformed(what, 'a length lies outside of the datagram')
    // An answer to an earlier request that was given up, or to somebody else, is no answer to this one.
    return messages.filter((message) => message.sequence === sequence && message.port === port)
  }

  const exchange = (what: string, type: number, flags: number, parts: readonly Uint8Array[]): Exchange => {
    sequence = (sequence + 1) >>> 0 || 1
    native.netlinkSend(fd, encodeMessage(type, flags | NLM_F_REQUEST, sequence, parts))
    const found: Message[] = []
    let interrupted = false
    for (;;) {
      for (const message of receive(what)) {
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true
        if (message.type === NLMSG_OVERRUN) throw malformed(what, 'overrun')
        if (message.type === NLMSG_ERROR) {
          check(what, decodeError(message))
          return { messages: found, interrupted }
        }
        if (message.type === NLMSG_DONE) {
          check(what, decodeDone(message))
          return { messages: found, interrupted }
        }
        found.push({ ...message, body: message.body.slice() })
      }
    }
  }

  return {
    request(what, type, flags, parts) {
      exchange(what, type, flags | NLM_F_ACK, parts)
    },
    query: (what, type, parts) => exchange(what, type, NLM_F_ACK, parts).messages,
    dump(what, type, parts) {
      for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
        const { messages, interrupted } = exchange(what, type, NLM_F_DUMP, parts)
        if (!interrupted) return messages
      }
      throw new SekishoError('SEKISHO_NETLINK_INTERRUPTED', what)
    },
    close() {
      if (open) native.close(fd)
      open = false
    },
  }
}

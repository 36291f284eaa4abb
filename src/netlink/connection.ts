import { SekishoError } from '../core/errors.ts'
import type { Fd, NetlinkCalls } from '../native/binding.ts'
import { Answer, ANSWER_MS, DUMP_ATTEMPTS, nextSequence } from './answer.ts'
import { NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from './constants.ts'
import { encodeMessage, type Message } from './message.ts'

/** What the protocol needs of the native door. */
export type NetlinkDoor = NetlinkCalls & { close(fd: Fd): void }

/** The kernel makes dump datagrams as large as the largest read it has seen, up to 32 KiB. */
const RECEIVE_BYTES = 64 * 1024

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

export function openConnection(native: NetlinkDoor, protocol: number): NetlinkConnection {
  const fd = native.netlinkOpen(protocol, [])
  const port = native.netlinkPort(fd)
  const buffer = new Uint8Array(RECEIVE_BYTES)
  let sequence = 0
  let open = true

  const exchange = (what: string, type: number, flags: number, parts: readonly Uint8Array[]): Answer => {
    sequence = nextSequence(sequence)
    native.netlinkSend(fd, encodeMessage(type, flags | NLM_F_REQUEST, sequence, parts))
    const answer = new Answer(what, sequence, port)
    while (!answer.take(buffer.subarray(0, native.netlinkReceive(fd, buffer, ANSWER_MS)))) continue
    return answer
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

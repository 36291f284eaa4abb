import type { Fd, NativeError } from '../native/binding.ts'
import type { NetlinkDoor } from './connection.ts'
import { NETLINK_ROUTE } from './constants.ts'
import { type Message, splitMessages } from './message.ts'

export interface EventSocket {
  /** To wait for; the socket's own to read and to close. */
  readonly fd: Fd
  /** One datagram of events, never waits; `lost` says that events are missing: read everything anew. */
  receive(): readonly Message[] | 'nothing' | 'lost'
  /** Idempotent. */
  close(): void
}

const RECEIVE_BYTES = 64 * 1024

/** Events of RTNLGRP_* groups of this network namespace. Bodies are views that hold until the next call. */
export function openEvents(native: NetlinkDoor, groups: readonly number[]): EventSocket {
  const fd = native.netlinkOpen(NETLINK_ROUTE, groups)
  const buffer = new Uint8Array(RECEIVE_BYTES)
  let open = true
  return {
    fd,
    receive() {
      try {
        const length = native.netlinkReceive(fd, buffer, 0)
        return length === 0 ? 'nothing' : (splitMessages(buffer.subarray(0, length)) ?? 'lost')
      } catch (error) {
        // ENOBUFS: the queue ran over. ENOSPC: a datagram was longer than the buffer. Either way something is missing.
        if (['ENOBUFS', 'ENOSPC'].includes((error as NativeError).errnoName ?? '')) return 'lost'
        throw error
      }
    },
    close() {
      if (open) native.close(fd)
      open = false
    },
  }
}

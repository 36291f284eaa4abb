import { decodeEvent, type DropEvent, EVENT_BYTES } from '../bpf/layouts.ts'
import type { BpfCalls, Fd } from '../native/binding.ts'

/** u32 length before each record, and records padded to 8. */
const LENGTH_BYTES = 4
const READ_BYTES = 64 * 1024
/** The ring holds 256 KiB. */
const MAX_READS = 8

export interface DropRing {
  /** What is in the ring buffer, at most once around it. */
  read(): DropEvent[]
  close(): void
}

export function openDropRing(native: BpfCalls, map: Fd): DropRing {
  const ring = native.bpfRingOpen(map)
  const buffer = new Uint8Array(READ_BYTES)
  const view = new DataView(buffer.buffer)
  let open = true
  return {
    read() {
      const events: DropEvent[] = []
      for (let i = 0; i < MAX_READS; i++) {
        const read = native.bpfRingRead(ring, buffer)
        if (read === 0) break
        let at = 0
        while (at + LENGTH_BYTES <= read) {
          const length = view.getUint32(at, true)
          const event = length === EVENT_BYTES ? decodeEvent(buffer, at + LENGTH_BYTES) : undefined
          if (event !== undefined) events.push(event)
          at += (LENGTH_BYTES + length + 7) & ~7
        }
      }
      return events
    },
    close() {
      if (open) native.bpfRingClose(ring)
      open = false
    },
  }
}

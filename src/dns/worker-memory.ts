import { HEADER_WORDS, OUT_WORDS, RX_WORDS } from '../native/binding.ts'
import { MAX_OWN_REPLY_BYTES } from './message/constants.ts'

/** Receive slots of a pump; io_uring gives 256 buffers a ring. */
export const SLOTS = 256
/** Octets a slot: the largest EDNS size in use (RFC 6891 section 6.2.5). What is longer becomes TC and comes by TCP. */
export const STRIDE = 4096
const REPLY_BYTES = Math.ceil(MAX_OWN_REPLY_BYTES / 16) * 16

/** The memory a pump and its core share: receive slots, pending slots, then room for one reply of our own an out record. */
export interface WorkerMemory {
  readonly buffer: Uint8Array
  readonly slots: number
  readonly stride: number
  readonly pendingAt: number
  readonly replyAt: number
  readonly replyBytes: number
  readonly maxOut: number
  readonly rx: Uint32Array
  readonly out: Uint32Array
  readonly header: Int32Array
  readonly now: Float64Array
}

export function makeWorkerMemory(maxPending: number, slots = SLOTS, stride = STRIDE): WorkerMemory {
  const maxOut = slots * 2
  const pendingAt = slots * stride
  const replyAt = pendingAt + maxPending * stride
  return {
    buffer: new Uint8Array(replyAt + maxOut * REPLY_BYTES),
    slots,
    stride,
    pendingAt,
    replyAt,
    replyBytes: REPLY_BYTES,
    maxOut,
    rx: new Uint32Array(slots * RX_WORDS),
    out: new Uint32Array(maxOut * OUT_WORDS),
    header: new Int32Array(HEADER_WORDS),
    now: new Float64Array(1),
  }
}

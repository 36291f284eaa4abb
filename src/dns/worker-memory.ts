import { HEADER_WORDS, OUT_WORDS, RX_WORDS } from '../native/binding.ts'
import { MAX_OWN_REPLY_BYTES } from './message/constants.ts'

/** Receive slots of a pump; io_uring gives 256 buffers a ring. */
export const SLOTS = 256
/** Octets a slot: the largest EDNS size in use (RFC 6891 section 6.2.5). What is longer becomes TC and comes by TCP. */
export const STRIDE = 4096
/** Octets of a line of the processor's cache. */
const LINE = 64
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
  // One allocation: a step looks at each distinct one. Words and double are at the front, where they share few lines.
  const sizes = [8, HEADER_WORDS * 4, slots * RX_WORDS * 4, maxOut * OUT_WORDS * 4, replyAt + maxOut * REPLY_BYTES]
  const places = sizes.map((_, i) => sizes.slice(0, i).reduce((at, size) => at + Math.ceil(size / LINE) * LINE, 0))
  const [nowAt = 0, headerAt = 0, rxAt = 0, outAt = 0, bufferAt = 0] = places
  const memory = new ArrayBuffer(bufferAt + replyAt + maxOut * REPLY_BYTES)
  return {
    buffer: new Uint8Array(memory, bufferAt),
    slots,
    stride,
    pendingAt,
    replyAt,
    replyBytes: REPLY_BYTES,
    maxOut,
    rx: new Uint32Array(memory, rxAt, slots * RX_WORDS),
    out: new Uint32Array(memory, outAt, maxOut * OUT_WORDS),
    header: new Int32Array(memory, headerAt, HEADER_WORDS),
    now: new Float64Array(memory, nowAt, 1),
  }
}

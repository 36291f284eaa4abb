import type { Ip } from '../../core/ip.ts'
import {
  PROBE_ADDRESS,
  PROBE_AGE,
  PROBE_ERRNO,
  PROBE_LENGTH,
  PROBE_PORT,
  PROBE_WORDS,
  type Fd,
  type WgSocketCalls,
} from '../../native/binding.ts'
import { PROBE_BYTES } from './codec.ts'
import type { Pending } from './questions.ts'

/** Datagrams read, and sent, in one turn of one socket: a millisecond. */
export const TURN = 256
/** Datagrams that wait to be sent: what thousands of peers are asked in one go. */
const QUEUE = 4096
/** Octets; some 1,500 small datagrams wait while the event loop is busy. */
const SOCKET_BUFFER = 1 << 20

export type ProbeDoor = Pick<WgSocketCalls, 'openProbeSocket' | 'probeReceive' | 'probeSend'> & { close(fd: Fd): void }

export interface ProbeSocket {
  readonly family: 4 | 6
  /** Reads at most TURN datagrams. Returns how many. Throws the error of the native door. */
  receive(take: (view: DataView, at: number, from: Received) => void): number
  /**
   * Queues a datagram of `octets` octets; its first PROBE_BYTES are written to `out`, from where this says, before anything else
   * is asked of the socket. `asks`: the question that it is. A full queue is sent at once, all of it.
   */
  queue(words: Uint32Array, wordsAt: number, port: number, octets: number, asks?: Pending): number
  readonly out: DataView
  /** Sends at most TURN of what is queued. Returns how many the kernel refused. */
  flush(): number
  /** Nothing is queued. */
  readonly empty: boolean
  close(): void
}

/** Of a received datagram; reused for the next. */
export interface Received {
  octets: number
  port: number
  /** Microseconds since the kernel had it. */
  ageUs: number
  /** Where the addr16 of who sent it lies. */
  words: Uint32Array
  wordsAt: number
}

export interface SlotSocketOptions {
  readonly device: string
  readonly own: Ip
  readonly port: number
  /** The kernel does not take a question. */
  readonly refused: (question: Pending) => void
}

/** @throws the error of the native door */
export function openSlotSocket(native: ProbeDoor, { device, own, port, refused }: SlotSocketOptions): ProbeSocket {
  const fd = native.openProbeSocket({ device, address: own.bytes, port, buffer: SOCKET_BUFFER })
  const inData = new Uint8Array(TURN * PROBE_BYTES)
  const inView = new DataView(inData.buffer)
  const inRecords = new Uint32Array(TURN * PROBE_WORDS)
  const outData = new Uint8Array(QUEUE * PROBE_BYTES)
  const out = new DataView(outData.buffer)
  const outRecords = new Uint32Array(QUEUE * PROBE_WORDS)
  const asked = new Array<Pending | undefined>(QUEUE).fill(undefined)
  const received: Received = { octets: 0, port: 0, ageUs: 0, words: inRecords, wordsAt: 0 }
  let queued = 0
  let sent = 0
  let refusedInQueue = 0

  const send = (most: number): number => {
    const from = sent
    sent = Math.min(queued, from + most)
    const to = sent
    if (sent === queued) queued = sent = 0
    if (to === from) return 0
    const data = outData.subarray(from * PROBE_BYTES, to * PROBE_BYTES)
    const records = outRecords.subarray(from * PROBE_WORDS, to * PROBE_WORDS)
    const failed = native.probeSend(fd, data, PROBE_BYTES, records, to - from)
    for (let i = from; i < to; i++) {
      const question = asked[i]
      asked[i] = undefined
      if (failed > 0 && question !== undefined && outRecords[i * PROBE_WORDS + PROBE_ERRNO] !== 0) refused(question)
    }
    return failed
  }

  return {
    family: own.family,
    receive(take) {
      const count = native.probeReceive(fd, inData, PROBE_BYTES, inRecords)
      for (let i = 0; i < count; i++) {
        const at = i * PROBE_WORDS
        received.octets = inRecords[at + PROBE_LENGTH] ?? 0
        received.port = inRecords[at + PROBE_PORT] ?? 0
        received.ageUs = inRecords[at + PROBE_AGE] ?? 0
        received.wordsAt = at + PROBE_ADDRESS
        take(inView, i * PROBE_BYTES, received)
      }
      return count
    },
    out,
    queue(words, wordsAt, to, octets, asks) {
      if (queued === QUEUE) refusedInQueue += send(QUEUE)
      const at = queued * PROBE_WORDS
      outRecords[at + PROBE_LENGTH] = octets
      outRecords[at + PROBE_PORT] = to
      for (let i = 0; i < 4; i++) outRecords[at + PROBE_ADDRESS + i] = words[wordsAt + i] ?? 0
      asked[queued] = asks
      return queued++ * PROBE_BYTES
    },
    flush() {
      const failed = refusedInQueue + send(TURN)
      refusedInQueue = 0
      return failed
    },
    get empty() {
      return queued === 0
    },
    close() {
      native.close(fd)
    },
  }
}

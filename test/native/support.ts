import { readdirSync } from 'node:fs'
import {
  HEADER_WORDS,
  OUT_CONNECTED,
  OUT_DESTINATION,
  OUT_DESTINATION_PORT,
  OUT_ERRNO,
  OUT_KIND,
  OUT_LENGTH,
  OUT_OFFSET,
  OUT_REPLY,
  OUT_SOURCE,
  OUT_SOURCE_PORT,
  OUT_TAG,
  OUT_WORDS,
  PATH_AUTO,
  RX_DESTINATION,
  RX_DESTINATION_PORT,
  RX_FAMILY,
  RX_FLAGS,
  RX_LENGTH,
  RX_OFFSET,
  RX_SOURCE,
  RX_SOURCE_PORT,
  RX_TAG,
  RX_WORDS,
} from '../../src/native/binding.ts'
import type { Native, NativeError, Pump, PumpOptions } from '../../src/native/binding.ts'
import { parseIp, writeAddr16, readAddr16, formatIp } from '../../src/core/ip.ts'

export const LOOPBACK4 = new Uint8Array([127, 0, 0, 1])
export const LOOPBACK6 = new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])

export interface Received {
  readonly tag: number
  readonly length: number
  readonly flags: number
  readonly family: number
  readonly source: string
  readonly sourcePort: number
  readonly destination: string
  readonly destinationPort: number
  readonly payload: Buffer
}

/** A pump with its memory, and records read and written by name. Allocates freely: for tests only. */
export class Bench {
  readonly options: PumpOptions
  readonly pump: Pump
  readonly native: Native
  private queued = 0
  private free: number

  constructor(native: Native, size: Partial<PumpOptions> & { readonly maxOut?: number } = {}) {
    const slots = size.slots ?? 32
    const stride = size.stride ?? 2048
    this.native = native
    this.free = slots * stride
    this.options = {
      buffer: new Uint8Array(slots * stride + 1024 * 1024),
      slots,
      stride,
      rx: new Uint32Array(slots * RX_WORDS),
      out: new Uint32Array((size.maxOut ?? 256) * OUT_WORDS),
      header: new Int32Array(HEADER_WORDS),
      now: new Float64Array(1),
      reply4: size.reply4 ?? -1,
      reply6: size.reply6 ?? -1,
      path: size.path ?? PATH_AUTO,
    }
    this.pump = native.pumpCreate(this.options)
  }

  /** Queues the payload for the upstream socket with this tag. */
  sendTo(tag: number, payload: Uint8Array): void {
    this.write(OUT_CONNECTED, tag, payload)
  }

  reply(from: string, fromPort: number, to: string, toPort: number, payload: Uint8Array): void {
    const at = this.queued * OUT_WORDS
    const ip = parseIp(to)
    this.write(OUT_REPLY, ip.family, payload)
    const octets = new Uint8Array(this.options.out.buffer, this.options.out.byteOffset, this.options.out.byteLength)
    writeAddr16(ip, octets, 4 * (at + OUT_DESTINATION))
    writeAddr16(parseIp(from), octets, 4 * (at + OUT_SOURCE))
    this.options.out[at + OUT_DESTINATION_PORT] = toPort
    this.options.out[at + OUT_SOURCE_PORT] = fromPort
  }

  private write(kind: number, tag: number, payload: Uint8Array): void {
    const at = this.queued++ * OUT_WORDS
    this.options.buffer.set(payload, this.free)
    this.options.out[at + OUT_KIND] = kind
    this.options.out[at + OUT_TAG] = tag
    this.options.out[at + OUT_OFFSET] = this.free
    this.options.out[at + OUT_LENGTH] = payload.length
    // What a step does not write must not look like success.
    this.options.out[at + OUT_ERRNO] = 0xffffffff
    this.free += payload.length
  }

  step(timeoutMs = 0): Received[] {
    const { rx, slots, stride, buffer } = this.options
    const count = this.native.pumpStep(this.pump, this.queued, timeoutMs)
    this.queued = 0
    this.free = slots * stride
    const octets = new Uint8Array(rx.buffer)
    return Array.from({ length: count }, (_, i) => {
      const word = (w: number): number => rx[i * RX_WORDS + w] ?? 0
      const length = word(RX_LENGTH)
      return {
        tag: word(RX_TAG),
        length,
        flags: word(RX_FLAGS),
        family: word(RX_FAMILY),
        source: formatIp(readAddr16(octets, 4 * (i * RX_WORDS + RX_SOURCE))),
        sourcePort: word(RX_SOURCE_PORT),
        destination: formatIp(readAddr16(octets, 4 * (i * RX_WORDS + RX_DESTINATION))),
        destinationPort: word(RX_DESTINATION_PORT),
        payload: Buffer.from(buffer.slice(word(RX_OFFSET), word(RX_OFFSET) + length)),
      }
    })
  }

  /** OUT_ERRNO of the records of the last step. */
  errors(count: number): number[] {
    return Array.from({ length: count }, (_, i) => this.options.out[i * OUT_WORDS + OUT_ERRNO] ?? -1)
  }
}

/** Steps until `count` records have come or two seconds are over. */
export function collect(bench: Bench, count: number): Received[] {
  const all: Received[] = []
  const deadline = performance.now() + 2000
  while (all.length < count && performance.now() < deadline) all.push(...bench.step(50))
  return all
}

export const openDescriptors = (): number => readdirSync('/proc/self/fd').length

/** The error a call throws; fails the test when it throws none. */
export function thrownBy(call: () => unknown): NativeError {
  try {
    call()
  } catch (error) {
    return error as NativeError
  }
  throw new Error('nothing was thrown')
}

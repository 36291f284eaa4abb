import { crc32 } from 'node:zlib'

/**
 * Records of the state on disk. A record is: u32 length of the payload, u32 CRC-32 of the payload, the payload (its
 * first octet is the type). Little endian. The snapshot and the journal hold the same records.
 */
export const RECORD_HEADER = 1
export const RECORD_ENDPOINT = 2
export const RECORD_IDENTITY = 3
export const RECORD_LEARNED = 4
export const RECORD_END = 9

export const STATE_VERSION = 1
/** "SKN1" */
const MAGIC = 0x314e4b53
const FRAME = 8
const MAX_PAYLOAD = 65_536
export const BOOT_ID_BYTES = 16

export interface StateHeader {
  /** Expiries are seconds of CLOCK_MONOTONIC, which only this boot of the machine knows. */
  readonly bootId: Uint8Array
  readonly localCursor: number
  readonly clusterCursor: number
}

export interface StateIdentity {
  readonly number: number
  /** 0: the identity of endpoints, `labels` being the one labels key. */
  readonly family: 0 | 4 | 6
  readonly labels: readonly string[]
}

const encoder = new TextEncoder()

/** Appends records to a buffer that grows; `take` hands the octets over and starts anew. */
export class RecordWriter {
  #bytes = new Uint8Array(65_536)
  #view = new DataView(this.#bytes.buffer)
  #length = 0
  #start = 0
  records = 0

  get length(): number {
    return this.#length
  }

  #room(size: number): void {
    if (this.#length + size <= this.#bytes.length) return
    const bytes = new Uint8Array(Math.max(2 * this.#bytes.length, this.#length + size))
    bytes.set(this.#bytes)
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer)
  }

  #begin(type: number): void {
    this.#room(FRAME + 1)
    this.#start = this.#length
    this.#length += FRAME
    this.#bytes[this.#length++] = type
  }

  #end(): void {
    const payload = this.#bytes.subarray(this.#start + FRAME, this.#length)
    this.#view.setUint32(this.#start, payload.length, true)
    this.#view.setUint32(this.#start + 4, crc32(payload), true)
    this.records++
  }

  #u16(value: number): void {
    this.#room(2)
    this.#view.setUint16(this.#length, value, true)
    this.#length += 2
  }

  #u32(value: number): void {
    this.#room(4)
    this.#view.setUint32(this.#length, value >>> 0, true)
    this.#length += 4
  }

  #octets(bytes: Uint8Array, offset: number, length: number): void {
    this.#room(length)
    for (let i = 0; i < length; i++) this.#bytes[this.#length + i] = bytes[offset + i] as number
    this.#length += length
  }

  #text(text: string): void {
    const bytes = encoder.encode(text)
    this.#u16(bytes.length)
    this.#octets(bytes, 0, bytes.length)
  }

  header(header: StateHeader): void {
    this.#begin(RECORD_HEADER)
    this.#u32(MAGIC)
    this.#u16(STATE_VERSION)
    this.#octets(header.bootId, 0, BOOT_ID_BYTES)
    this.#u32(header.localCursor)
    this.#u32(header.clusterCursor)
    this.#end()
  }

  endpoint(id: number, key: string): void {
    this.#begin(RECORD_ENDPOINT)
    this.#u16(id)
    this.#text(key)
    this.#end()
  }

  /** False when the labels do not fit a record; such an identity gets another number after a restart. */
  identity(identity: StateIdentity): boolean {
    let size = 16
    for (const label of identity.labels) size += 2 + 3 * label.length
    if (size > MAX_PAYLOAD) return false
    this.#begin(RECORD_IDENTITY)
    this.#u32(identity.number)
    this.#u16(identity.family)
    this.#u16(identity.labels.length)
    for (const label of identity.labels) this.#text(label)
    this.#end()
    return true
  }

  /** Starts a record of one name; `address` adds to it, `endLearned` closes it. */
  beginLearned(endpointId: number, name: Uint8Array, offset: number, length: number): void {
    this.#begin(RECORD_LEARNED)
    this.#u16(endpointId)
    this.#u16(length)
    this.#octets(name, offset, length)
  }

  address(bytes: Uint8Array, offset: number, until: number): void {
    this.#octets(bytes, offset, 16)
    this.#u32(until)
  }

  endLearned(): void {
    this.#end()
  }

  end(): void {
    this.#begin(RECORD_END)
    this.#u32(this.records)
    this.#end()
  }

  /** The octets so far; valid until the next record. */
  peek(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  take(): ArrayBuffer {
    const taken = this.#bytes.slice(0, this.#length).buffer
    this.#length = 0
    return taken
  }

  clear(): void {
    this.#length = 0
  }
}

export interface RecordSink {
  header(header: StateHeader): void
  endpoint(id: number, key: string): void
  identity(identity: StateIdentity): void
  /** One address of one name; the arrays are views into the file. */
  learned(endpointId: number, name: Uint8Array, addr16: Uint8Array, until: number): void
}

/** How reading a file ended. `valid`: octets of whole records. */
export interface ReadEnd {
  readonly valid: number
  readonly records: number
  /** An end record was met (a snapshot without one was cut off). */
  readonly complete: boolean
  /** Octets after the last whole record that are no record. */
  readonly torn: boolean
  /** Written before the machine was booted, by another version, or not a state file at all. */
  readonly foreign: boolean
}

/**
 * Reads records until the first bad one; never throws on any octets. Yields after every 256 records. Records before
 * a header of this boot are not handed out.
 */
export function* readRecords(file: Uint8Array, bootId: Uint8Array, sink: RecordSink): Generator<void, ReadEnd> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  const decoder = new TextDecoder()
  let at = 0
  let records = 0
  let complete = false
  let known = false
  let foreign = false
  const parse = (start: number, length: number): boolean => {
    const type = file[start] as number
    const end = start + length
    let p = start + 1
    const text = (): string | undefined => {
      if (p + 2 > end) return undefined
      const size = view.getUint16(p, true)
      p += 2
      if (p + size > end) return undefined
      p += size
      return decoder.decode(file.subarray(p - size, p))
    }
    if (type === RECORD_HEADER) {
      if (length !== 31 || view.getUint32(p, true) !== MAGIC) return false
      const id = file.subarray(p + 6, p + 6 + BOOT_ID_BYTES)
      known = view.getUint16(p + 4, true) === STATE_VERSION && bootId.every((byte, i) => byte === id[i])
      if (!known) foreign = true
      else {
        const localCursor = view.getUint32(p + 22, true)
        sink.header({ bootId: id, localCursor, clusterCursor: view.getUint32(p + 26, true) })
      }
      return true
    }
    if (!known) {
      foreign = true
      return true
    }
    if (type === RECORD_ENDPOINT) {
      if (length < 5) return false
      p += 2
      const key = text()
      if (key === undefined || p !== end) return false
      sink.endpoint(view.getUint16(start + 1, true), key)
      return true
    }
    if (type === RECORD_IDENTITY) {
      if (length < 9) return false
      const family = view.getUint16(p + 4, true)
      if (family !== 0 && family !== 4 && family !== 6) return false
      const labels: string[] = []
      const count = view.getUint16(p + 6, true)
      p += 8
      for (let i = 0; i < count; i++) {
        const label = text()
        if (label === undefined) return false
        labels.push(label)
      }
      if (p !== end || count === 0) return false
      sink.identity({ number: view.getUint32(start + 1, true), family, labels })
      return true
    }
    if (type === RECORD_LEARNED) {
      if (length < 6) return false
      const size = view.getUint16(p + 2, true)
      const name = p + 4
      p = name + size
      if (p > end || (end - p) % 20 !== 0 || !wellFormed(file, name, size)) return false
      const id = view.getUint16(start + 1, true)
      for (; p < end; p += 20) {
        sink.learned(id, file.subarray(name, name + size), file.subarray(p, p + 16), view.getInt32(p + 16, true))
      }
      return true
    }
    if (type === RECORD_END) complete = true
    return type === RECORD_END
  }
  while (at + FRAME < file.length) {
    const length = view.getUint32(at, true)
    if (length === 0 || length > MAX_PAYLOAD || at + FRAME + length > file.length) break
    if (crc32(file.subarray(at + FRAME, at + FRAME + length)) !== view.getUint32(at + 4, true)) break
    if (!parse(at + FRAME, length)) break
    at += FRAME + length
    if (++records % 256 === 0) yield
  }
  return { valid: at, records, complete, torn: at < file.length, foreign }
}

function wellFormed(bytes: Uint8Array, offset: number, length: number): boolean {
  if (length < 1 || length > 255) return false
  let at = offset
  const end = offset + length
  while (at < end) {
    const label = bytes[at] as number
    if (label === 0) return at + 1 === end
    if (label > 63) return false
    at += 1 + label
  }
  return false
}

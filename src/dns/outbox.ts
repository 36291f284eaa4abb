import {
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
  RX_DESTINATION,
  RX_DESTINATION_PORT,
  RX_FAMILY,
  RX_OFFSET,
  RX_SOURCE,
  RX_SOURCE_PORT,
} from '../native/binding.ts'
import * as C from './counters.ts'
import { OPTION_DNSSEC_OK, OPTION_HAD_OPT } from './inflight.ts'
import type { InFlight } from './inflight.ts'
import { HEADER_BYTES } from './message/constants.ts'
import type { QueryReader } from './message/query.ts'
import { writeId, writeReply } from './message/reply.ts'
import type { WorkerMemory } from './worker-memory.ts'

/** The batch that goes out after a turn: queries to servers, and replies from the address and port that were asked. */
export class Outbox {
  /** Records written in this turn. */
  count = 0

  readonly #memory: WorkerMemory
  readonly #inFlight: InFlight
  readonly #counters: C.Counters
  readonly #clock: Float64Array
  readonly #entry: Int32Array
  readonly #sequence: Uint32Array

  /** `clock` holds the time of the turn, ms: a double that is handed from call to call would be boxed each time. */
  constructor(memory: WorkerMemory, inFlight: InFlight, counters: C.Counters, clock: Float64Array) {
    this.#memory = memory
    this.#inFlight = inFlight
    this.#counters = counters
    this.#clock = clock
    this.#entry = new Int32Array(memory.maxOut).fill(-1)
    this.#sequence = new Uint32Array(memory.maxOut)
  }

  /** errno of a record of the batch before; 0 when the kernel took it. */
  errno(record: number): number {
    return this.#memory.out[record * OUT_WORDS + OUT_ERRNO]!
  }

  isReply(record: number): boolean {
    return this.#memory.out[record * OUT_WORDS + OUT_KIND] === OUT_REPLY
  }

  /** The entry whose query the record was, -1 when the entry has gone on since. */
  entryOf(record: number): number {
    const entry = this.#entry[record]!
    return entry >= 0 && this.#inFlight.sequence[entry] === this.#sequence[record] ? entry : -1
  }

  /** The client's own bytes to the server, with nothing but the id replaced. */
  ask(entry: number, start: number, length: number): void {
    const { buffer, out } = this.#memory
    writeId(buffer, start, this.#inFlight.upstreamId[entry]!)
    const at = this.count * OUT_WORDS
    out[at + OUT_KIND] = OUT_CONNECTED
    out[at + OUT_TAG] = this.#inFlight.tag[entry]!
    out[at + OUT_OFFSET] = start
    out[at + OUT_LENGTH] = length
    out[at + OUT_ERRNO] = 0
    this.#entry[this.count] = entry
    this.#sequence[this.count] = this.#inFlight.sequence[entry]!
    this.count++
  }

  /** The server's own bytes to the client, with nothing but the id put back. */
  pass(entry: number, start: number, length: number): void {
    const buffer = this.#memory.buffer
    writeId(buffer, start, this.#inFlight.clientId[entry]!)
    this.#replyTo(entry, start, length)
    this.#counters.add(C.C_REPLIES + C.rcodeClass(buffer[start + 3]! & 0x0f), 1)
  }

  /** A reply of our own to a query whose datagram is gone, made from what was kept of it. */
  own(entry: number, rcode: number, truncated: boolean, ede: number): void {
    const inFlight = this.#inFlight
    const buffer = this.#memory.buffer
    const start = this.#memory.replyAt + this.count * this.#memory.replyBytes
    const flags = inFlight.flags[entry]!
    const length = inFlight.questionLength[entry]!
    const from = inFlight.questionAt(entry)
    writeId(buffer, start, inFlight.clientId[entry]!)
    buffer[start + 2] = flags >> 8
    buffer[start + 3] = flags & 0xff
    for (let i = 0; i < length; i++) buffer[start + HEADER_BYTES + i] = inFlight.question[from + i]!
    const end = start + HEADER_BYTES + length
    const options = inFlight.options[entry]!
    const hadOpt = (options & OPTION_HAD_OPT) !== 0
    const dnssecOk = (options & OPTION_DNSSEC_OK) !== 0
    const size = writeReply(buffer, start, end, rcode, truncated, hadOpt, dnssecOk, ede)
    this.#replyTo(entry, start, size)
    this.#countOwn(rcode)
  }

  /** A reply of our own in place of the query in receive record `r`. */
  refuse(r: number, query: QueryReader, rcode: number, ede: number): void {
    const { buffer, rx } = this.#memory
    const start = rx[r + RX_OFFSET]!
    const size = writeReply(buffer, start, query.questionEnd, rcode, false, query.hasOpt, query.dnssecOk, ede)
    const clientPort = rx[r + RX_SOURCE_PORT]!
    const serverPort = rx[r + RX_DESTINATION_PORT]!
    this.#reply(start, size, rx[r + RX_FAMILY]!, rx, r + RX_SOURCE, clientPort, rx, r + RX_DESTINATION, serverPort)
    this.#countOwn(rcode)
  }

  #replyTo(entry: number, start: number, length: number): void {
    const { client, clientPort, server, serverPort, family, startMs } = this.#inFlight
    const at = entry * 4
    this.#reply(start, length, family[entry]!, client, at, clientPort[entry]!, server, at, serverPort[entry]!)
    this.#counters.observe(C.C_QUERY_SECONDS, C.QUERY_BUCKETS, C.microseconds(this.#clock[0]! - startMs[entry]!))
  }

  #reply(
    start: number,
    length: number,
    family: number,
    client: Uint32Array,
    clientAt: number,
    clientPort: number,
    server: Uint32Array,
    serverAt: number,
    serverPort: number,
  ): void {
    const at = this.count * OUT_WORDS
    const out = this.#memory.out
    out[at + OUT_KIND] = OUT_REPLY
    out[at + OUT_TAG] = family
    out[at + OUT_OFFSET] = start
    out[at + OUT_LENGTH] = length
    for (let i = 0; i < 4; i++) {
      out[at + OUT_DESTINATION + i] = client[clientAt + i]!
      out[at + OUT_SOURCE + i] = server[serverAt + i]!
    }
    out[at + OUT_DESTINATION_PORT] = clientPort
    out[at + OUT_SOURCE_PORT] = serverPort
    out[at + OUT_ERRNO] = 0
    this.count++
  }

  #countOwn(rcode: number): void {
    const at = C.rcodeClass(rcode)
    this.#counters.add(C.C_REPLIES + at, 1)
    this.#counters.add(C.C_OWN_REPLIES + at, 1)
  }
}

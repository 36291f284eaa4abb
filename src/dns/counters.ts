import { REASON_NAMES } from './message/reasons.ts'

/**
 * Counters of one dns thread: doubles in shared memory, written by that thread alone and read by main at scrape time.
 * A position is a base below plus an offset; every label has a closed set of values.
 */
export const TRANSPORTS = ['udp', 'tcp'] as const
export const TRANSPORT_UDP = 0
export const TRANSPORT_TCP = 1

export const FAMILIES = ['ipv4', 'ipv6'] as const

export const VERDICTS = ['allowed', 'name', 'server', 'endpoint'] as const
export const VERDICT_COUNT_ALLOWED = 0
/** No rule allows the name. */
export const VERDICT_COUNT_NAME = 1
/** No rule covers the server and port. */
export const VERDICT_COUNT_SERVER = 2
/** The source address belongs to no endpoint. */
export const VERDICT_COUNT_ENDPOINT = 3

export const RCODES = ['noerror', 'formerr', 'servfail', 'nxdomain', 'notimp', 'refused', 'other'] as const
export const rcodeClass = (rcode: number): number => (rcode <= 5 ? rcode : 6)

export const UPSTREAM_EVENTS = ['timeout', 'socket_error', 'send_error', 'open_error', 'retransmitted'] as const
export const UPSTREAM_TIMEOUT = 0
export const UPSTREAM_SOCKET_ERROR = 1
export const UPSTREAM_SEND_ERROR = 2
export const UPSTREAM_OPEN_ERROR = 3
export const UPSTREAM_RETRANSMITTED = 4

export const LEARN_PATHS = ['none', 'fast', 'slow'] as const
/** Nothing to learn in the answer. */
export const LEARN_NONE = 0
export const LEARN_FAST = 1
export const LEARN_SLOW = 2

export const LEARN_RESULTS = ['learned', 'refused', 'failed', 'timeout', 'late'] as const
export const LEARN_TIMEOUT = 3
/** A completion nobody waited for any more. */
export const LEARN_LATE = 4

export const OVERLOADS = ['in_flight', 'endpoint', 'servers', 'ids', 'pending', 'ledger', 'connections'] as const
export const OVERLOAD_IN_FLIGHT = 0
export const OVERLOAD_ENDPOINT = 1
export const OVERLOAD_SERVERS = 2
export const OVERLOAD_IDS = 3
export const OVERLOAD_PENDING = 4
export const OVERLOAD_LEDGER = 5
export const OVERLOAD_CONNECTIONS = 6

export const GAUGES = ['in_flight', 'pending', 'upstream_sockets', 'connections', 'generation', 'io_uring'] as const
export const GAUGE_IN_FLIGHT = 0
export const GAUGE_PENDING = 1
export const GAUGE_UPSTREAM_SOCKETS = 2
export const GAUGE_CONNECTIONS = 3
export const GAUGE_GENERATION = 4
/** 1 when the pump of the thread waits by io_uring. */
export const GAUGE_IO_URING = 5

export const SINGLES = ['duplicates', 'strayed', 'unlearnable', 'reply_send_errors', 'policy_changed'] as const
/** Retransmissions of a query in flight that were not forwarded again. */
export const SINGLE_DUPLICATES = 0
/** Address and CNAME records off the question's chain. */
export const SINGLE_STRAYED = 1
/** Addresses in answers that are no unicast destination. */
export const SINGLE_UNLEARNABLE = 2
export const SINGLE_REPLY_SEND_ERRORS = 3
/** Answers withheld because the policy changed while the query was in flight. */
export const SINGLE_POLICY_CHANGED = 4

export const CONNECTION_ENDS = ['client', 'idle', 'slow', 'stalled', 'queries', 'error', 'stop'] as const
export const CONNECTION_CLIENT = 0
export const CONNECTION_IDLE = 1
/** A message did not arrive whole in time. */
export const CONNECTION_SLOW = 2
/** The client does not read its answers. */
export const CONNECTION_STALLED = 3
export const CONNECTION_QUERIES = 4
export const CONNECTION_ERROR = 5
export const CONNECTION_STOP = 6

/** Microseconds: whole numbers are counted without making a double of each. */
export const QUERY_BUCKETS: readonly number[] = [
  250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
]
export const MAP_WAIT_BUCKETS: readonly number[] = [
  50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000,
]

let words = 0
function room(size: number): number {
  const base = words
  words += size
  return base
}

/** [transport][family] */
export const C_QUERIES = room(TRANSPORTS.length * FAMILIES.length)
/** [transport][verdict] */
export const C_VERDICTS = room(TRANSPORTS.length * VERDICTS.length)
/** [transport][rcode]: replies to clients, passed through or made here. */
export const C_REPLIES = room(TRANSPORTS.length * RCODES.length)
/** [transport][rcode]: replies made here. */
export const C_OWN_REPLIES = room(TRANSPORTS.length * RCODES.length)
/** [transport][reason] */
export const C_REJECTS = room(TRANSPORTS.length * REASON_NAMES.length)
export const C_UPSTREAM = room(TRANSPORTS.length * UPSTREAM_EVENTS.length)
export const C_LEARN_PATH = room(TRANSPORTS.length * LEARN_PATHS.length)
export const C_LEARN_RESULT = room(TRANSPORTS.length * LEARN_RESULTS.length)
export const C_OVERLOAD = room(TRANSPORTS.length * OVERLOADS.length)
export const C_GAUGES = room(GAUGES.length)
export const C_SINGLES = room(SINGLES.length)
export const C_CONNECTION_ENDS = room(CONNECTION_ENDS.length)
/** Counts a bucket, one for +Inf, then the sum in microseconds. */
export const C_QUERY_SECONDS = room(QUERY_BUCKETS.length + 2)
export const C_MAP_WAIT_SECONDS = room(MAP_WAIT_BUCKETS.length + 2)

/** Octets of shared memory one thread's counters take. */
export const COUNTERS_BYTES = words * 8

export class Counters {
  readonly values: Float64Array

  constructor(memory: ArrayBuffer | SharedArrayBuffer) {
    this.values = new Float64Array(memory)
  }

  add(at: number, by: number): void {
    this.values[at]! += by
  }

  set(at: number, value: number): void {
    this.values[at] = value
  }

  /** `microseconds` is whole; negative counts as 0. */
  observe(base: number, buckets: readonly number[], microseconds: number): void {
    let i = 0
    while (i < buckets.length && microseconds > buckets[i]!) i++
    this.values[base + i]! += 1
    if (microseconds > 0) this.values[base + buckets.length + 1]! += microseconds
  }
}

/** Whole microseconds of a time in ms, at most about 17 minutes. */
export const microseconds = (ms: number): number => (ms > 1e6 ? 1_000_000_000 : ms > 0 ? (ms * 1000) | 0 : 0)

/** Counters of the right size on shared memory. */
export const makeCounters = (): Counters => new Counters(new SharedArrayBuffer(COUNTERS_BYTES))

import type { MetricSample, MetricSource, MetricSpec } from '../core/metric.ts'
import * as C from './counters.ts'
import { REASON_NAMES } from './message/reasons.ts'

const transport = C.TRANSPORTS
const seconds = (microseconds: readonly number[]): number[] => microseconds.map((value) => value / 1e6)
/** `ok` is no reason to reject anything. */
const REASONS = REASON_NAMES.slice(1)

interface Table {
  readonly spec: MetricSpec
  readonly base: number
  readonly label: string
  readonly values: readonly string[]
}

/** Counters with one label beside the transport, [transport][value] from `base` on. */
function table(name: string, help: string, base: number, label: string, values: readonly string[]): Table {
  return { spec: { name, help, type: 'counter', labels: { transport, [label]: values } }, base, label, values }
}

const TABLES: readonly Table[] = [
  table('sekisho_dns_queries_total', 'Queries received.', C.C_QUERIES, 'family', C.FAMILIES),
  table(
    'sekisho_dns_verdicts_total',
    'Queries judged: allowed, or denied because of the name, the server or the endpoint.',
    C.C_VERDICTS,
    'verdict',
    C.VERDICTS,
  ),
  table(
    'sekisho_dns_upstream_events_total',
    'What went wrong, or was tried again, on the way to a server.',
    C.C_UPSTREAM,
    'event',
    C.UPSTREAM_EVENTS,
  ),
  table(
    'sekisho_dns_learned_answers_total',
    'Answers by how their addresses came into the identity map: none to learn, standing there already, written.',
    C.C_LEARN_PATH,
    'path',
    C.LEARN_PATHS,
  ),
  table(
    'sekisho_dns_map_results_total',
    'Answers that waited for the identity map, by result.',
    C.C_LEARN_RESULT,
    'result',
    C.LEARN_RESULTS,
  ),
  table(
    'sekisho_dns_overloads_total',
    'Queries answered SERVFAIL, or connections refused, because a limit was reached.',
    C.C_OVERLOAD,
    'limit',
    C.OVERLOADS,
  ),
]

const REJECTS = 'sekisho_dns_rejects_total'
const REPLIES = 'sekisho_dns_replies_total'
const ENDS = 'sekisho_dns_connections_ended_total'
const ORIGINS = ['server', 'gate'] as const

const SINGLES: readonly (readonly [string, string])[] = [
  ['sekisho_dns_duplicate_queries_total', 'Retransmissions of a query in flight that were not forwarded again.'],
  [
    'sekisho_dns_strayed_records_total',
    'Address and CNAME records of answers that are not on the chain of the name asked for.',
  ],
  [
    'sekisho_dns_unlearnable_addresses_total',
    'Addresses in answers that are no unicast destination; passed on, not learned.',
  ],
  ['sekisho_dns_reply_send_errors_total', 'Replies the kernel refused to send.'],
  ['sekisho_dns_policy_changed_total', 'Answers withheld because the policy changed while the query was in flight.'],
]

const GAUGES: readonly (readonly [string, string])[] = [
  ['sekisho_dns_in_flight_queries', 'Queries that are not answered yet.'],
  ['sekisho_dns_pending_answers', 'Answers that wait for the identity map.'],
  ['sekisho_dns_upstream_sockets', 'UDP sockets open towards servers.'],
  ['sekisho_dns_tcp_connections', 'TCP connections of clients.'],
  ['sekisho_dns_policy_generation', 'Policy generation in use; the oldest of all threads.'],
  ['sekisho_dns_io_uring_workers', 'UDP workers that wait by io_uring; the others wait by epoll.'],
]

const QUERY_SECONDS = 'sekisho_dns_query_seconds'
const MAP_WAIT_SECONDS = 'sekisho_dns_map_wait_seconds'

export const dnsSpecs: readonly MetricSpec[] = [
  ...TABLES.map(({ spec }) => spec),
  {
    name: REPLIES,
    help: 'Replies to clients by rcode: the server’s own, or made by the gate.',
    type: 'counter',
    labels: { transport, rcode: C.RCODES, origin: ORIGINS },
  },
  {
    name: REJECTS,
    help: 'Datagrams and messages that were not what they should be, by reason.',
    type: 'counter',
    labels: { transport, reason: REASONS },
  },
  {
    name: ENDS,
    help: 'TCP connections of clients that ended, by reason.',
    type: 'counter',
    labels: { reason: C.CONNECTION_ENDS },
  },
  ...SINGLES.map(([name, help]) => ({ name, help, type: 'counter' as const })),
  ...GAUGES.map(([name, help]) => ({ name, help, type: 'gauge' as const })),
  {
    name: QUERY_SECONDS,
    help: 'From a query that was forwarded to its reply.',
    type: 'histogram',
    buckets: seconds(C.QUERY_BUCKETS),
  },
  {
    name: MAP_WAIT_SECONDS,
    help: 'How long an answer with new addresses waited for the identity map.',
    type: 'histogram',
    buckets: seconds(C.MAP_WAIT_BUCKETS),
  },
]

/** The metrics of all dns threads together; `memory` are their counters. */
export function createDnsMetrics(memory: readonly SharedArrayBuffer[]): MetricSource {
  const threads = memory.map((buffer) => new Float64Array(buffer))
  const sum = (at: number): number => threads.reduce((total, values) => total + (values[at] ?? 0), 0)
  const oldest = (at: number): number => threads.reduce((least, values) => Math.min(least, values[at] ?? 0), Infinity)

  function histogram(name: string, base: number, buckets: readonly number[]): MetricSample {
    const counts = Array.from({ length: buckets.length + 1 }, (_, i) => sum(base + i))
    return { name, counts, sum: sum(base + buckets.length + 1) / 1e6 }
  }

  return {
    specs: dnsSpecs,
    *collect() {
      for (const [t, name] of C.TRANSPORTS.entries()) {
        for (const { spec, base, label, values } of TABLES) {
          for (const [i, value] of values.entries()) {
            yield {
              name: spec.name,
              labels: { transport: name, [label]: value },
              value: sum(base + t * values.length + i),
            }
          }
        }
        for (const [i, rcode] of C.RCODES.entries()) {
          const gate = sum(C.C_OWN_REPLIES + t * C.RCODES.length + i)
          const all = sum(C.C_REPLIES + t * C.RCODES.length + i)
          yield { name: REPLIES, labels: { transport: name, rcode, origin: 'gate' }, value: gate }
          yield { name: REPLIES, labels: { transport: name, rcode, origin: 'server' }, value: Math.max(0, all - gate) }
        }
        for (const [i, reason] of REASONS.entries()) {
          const at = C.C_REJECTS + t * REASON_NAMES.length + i + 1
          yield { name: REJECTS, labels: { transport: name, reason }, value: sum(at) }
        }
      }
      for (const [i, reason] of C.CONNECTION_ENDS.entries()) {
        yield { name: ENDS, labels: { reason }, value: sum(C.C_CONNECTION_ENDS + i) }
      }
      for (const [i, [name]] of SINGLES.entries()) yield { name, value: sum(C.C_SINGLES + i) }
      for (const [i, [name]] of GAUGES.entries()) {
        const at = C.C_GAUGES + i
        yield { name, value: i === C.GAUGE_GENERATION ? (threads.length === 0 ? 0 : oldest(at)) : sum(at) }
      }
      yield histogram(QUERY_SECONDS, C.C_QUERY_SECONDS, C.QUERY_BUCKETS)
      yield histogram(MAP_WAIT_SECONDS, C.C_MAP_WAIT_SECONDS, C.MAP_WAIT_BUCKETS)
    },
  }
}

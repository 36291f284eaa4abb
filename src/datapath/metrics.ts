import type { MetricSample, MetricSource, MetricSpec } from '../core/metric.ts'
import type { Datapath } from './ports.ts'
import { DROP_REASON_NAMES, dropReason } from './reasons.ts'

const DIRECTIONS = ['ingress', 'egress'] as const

export const datapathMetricSpecs: readonly MetricSpec[] = [
  {
    name: 'sekisho_datapath_forwarded_packets_total',
    help: 'Packets of endpoints that the programs let through or handed to the agent.',
    type: 'counter',
    labels: { direction: DIRECTIONS },
  },
  {
    name: 'sekisho_datapath_forwarded_bytes_total',
    help: 'Octets of the frames that the programs let through or handed to the agent.',
    type: 'counter',
    labels: { direction: DIRECTIONS },
  },
  {
    name: 'sekisho_datapath_drops_total',
    help: 'Packets of endpoints that the programs dropped, by reason.',
    type: 'counter',
    labels: { reason: DROP_REASON_NAMES, direction: DIRECTIONS },
  },
  {
    name: 'sekisho_datapath_events_suppressed_total',
    help: 'Drops that were counted and not reported as events, because of datapath.eventsPerSecond.',
    type: 'counter',
  },
  {
    name: 'sekisho_datapath_endpoints',
    help: 'Endpoints by the state of their interface.',
    type: 'gauge',
    labels: { state: ['attached', 'missing', 'detached'] },
  },
]

const directionOf = (direction: number): 'ingress' | 'egress' => (direction === 1 ? 'ingress' : 'egress')

/** The datapath's metrics; none before it is started. `datapath` must be started when `collect` is called. */
export function datapathMetrics(datapath: Pick<Datapath, 'counters' | 'states'>): MetricSource {
  return {
    specs: datapathMetricSpecs,
    *collect(): Iterable<MetricSample> {
      const { reasons, suppressedEvents } = datapath.counters()
      const drops = new Map<string, number>()
      for (const { reason, direction, packets, bytes } of reasons) {
        if (reason === 0) {
          const labels = { direction: directionOf(direction) }
          yield { name: 'sekisho_datapath_forwarded_packets_total', labels, value: packets }
          yield { name: 'sekisho_datapath_forwarded_bytes_total', labels, value: bytes }
          continue
        }
        const key = `${dropReason(reason)} ${directionOf(direction)}`
        drops.set(key, (drops.get(key) ?? 0) + packets)
      }
      for (const [key, value] of drops) {
        const [reason = 'other', direction = 'egress'] = key.split(' ')
        yield { name: 'sekisho_datapath_drops_total', labels: { reason, direction }, value }
      }
      yield { name: 'sekisho_datapath_events_suppressed_total', value: suppressedEvents }
      const states = { attached: 0, missing: 0, detached: 0 }
      for (const { attached, ifindex } of datapath.states()) {
        states[attached ? 'attached' : ifindex === undefined ? 'missing' : 'detached'] += 1
      }
      for (const [state, value] of Object.entries(states)) {
        yield { name: 'sekisho_datapath_endpoints', labels: { state }, value }
      }
    },
  }
}

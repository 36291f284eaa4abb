import type { MetricSample, MetricSource, MetricSpec } from '../core/metric.ts'

export const POLICY_METRICS: readonly MetricSpec[] = [
  {
    name: 'sekisho_policy_compilations_total',
    help: 'Policy changes read: in force, or refused for an error and the old policy kept.',
    type: 'counter',
    labels: { result: ['ok', 'refused'] },
  },
  {
    name: 'sekisho_policy_compile_seconds',
    help: 'Time to turn policy files and endpoints into a snapshot.',
    type: 'histogram',
    buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10],
  },
  { name: 'sekisho_policy_snapshot_bytes', help: 'Size of the snapshot in force.', type: 'gauge' },
  { name: 'sekisho_policy_selectors', help: 'Distinct toFQDNs selectors in force.', type: 'gauge' },
  {
    name: 'sekisho_policy_shapes',
    help: 'Distinct policies in force; endpoints with equal rules share one.',
    type: 'gauge',
  },
]

/** Counts what the compiler thread reports; lives on the main thread. */
export class PolicyMetrics implements MetricSource {
  readonly specs = POLICY_METRICS
  readonly #buckets = POLICY_METRICS[1]?.buckets ?? []
  readonly #counts = new Array<number>(this.#buckets.length + 1).fill(0)
  #sum = 0
  #ok = 0
  #refused = 0
  #inForce = { byteLength: 0, selectorCount: 0, shapeCount: 0 }

  /** A snapshot was made; `seconds` from reading to compiled. */
  compiled(snapshot: { byteLength: number; selectorCount: number; shapeCount: number }, seconds: number): void {
    const { byteLength, selectorCount, shapeCount } = snapshot
    this.#inForce = { byteLength, selectorCount, shapeCount }
    this.#ok++
    const bucket = this.#buckets.findIndex((bound) => seconds <= bound)
    const at = bucket < 0 ? this.#buckets.length : bucket
    this.#counts[at] = (this.#counts[at] ?? 0) + 1
    this.#sum += seconds
  }

  /** A change had an error; the old policy stays. */
  refused(): void {
    this.#refused++
  }

  collect(): MetricSample[] {
    return [
      { name: 'sekisho_policy_compilations_total', labels: { result: 'ok' }, value: this.#ok },
      { name: 'sekisho_policy_compilations_total', labels: { result: 'refused' }, value: this.#refused },
      { name: 'sekisho_policy_compile_seconds', counts: [...this.#counts], sum: this.#sum },
      { name: 'sekisho_policy_snapshot_bytes', value: this.#inForce.byteLength },
      { name: 'sekisho_policy_selectors', value: this.#inForce.selectorCount },
      { name: 'sekisho_policy_shapes', value: this.#inForce.shapeCount },
    ]
  }
}

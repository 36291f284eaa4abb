import type { MetricSample, MetricSpec } from '../core/metric.ts'
import { combinations, labelsOf } from './declaration.ts'

/** One line of the exposition, in the form prom-client's registry prints. */
export interface Point {
  readonly metricName?: string
  readonly labels: Readonly<Record<string, string | number>>
  readonly value: number
}

/** The samples of one metric in one scrape. Counters and histograms of one label set add up (one part a thread). */
export class Series {
  readonly spec: MetricSpec
  readonly #samples = new Map<string, MetricSample>()

  constructor(spec: MetricSpec) {
    this.spec = spec
  }

  /** False when a gauge has been given twice. */
  add(sample: MetricSample): boolean {
    const key = keyOf(this.spec, sample.labels ?? {})
    const before = this.#samples.get(key)
    if (before !== undefined && this.spec.type === 'gauge') return false
    this.#samples.set(key, before === undefined ? sample : sum(before, sample))
    return true
  }

  /** Counters and histograms of label sets without a sample are 0, so that a rate exists from the first event on. */
  points(): Point[] {
    if (this.spec.open !== undefined) {
      return [...this.#samples.values()].map(({ labels = {}, value = 0 }) => ({ labels, value }))
    }
    if (this.spec.sparse === true && this.#samples.size === 0) return []
    return combinations(this.spec).flatMap((labels) => {
      const sample = this.#samples.get(keyOf(this.spec, labels))
      if (this.spec.type === 'histogram') return histogram(this.spec, labels, sample)
      if (sample === undefined && this.spec.type === 'gauge') return []
      return [{ labels, value: sample?.value ?? 0 }]
    })
  }
}

const keyOf = (spec: MetricSpec, labels: Readonly<Record<string, string>>): string =>
  labelsOf(spec)
    .map((label) => labels[label])
    .join('\0')

const sum = (a: MetricSample, b: MetricSample): MetricSample => ({
  ...a,
  value: (a.value ?? 0) + (b.value ?? 0),
  counts: (a.counts ?? []).map((count, i) => count + (b.counts?.[i] ?? 0)),
  sum: (a.sum ?? 0) + (b.sum ?? 0),
})

function histogram(spec: MetricSpec, labels: Record<string, string>, sample: MetricSample | undefined): Point[] {
  let total = 0
  const bounds = [...(spec.buckets ?? []), '+Inf']
  const buckets = bounds.map((le, i) => {
    total += sample?.counts?.[i] ?? 0
    return { metricName: `${spec.name}_bucket`, labels: { ...labels, le }, value: total }
  })
  return [
    ...buckets,
    { metricName: `${spec.name}_sum`, labels, value: sample?.sum ?? 0 },
    { metricName: `${spec.name}_count`, labels, value: total },
  ]
}

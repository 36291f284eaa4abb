/**
 * How a room declares what it measures. Names are `sekisho_<room>_<noun>`, then the base unit where there is one (`_seconds`,
 * `_bytes`), then `_total` for a counter; a gauge without a unit is named for what it counts, or for the state that it shows. Every
 * label takes its values from a closed list, so the number of series is known before the first query.
 */
export interface MetricSpec {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  /** Label name -> every value it can take. */
  readonly labels?: Readonly<Record<string, readonly string[]>>
  /**
   * Label name -> the most values it may take. For gauges behind a setting whose reader wants names (of nodes) and knows how
   * many there can be; whoever declares it keeps to the number.
   */
  readonly open?: Readonly<Record<string, number>>
  /** For what exists on some nodes only: without a sample there is no series of this metric at all, not even 0. */
  readonly sparse?: true
  /** Upper bounds of a histogram's buckets, ascending, without +Inf. */
  readonly buckets?: readonly number[]
}

export interface MetricSample {
  readonly name: string
  readonly labels?: Readonly<Record<string, string>>
  /** Counter or gauge. */
  readonly value?: number
  /** Histogram: one count a bucket and the last for +Inf (not cumulative), and the sum of observations. */
  readonly counts?: readonly number[]
  readonly sum?: number
}

/** A room's metrics: what exists, and the values at this moment (called at scrape time on the main thread). */
export interface MetricSource {
  readonly specs: readonly MetricSpec[]
  collect(): Iterable<MetricSample>
}

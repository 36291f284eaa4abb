import { SekishoError } from '../core/errors.ts'
import type { MetricSample, MetricSpec } from '../core/metric.ts'

const NAME = /^sekisho(_[a-z0-9]+){2,}$/
const UNITS = /_(seconds|bytes|ratio)$/
/** Base units (Prometheus, "Metric and label naming") stand at the end, before `_total`; others stand nowhere. */
const UNIT_INSIDE = /_(seconds|bytes|ratio)_(?!total$)/
const OTHER_UNITS =
  /_(ns|us|ms|s|sec|secs|milliseconds|microseconds|nanoseconds|minutes|hours|days|b|kb|mb|gb|kib|mib|gib|kilobytes|megabytes|octets|bits|percent)(_|$)/
/** Of the series of histograms and of OpenMetrics' own; a gauge of such a name reads as a part of another metric. */
const RESERVED = /_(count|sum|bucket|created)$/
const TYPES = /_(counter|gauge|histogram|summary|untyped)(_|$)/
/** More than this for one metric is an open label set in disguise. */
const MAX_SERIES = 2000

/** What is wrong with a declaration, or undefined. */
export function faultOf(spec: MetricSpec): string | undefined {
  if (!NAME.test(spec.name)) return 'the name must be sekisho_<room>_<noun>'
  if ((spec.type === 'counter') !== spec.name.endsWith('_total'))
    return 'a counter ends in _total, and nothing else does'
  if (spec.type === 'histogram' && !UNITS.test(spec.name)) return 'a histogram ends in its base unit'
  if (RESERVED.test(spec.name)) return 'the name ends as a series of another metric would'
  if (TYPES.test(spec.name)) return 'the name does not say the type'
  if (UNIT_INSIDE.test(spec.name) || OTHER_UNITS.test(spec.name)) return 'units are base units, at the end of the name'
  if (spec.help.trim() === '' || spec.help.includes('\n')) return 'help must be one line'
  if (spec.type === 'histogram' && !ascending(spec.buckets ?? [])) return 'buckets must be given, ascending'
  if (spec.type !== 'histogram' && spec.buckets !== undefined) return 'only a histogram has buckets'
  for (const [label, values] of Object.entries(spec.labels ?? {})) {
    if (!/^[a-z][a-z0-9_]*$/.test(label) || label === 'le') return `"${label}" is no label name`
    if (values.length === 0 || new Set(values).size !== values.length) return `values of ${label} must be distinct`
  }
  for (const [label, most] of Object.entries(spec.open ?? {})) {
    if (spec.type !== 'gauge') return 'only a gauge has open labels'
    if (!/^[a-z][a-z0-9_]*$/.test(label) || label in (spec.labels ?? {})) return `"${label}" is no open label`
    if (!Number.isInteger(most) || most < 1) return `${label} needs the most values it can take`
  }
  return seriesOf(spec) > MAX_SERIES ? `more than ${MAX_SERIES} series` : undefined
}

/**
 * Names that two metrics share. In OpenMetrics a counter is named without its `_total`, and a histogram owns the names of its series, so
 * `x_total` and a gauge `x` are one family of two types, and the scrape is refused.
 */
export function collisions(specs: readonly MetricSpec[]): string[] {
  const owned = specs.flatMap((spec): string[] => {
    const family = spec.name.replace(/_total$/, '')
    if (spec.type === 'counter') return [family, `${family}_total`, `${family}_created`]
    if (spec.type === 'gauge') return [family]
    return [family, `${family}_bucket`, `${family}_count`, `${family}_sum`, `${family}_created`]
  })
  return [...new Set(owned.filter((name, i) => owned.indexOf(name) !== i))]
}

/** Throws SEKISHO_METRICS_DECLARATION. */
export function checkDeclaration(spec: MetricSpec): void {
  const fault = faultOf(spec)
  if (fault !== undefined) throw new SekishoError('SEKISHO_METRICS_DECLARATION', `${spec.name}: ${fault}`)
}

/** How many label combinations a metric has, at the most. */
export const seriesOf = (spec: MetricSpec): number =>
  [...Object.values(spec.labels ?? {}).map(({ length }) => length), ...Object.values(spec.open ?? {})].reduce(
    (product, count) => product * count,
    1,
  )

/** Names of all labels, in the order of declaration. */
export const labelsOf = (spec: MetricSpec): string[] => [
  ...Object.keys(spec.labels ?? {}),
  ...Object.keys(spec.open ?? {}),
]

/** Every label combination, in the order of declaration. */
export function combinations(spec: MetricSpec): Record<string, string>[] {
  let out: Record<string, string>[] = [{}]
  for (const [label, values] of Object.entries(spec.labels ?? {})) {
    out = out.flatMap((labels) => values.map((value) => ({ ...labels, [label]: value })))
  }
  return out
}

/** True when the sample has exactly the declared labels, each with a declared value, and a value of the right form. */
export function fits(spec: MetricSpec, sample: MetricSample): boolean {
  const declared = Object.entries(spec.labels ?? {})
  const given = sample.labels ?? {}
  const open = Object.keys(spec.open ?? {})
  if (Object.keys(given).length !== declared.length + open.length) return false
  if (!open.every((label) => given[label] !== undefined && given[label] !== '')) return false
  if (!declared.every(([label, values]) => values.includes(given[label] ?? ''))) return false
  if (spec.type === 'histogram') {
    const counts = sample.counts ?? []
    return counts.length === (spec.buckets?.length ?? 0) + 1 && counts.every(isCount) && Number.isFinite(sample.sum)
  }
  return spec.type === 'counter' ? isCount(sample.value) : sample.value !== undefined && !Number.isNaN(sample.value)
}

const isCount = (value: number | undefined): boolean => value !== undefined && Number.isFinite(value) && value >= 0

function ascending(bounds: readonly number[]): boolean {
  return bounds.length > 0 && bounds.every((bound, i) => Number.isFinite(bound) && bound > (bounds[i - 1] ?? -Infinity))
}

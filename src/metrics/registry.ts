import { Registry, type Metric } from 'prom-client'
import { SekishoError } from '../core/errors.ts'
import type { MetricSample, MetricSource, MetricSpec } from '../core/metric.ts'
import { checkDeclaration, fits } from './declaration.ts'
import { buildSource, REJECTIONS, registrySpecs, type Rejection } from './own.ts'
import { addProcessMetrics } from './process.ts'
import { Series } from './series.ts'

export interface Metrics {
  /** For the Content-Type header. */
  readonly contentType: string
  /** Everything declared so far, in order. */
  readonly specs: readonly MetricSpec[]
  /** Adds a room. Throws SEKISHO_METRICS_DECLARATION on a bad or double name, and then adds nothing. */
  add(source: MetricSource): void
  /** The exposition. Asks every source once; a source that fails costs its own metrics only. */
  render(): Promise<string>
}

export interface MetricsOptions {
  /** Also the process_* and nodejs_* metrics of this thread and process (memory, descriptors, event loop lag, GC). */
  readonly process: boolean
}

/** One registry over the rooms' sources: totals are theirs, this only asks, checks and prints. */
export function createMetrics(options: MetricsOptions): Metrics {
  const registry = new Registry()
  const sources: MetricSource[] = []
  const specs = new Map<string, MetricSpec>()
  const rejected = new Map<Rejection, number>(REJECTIONS.map((reason) => [reason, 0]))
  let scrape = new Map<string, Series>()

  const reject = (reason: Rejection): void => {
    rejected.set(reason, (rejected.get(reason) ?? 0) + 1)
  }

  function take(source: MetricSource, sample: MetricSample, into: Map<string, Series>): void {
    const spec = source.specs.find(({ name }) => name === sample.name)
    const series = spec === undefined ? undefined : into.get(spec.name)
    if (spec === undefined || series === undefined) reject('undeclared')
    else if (!fits(spec, sample)) reject('mismatch')
    else if (!series.add(sample)) reject('duplicate')
  }

  function collect(): Map<string, Series> {
    const into = new Map([...specs.values()].map((spec) => [spec.name, new Series(spec)]))
    // The registry's own source comes last, so that it tells of this scrape.
    for (const source of sources.toReversed()) {
      try {
        for (const sample of source.collect()) take(source, sample, into)
      } catch {
        reject('failed')
      }
    }
    return into
  }

  const metrics: Metrics = {
    contentType: registry.contentType,
    get specs() {
      return [...specs.values()]
    },
    add(source) {
      const names = new Set<string>()
      for (const spec of source.specs) {
        checkDeclaration(spec)
        if (specs.has(spec.name) || names.has(spec.name)) {
          throw new SekishoError('SEKISHO_METRICS_DECLARATION', `${spec.name} is declared twice`)
        }
        names.add(spec.name)
      }
      sources.push(source)
      for (const spec of source.specs) {
        specs.set(spec.name, spec)
        registry.registerMetric(asMetric(spec, () => scrape.get(spec.name)))
      }
    },
    render() {
      // The registry asks every metric before its first await, so one scrape never prints another's samples.
      scrape = collect()
      return registry.metrics().then(withoutNaN)
    },
  }

  metrics.add({
    specs: registrySpecs,
    *collect() {
      for (const [reason, value] of rejected) {
        yield { name: 'sekisho_metrics_rejected_samples_total', labels: { reason }, value }
      }
    },
  })
  metrics.add(buildSource)
  if (options.process) addProcessMetrics(registry)
  return metrics
}

/** A lag over no time at all is not a number; a sample that is none is left out. */
const withoutNaN = (text: string): string => text.replaceAll(/^[^#\n]+ nan\n/gim, '')

/** What prom-client's registry asks of a metric: `name` and `get()`. Its own classes add up events, and we have totals. */
function asMetric(spec: MetricSpec, series: () => Series | undefined): Metric {
  const { name, help, type } = spec
  const get = (): object => ({ name, help, type, aggregator: 'sum', values: series()?.points() ?? [] })
  return { name, help, type, aggregator: 'sum', get, reset() {} } as unknown as Metric
}

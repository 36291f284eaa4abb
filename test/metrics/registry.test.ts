import { expect, test } from 'vitest'
import type { MetricSample, MetricSource, MetricSpec } from '../../src/core/metric.ts'
import { collisions } from '../../src/metrics/declaration.ts'
import { createMetrics } from '../../src/metrics/registry.ts'

const counter: MetricSpec = {
  name: 'sekisho_dns_queries_total',
  help: 'Queries.',
  type: 'counter',
  labels: { verdict: ['allowed', 'denied'], family: ['4', '6'] },
}
const gauge: MetricSpec = { name: 'sekisho_fqdn_entries', help: 'Entries.', type: 'gauge' }
const histogram: MetricSpec = {
  name: 'sekisho_dns_wait_seconds',
  help: 'Wait.',
  type: 'histogram',
  buckets: [0.001, 0.1],
}

const source = (specs: readonly MetricSpec[], ...samples: MetricSample[]): MetricSource => ({
  specs,
  collect: () => samples,
})

async function scrape(...sources: MetricSource[]): Promise<string> {
  const metrics = createMetrics({ process: false })
  for (const each of sources) metrics.add(each)
  return metrics.render()
}

test('a counter shows totals, and 0 for label values nobody has counted yet', async () => {
  const text = await scrape(
    source([counter], { name: counter.name, labels: { verdict: 'denied', family: '6' }, value: 41 }),
  )
  expect(text).toContain('# TYPE sekisho_dns_queries_total counter')
  expect(text).toContain('sekisho_dns_queries_total{verdict="denied",family="6"} 41')
  expect(text).toContain('sekisho_dns_queries_total{verdict="allowed",family="4"} 0')
})

test('what exists on some nodes only has no series where nothing is told of it', async () => {
  const sparse: MetricSpec = { ...counter, sparse: true }
  expect(await scrape(source([sparse]))).not.toContain('sekisho_dns_queries_total{')
  const some = await scrape(
    source([sparse], { name: counter.name, labels: { verdict: 'denied', family: '6' }, value: 0 }),
  )
  expect(some).toContain('sekisho_dns_queries_total{verdict="allowed",family="4"} 0')
})

test('threads that report the same counter are added up', async () => {
  const sample = { name: counter.name, labels: { verdict: 'denied', family: '4' }, value: 2 }
  expect(await scrape(source([counter], sample, { ...sample, value: 5 }))).toContain('{verdict="denied",family="4"} 7')
})

test('a total asked twice is shown twice, not added', async () => {
  let value = 3
  const metrics = createMetrics({ process: false })
  const spec: MetricSpec = { name: 'sekisho_dns_turns_total', help: 'Turns.', type: 'counter' }
  metrics.add({ specs: [spec], collect: () => [{ name: spec.name, value }] })
  expect(await metrics.render()).toContain('sekisho_dns_turns_total 3')
  value = 4
  expect(await metrics.render()).toContain('sekisho_dns_turns_total 4')
})

test('histogram buckets are cumulative and end in +Inf', async () => {
  const text = await scrape(source([histogram], { name: histogram.name, counts: [5, 3, 2], sum: 1.5 }))
  expect(text).toContain('sekisho_dns_wait_seconds_bucket{le="0.001"} 5')
  expect(text).toContain('sekisho_dns_wait_seconds_bucket{le="0.1"} 8')
  expect(text).toContain('sekisho_dns_wait_seconds_bucket{le="+Inf"} 10')
  expect(text).toContain('sekisho_dns_wait_seconds_sum 1.5')
  expect(text).toContain('sekisho_dns_wait_seconds_count 10')
})

test('a gauge without a sample is absent', async () => {
  expect(await scrape(source([gauge]))).not.toMatch(/^sekisho_fqdn_entries /m)
})

test.each([
  ['undeclared', { name: 'sekisho_fqdn_other', value: 1 }],
  ['mismatch', { name: counter.name, labels: { verdict: 'evil.example', family: '4' }, value: 1 }],
  ['mismatch', { name: counter.name, labels: { verdict: 'denied' }, value: 1 }],
  ['mismatch', { name: counter.name, labels: { verdict: 'denied', family: '4', more: 'x' }, value: 1 }],
  ['mismatch', { name: counter.name, labels: { verdict: 'denied', family: '4' }, value: -1 }],
  ['mismatch', { name: histogram.name, counts: [1], sum: 1 }],
  ['mismatch', { name: gauge.name }],
  ['mismatch', { name: gauge.name, value: NaN }],
])('a sample that does not fit is left out and counted as %s', async (reason, sample) => {
  const text = await scrape(source([counter, gauge, histogram], sample))
  expect(text).toContain(`sekisho_metrics_rejected_samples_total{reason="${reason}"} 1`)
  expect(text).not.toContain('evil.example')
})

test('two values of one gauge are one too many', async () => {
  const text = await scrape(source([gauge], { name: gauge.name, value: 1 }, { name: gauge.name, value: 2 }))
  expect(text).toMatch(/^sekisho_fqdn_entries 1$/m)
  expect(text).toContain('{reason="duplicate"} 1')
})

const open: MetricSpec = {
  ...gauge,
  name: 'sekisho_wg_peer_age_seconds',
  labels: { slot: ['0', '1'] },
  open: { peer: 900 },
}

test('an open label takes any value, and only what is told is shown', async () => {
  const sample = (peer: string, value: number): MetricSample => ({
    name: open.name,
    labels: { slot: '0', peer },
    value,
  })
  const text = await scrape(source([open], sample('n2', 3), sample('n"3', 4)))
  expect(text).toContain('sekisho_wg_peer_age_seconds{slot="0",peer="n2"} 3')
  expect(text).toContain('sekisho_wg_peer_age_seconds{slot="0",peer="n\\"3"} 4')
  expect(text).not.toContain('slot="1"')
})

test.each([
  ['mismatch', { name: open.name, labels: { slot: '0' }, value: 1 }],
  ['mismatch', { name: open.name, labels: { slot: '0', peer: '' }, value: 1 }],
  ['mismatch', { name: open.name, labels: { slot: '2', peer: 'n2' }, value: 1 }],
])('a sample that does not fit open labels is %s: %j', async (reason, sample) => {
  expect(await scrape(source([open], sample))).toContain(`sekisho_metrics_rejected_samples_total{reason="${reason}"} 1`)
})

test('a source that throws costs its own metrics only', async () => {
  const broken: MetricSource = {
    specs: [gauge],
    collect() {
      throw new Error('gone')
    },
  }
  const text = await scrape(broken, source([histogram], { name: histogram.name, counts: [1, 0, 0], sum: 0 }))
  expect(text).toContain('{reason="failed"} 1')
  expect(text).toContain('sekisho_dns_wait_seconds_count 1')
})

test.each<[string, MetricSpec]>([
  ['no prefix', { ...gauge, name: 'fqdn_entries' }],
  ['no noun', { ...gauge, name: 'sekisho_fqdn' }],
  ['a counter without _total', { ...counter, name: 'sekisho_dns_queries' }],
  ['a gauge with _total', { ...gauge, name: 'sekisho_dns_x_total' }],
  ['a gauge with _count', { ...gauge, name: 'sekisho_fqdn_names_count' }],
  ['a gauge with _sum', { ...gauge, name: 'sekisho_fqdn_names_sum' }],
  ['a unit that is no base unit', { ...gauge, name: 'sekisho_dns_wait_ms' }],
  ['a unit before the noun', { ...gauge, name: 'sekisho_dns_seconds_waited' }],
  ['its type in the name', { ...gauge, name: 'sekisho_dns_wait_gauge' }],
  ['a histogram without unit', { ...histogram, name: 'sekisho_dns_wait' }],
  ['a histogram without buckets', { name: histogram.name, help: 'x', type: 'histogram' }],
  ['falling buckets', { ...histogram, buckets: [2, 1] }],
  ['no help', { ...gauge, help: ' ' }],
  ['an open label', { ...counter, labels: { name: [] } }],
  ['too many series', { ...counter, labels: { a: numbers(50), b: numbers(50) } }],
  ['an open label of a counter', { ...counter, open: { peer: 5 } }],
  ['an open label that is closed too', { ...open, open: { slot: 5 } }],
  ['an open label of too many', { ...open, open: { peer: 1001 } }],
  ['an open label without end', { ...open, open: { peer: Infinity } }],
])('a declaration with %s is refused', (_what, spec) => {
  expect(() => createMetrics({ process: false }).add(source([spec]))).toThrow(
    expect.objectContaining({ code: 'SEKISHO_METRICS_DECLARATION' }),
  )
})

test.each<[string, readonly MetricSpec[], readonly string[]]>([
  [
    'a counter and a gauge',
    [counter, { ...gauge, name: counter.name.replace(/_total$/, '') }],
    ['sekisho_dns_queries'],
  ],
  [
    'a histogram and its count',
    [histogram, { ...gauge, name: `${histogram.name}_count` }],
    [`${histogram.name}_count`],
  ],
  ['one metric twice', [gauge, gauge], [gauge.name]],
  ['three that have nothing in common', [counter, gauge, histogram], []],
])('names in OpenMetrics of %s', (_what, specs, names) => {
  expect(collisions(specs)).toEqual(names)
})

test('a source with one bad name adds none of its metrics', () => {
  const metrics = createMetrics({ process: false })
  const before = metrics.specs.length
  expect(() => metrics.add(source([gauge, gauge]))).toThrow(/twice/)
  expect(metrics.specs).toHaveLength(before)
  metrics.add(source([gauge]))
  expect(() => metrics.add(source([gauge]))).toThrow(/twice/)
})

test('the process is measured too', async () => {
  const text = await createMetrics({ process: true }).render()
  for (const name of [
    'process_resident_memory_bytes',
    'process_open_fds',
    'nodejs_eventloop_lag_p99_seconds',
    'nodejs_gc_duration_seconds',
  ]) {
    expect(text).toContain(`# TYPE ${name} `)
  }
})

test('what the process adds keeps the rules: _total is a counter, and no sample is NaN', async () => {
  const metrics = createMetrics({ process: true })
  await metrics.render()
  // The second scrape finds an event loop that has had no time to lag.
  const text = await metrics.render()
  expect(text).not.toMatch(/ nan$/im)
  const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)]
  expect(types.length).toBeGreaterThan(20)
  expect(types.filter(([, name = '', type]) => name.endsWith('_total') !== (type === 'counter'))).toEqual([])
})

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, i) => String(i))
}

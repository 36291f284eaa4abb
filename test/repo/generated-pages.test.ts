import { expect, test } from 'vitest'
import type { MetricSpec } from '../../src/core/metric.ts'
import { collisions, faultOf } from '../../src/metrics/declaration.ts'
import { catalog, processCatalog } from '../../tools/catalog.ts'
import { configurationPage } from '../../tools/configuration-page.ts'
import { metricsPage } from '../../tools/metrics-page.ts'
import { files, read } from './tree.ts'

test('docs/configuration.md says what the schema says (make docs)', () => {
  expect(read('docs/configuration.md')).toBe(configurationPage())
})

test('docs/metrics.md says what the rooms declare (make docs)', async () => {
  expect(read('docs/metrics.md')).toBe(await metricsPage())
})

test('every metric that src names is in the catalog, and the other way round', () => {
  const named = new Set(
    files(/^src\/.*\.ts$/).flatMap((path) =>
      [...read(path).matchAll(/'(sekisho(?:_[a-z0-9]+){2,})'/g)].map(([, name]) => name),
    ),
  )
  const declared = catalog.map(({ name }) => name)
  expect(new Set(declared).size).toBe(declared.length)
  expect([...named].filter((name) => !declared.includes(name ?? ''))).toEqual([])
  expect(declared.filter((name) => !named.has(name))).toEqual([])
})

test('no two metrics share a name, in OpenMetrics neither, with those of prom-client', async () => {
  const ofProcess = (await processCatalog()).map(({ type, ...rest }) => ({ ...rest, type: type as MetricSpec['type'] }))
  expect(ofProcess.length).toBeGreaterThan(10)
  expect(collisions([...catalog, ...ofProcess])).toEqual([])
})

test.each(catalog.map((spec) => [spec.name, spec] as const))('%s is declared well, beside its room', (name, spec) => {
  expect(faultOf(spec)).toBeUndefined()
  const room = name.split('_')[1]
  expect(
    files(/^src\/[^/]+\/(metrics|own)\.ts$/).some((path) => path.startsWith(`src/${room}/`) || room === 'agent'),
  ).toBe(true)
})

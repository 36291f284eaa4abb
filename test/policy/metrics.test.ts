import { expect, test } from 'vitest'
import { POLICY_METRICS, PolicyMetrics } from '../../src/policy/metrics.ts'

test('what was compiled and refused is counted, by declared names and labels alone', () => {
  const metrics = new PolicyMetrics()
  metrics.compiled({ byteLength: 100, selectorCount: 3, shapeCount: 2 }, 0.02)
  metrics.compiled({ byteLength: 200, selectorCount: 4, shapeCount: 1 }, 60)
  metrics.refused()
  const samples = metrics.collect()
  const value = (name: string, result?: string): number | undefined =>
    samples.find((sample) => sample.name === name && sample.labels?.['result'] === result)?.value
  expect(value('sekisho_policy_compilations_total', 'ok')).toBe(2)
  expect(value('sekisho_policy_compilations_total', 'refused')).toBe(1)
  expect(value('sekisho_policy_snapshot_bytes')).toBe(200)
  expect(samples.find(({ counts }) => counts)?.counts).toEqual([0, 0, 1, 0, 0, 0, 0, 1])
  for (const { name, labels } of samples) {
    const spec = POLICY_METRICS.find((one) => one.name === name)
    for (const [label, text] of Object.entries(labels ?? {})) expect(spec?.labels?.[label]).toContain(text)
    expect(spec).toBeDefined()
  }
})

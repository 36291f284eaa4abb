import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { datapathMetrics, datapathMetricSpecs } from '../../src/datapath/metrics.ts'
import { DROP_REASON_NAMES, DROP_REASONS, dropReason } from '../../src/datapath/reasons.ts'

describe('reasons', () => {
  it('are those of the programs, each exactly once', () => {
    const header = readFileSync(new URL('../../native/bpf/drop.h', import.meta.url), 'utf8')
    const inKernel = [...header.matchAll(/^#define DROP_([A-Z0-9_]+) (\d+)$/gm)].map((match) => Number(match[2]))
    const here = DROP_REASON_NAMES.filter((name) => name !== 'other').map((name) => DROP_REASONS[name].number)
    expect([...inKernel].sort((a, b) => a - b)).toEqual([...here].sort((a, b) => a - b))
    expect(new Set(here).size).toBe(here.length)
  })

  it('have a name for every number', () => {
    expect(dropReason(133)).toBe('policy')
    expect(dropReason(181)).toBe('policy_deny')
    expect(dropReason(0)).toBe('other')
    expect(dropReason(255)).toBe('other')
  })
})

describe('metrics', () => {
  const source = datapathMetrics({
    counters: () => ({
      reasons: [
        { reason: 0, direction: 1, packets: 5, bytes: 500 },
        { reason: 133, direction: 2, packets: 3, bytes: 180 },
        { reason: 250, direction: 2, packets: 1, bytes: 60 },
        { reason: 251, direction: 2, packets: 2, bytes: 60 },
      ],
      drops: [],
      suppressedEvents: 4,
    }),
    states: () => [
      { id: 1, ifindex: 3, attached: true, enforced: true },
      { id: 2, ifindex: undefined, attached: false, enforced: true },
      { id: 3, ifindex: 4, attached: false, enforced: false },
    ],
  })

  it('give what was counted, numbers nobody knows added up', () => {
    const samples = [...source.collect()]
    const value = (name: string, labels?: Record<string, string>): number | undefined =>
      samples.find((one) => one.name === name && JSON.stringify(one.labels) === JSON.stringify(labels))?.value
    expect(value('sekisho_datapath_forwarded_packets_total', { direction: 'ingress' })).toBe(5)
    expect(value('sekisho_datapath_forwarded_bytes_total', { direction: 'ingress' })).toBe(500)
    expect(value('sekisho_datapath_drops_total', { reason: 'policy', direction: 'egress' })).toBe(3)
    expect(value('sekisho_datapath_drops_total', { reason: 'other', direction: 'egress' })).toBe(3)
    expect(value('sekisho_datapath_events_suppressed_total')).toBe(4)
    for (const state of ['attached', 'missing', 'detached']) {
      expect(value('sekisho_datapath_endpoints', { state })).toBe(1)
    }
  })

  it('use no name and no label value that is not declared', () => {
    const specs = new Map(datapathMetricSpecs.map((spec) => [spec.name, spec]))
    for (const { name, labels } of source.collect()) {
      const declared = specs.get(name)?.labels ?? {}
      expect(Object.keys(labels ?? {}).sort()).toEqual(Object.keys(declared).sort())
      for (const [label, value] of Object.entries(labels ?? {})) expect(declared[label]).toContain(value)
    }
  })
})

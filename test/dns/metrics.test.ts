import { describe, expect, test } from 'vitest'
import * as C from '../../src/dns/counters.ts'
import { createDnsMetrics, dnsSpecs } from '../../src/dns/metrics.ts'
import { REASON, REASON_NAMES } from '../../src/dns/message/reasons.ts'
import { faultOf, fits } from '../../src/metrics/declaration.ts'
import { World } from './gate-world.ts'
import { rawAnswer, rawQuery } from './messages.ts'

const shared = (): { buffer: SharedArrayBuffer; counters: C.Counters } => {
  const buffer = new SharedArrayBuffer(C.COUNTERS_BYTES)
  return { buffer, counters: new C.Counters(buffer) }
}

describe('metrics of the dns threads', () => {
  test('every declaration is good, and every sample fits its own', () => {
    for (const spec of dnsSpecs) expect(faultOf(spec), spec.name).toBeUndefined()
    const { buffer, counters } = shared()
    counters.values.fill(1)
    const samples = [...createDnsMetrics([buffer]).collect()]
    for (const sample of samples) {
      const spec = dnsSpecs.find(({ name }) => name === sample.name)
      expect(spec !== undefined && fits(spec, sample), JSON.stringify(sample)).toBe(true)
    }
    const keys = samples.map((sample) => JSON.stringify([sample.name, sample.labels]))
    expect(new Set(keys).size).toBe(keys.length)
    const series = dnsSpecs.reduce(
      (n, spec) => n + Object.values(spec.labels ?? {}).reduce((product, values) => product * values.length, 1),
      0,
    )
    expect(samples).toHaveLength(series)
  })

  test('no two counters share a place', () => {
    const { buffer, counters } = shared()
    const total = (): number =>
      [...createDnsMetrics([buffer]).collect()].reduce(
        (n, sample) => n + (sample.value ?? 0) + (sample.counts ?? []).reduce((a, b) => a + b, 0),
        0,
      )
    counters.add(C.C_REJECTS + REASON_NAMES.length + REASON.trailing, 1)
    expect(total()).toBe(1)
    counters.observe(C.C_MAP_WAIT_SECONDS, C.MAP_WAIT_BUCKETS, 60)
    counters.add(C.C_CONNECTION_ENDS + C.CONNECTION_STOP, 1)
    counters.add(C.C_OVERLOAD + C.OVERLOADS.length + C.OVERLOAD_CONNECTIONS, 1)
    expect(total()).toBe(4)
  })

  test('threads are added up; the oldest generation counts', () => {
    const one = shared()
    const two = shared()
    one.counters.add(C.C_QUERIES, 3)
    two.counters.add(C.C_QUERIES, 4)
    one.counters.set(C.C_GAUGES + C.GAUGE_GENERATION, 9)
    two.counters.set(C.C_GAUGES + C.GAUGE_GENERATION, 7)
    const samples = [...createDnsMetrics([one.buffer, two.buffer]).collect()]
    const value = (name: string, labels?: Record<string, string>): number | undefined =>
      samples.find(
        (s) => s.name === name && (labels === undefined || JSON.stringify(s.labels) === JSON.stringify(labels)),
      )?.value
    expect(value('sekisho_dns_queries_total', { transport: 'udp', family: 'ipv4' })).toBe(7)
    expect(value('sekisho_dns_policy_generation')).toBe(7)
  })

  test('a query that was answered is in all of them', () => {
    const world = new World()
    const sent = world.ask(rawQuery())
    world.now += 3
    world.answer(sent.tag, rawAnswer(sent.bytes))
    world.turn()
    const samples = [...createDnsMetrics([world.counters.values.buffer as SharedArrayBuffer]).collect()]
    const find = (name: string, labels: object): number | undefined =>
      samples.find((sample) => sample.name === name && JSON.stringify(sample.labels) === JSON.stringify(labels))?.value
    expect(find('sekisho_dns_verdicts_total', { transport: 'udp', verdict: 'allowed' })).toBe(1)
    expect(find('sekisho_dns_replies_total', { transport: 'udp', rcode: 'noerror', origin: 'server' })).toBe(1)
    expect(find('sekisho_dns_learned_answers_total', { transport: 'udp', path: 'none' })).toBe(1)
    const latency = samples.find((sample) => sample.name === 'sekisho_dns_query_seconds')
    expect(latency?.sum).toBeCloseTo(0.003)
    expect(latency?.counts?.[4]).toBe(1)
  })
})

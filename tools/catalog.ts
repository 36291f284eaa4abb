import { Registry } from 'prom-client'
import { agentSpecs } from '../src/agent/metrics.ts'
import type { MetricSpec } from '../src/core/metric.ts'
import { datapathMetricSpecs } from '../src/datapath/metrics.ts'
import { dnsSpecs } from '../src/dns/metrics.ts'
import { fqdnMetrics } from '../src/fqdn/metrics.ts'
import { httpSpecs } from '../src/http/metrics.ts'
import { identityMetrics } from '../src/identity/metrics.ts'
import { buildSource, registrySpecs } from '../src/metrics/own.ts'
import { addProcessMetrics } from '../src/metrics/process.ts'
import { POLICY_METRICS } from '../src/policy/metrics.ts'
import { wgPeerSpecs, wgSpecs } from '../src/wg/metrics.ts'

const none = new Float64Array(0)

/** Every metric of every room: what the agent would register. */
export const catalog: readonly MetricSpec[] = [
  ...buildSource.specs,
  ...agentSpecs,
  ...dnsSpecs,
  ...fqdnMetrics(none).specs,
  ...identityMetrics(none).specs,
  ...POLICY_METRICS,
  ...datapathMetricSpecs,
  ...wgSpecs,
  ...wgPeerSpecs,
  ...httpSpecs,
  ...registrySpecs,
]

/** What prom-client measures of the process and of the main thread. */
export async function processCatalog(): Promise<readonly { name: string; help: string; type: string }[]> {
  const registry = new Registry()
  addProcessMetrics(registry)
  const metrics = await registry.getMetricsAsJSON()
  return metrics.map(({ name, help, type }) => ({ name, help, type: String(type) }))
}

import { collectDefaultMetrics, type Registry } from 'prom-client'

/** Gauges that are named as counters, and open label sets. */
const UNWANTED = ['handles', 'requests', 'resources'].flatMap((kind) => [
  `nodejs_active_${kind}`,
  `nodejs_active_${kind}_total`,
])

/** process_* and nodejs_*: processor, memory, descriptors, garbage collection and event loop of the main thread. */
export function addProcessMetrics(registry: Registry): void {
  // The loop's delay is looked at each second: the hundred times of the default cost a tenth of what 1,000 queries do.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 1000 })
  for (const name of UNWANTED) registry.removeSingleMetric(name)
}

import { collectDefaultMetrics, type Registry } from 'prom-client'

/** Gauges that are named as counters, and open label sets. */
const UNWANTED = ['handles', 'requests', 'resources'].flatMap((kind) => [
  `nodejs_active_${kind}`,
  `nodejs_active_${kind}_total`,
])

/** process_* and nodejs_*: processor, memory, descriptors, garbage collection and event loop of the main thread. */
export function addProcessMetrics(registry: Registry): void {
  collectDefaultMetrics({ register: registry })
  for (const name of UNWANTED) registry.removeSingleMetric(name)
}

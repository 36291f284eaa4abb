import type { MetricSource, MetricSpec } from '../core/metric.ts'
import { VERSION } from '../core/version.ts'

/** Why a sample was left out of a scrape. */
export const REJECTIONS = ['undeclared', 'mismatch', 'duplicate', 'failed'] as const
export type Rejection = (typeof REJECTIONS)[number]

export const registrySpecs: readonly MetricSpec[] = [
  {
    name: 'sekisho_metrics_rejected_samples_total',
    help: 'Samples left out of a scrape: not declared, not fitting the declaration, given twice, or the source failed. Anything but 0 is a fault of Sekisho.',
    type: 'counter',
    labels: { reason: REJECTIONS },
  },
]

export const buildSource: MetricSource = {
  specs: [
    {
      name: 'sekisho_agent_build_info',
      help: 'Always 1; the labels say what runs.',
      type: 'gauge',
      labels: { version: [VERSION] },
    },
  ],
  collect: () => [{ name: 'sekisho_agent_build_info', labels: { version: VERSION }, value: 1 }],
}

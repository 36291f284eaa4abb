import type { MetricSource, MetricSpec } from '../core/metric.ts'

export const ROUTES = [
  '/livez',
  '/readyz',
  '/metrics',
  '/v1/status',
  '/v1/endpoints',
  '/v1/names',
  '/v1/policy',
  '/v1/drops',
  '/v1/wg',
  '/v1/wg/peers',
  '/v1/wg/peers/:name',
  '/v1/wg/keys',
  '/v1/wg/debuginfo',
  '/v1/wg/rotate',
  'other',
] as const
export type Route = (typeof ROUTES)[number]

const STATUSES = ['2xx', '4xx', '5xx'] as const

export const httpSpecs: readonly MetricSpec[] = [
  {
    name: 'sekisho_http_requests_total',
    help: 'Requests answered by the HTTP server, by route and class of status.',
    type: 'counter',
    labels: { route: ROUTES, status: STATUSES },
  },
]

/** Counts answered requests. */
export interface HttpCounter extends MetricSource {
  count(route: string | undefined, status: number): void
}

export function createHttpCounter(): HttpCounter {
  const totals = new Map<string, { labels: { route: string; status: string }; value: number }>()
  return {
    specs: httpSpecs,
    count(route, status) {
      const known = ROUTES.find((name) => name === route) ?? 'other'
      const group = status >= 500 ? '5xx' : status >= 400 ? '4xx' : '2xx'
      const key = `${known} ${group}`
      const total = totals.get(key) ?? { labels: { route: known, status: group }, value: 0 }
      total.value++
      totals.set(key, total)
    },
    *collect() {
      for (const { labels, value } of totals.values()) yield { name: 'sekisho_http_requests_total', labels, value }
    },
  }
}

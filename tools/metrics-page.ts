import type { MetricSpec } from '../src/core/metric.ts'
import { catalog, processCatalog } from './catalog.ts'

const ROOMS: Readonly<Record<string, string>> = {
  agent: 'The agent as a whole.',
  dns: 'The gate: queries, verdicts, upstreams, learning, on every dns worker and the TCP thread.',
  fqdn: 'The ledger: what names resolved to, limits, expiry, state on disk.',
  identity: 'The ledger: identities, and what is written to the kernel’s maps.',
  policy: 'The compiler: policy files to snapshots.',
  datapath: 'The kernel side: programs, drops, events.',
  wg: 'The seal: devices, keys, peers, rotation. The histograms show all peers as they are at the moment of the scrape: take quantiles of the buckets themselves, not of their rate. Metrics of each peer come with `wireguard.metrics.perPeer` only.',
  http: 'The HTTP server.',
  metrics: 'The registry itself.',
}

/** docs/metrics.md. */
export async function metricsPage(): Promise<string> {
  const rooms = Map.groupBy(catalog, ({ name }) => name.split('_')[1] ?? '')
  const sections = [...rooms].map(([room, specs]) => section(room, specs))
  return `# Metrics

<!-- Written by \`make docs\` from the declarations in src/*/metrics.ts; edits here are lost. -->

\`GET /metrics\` on the agent's HTTP address, in the Prometheus text format. Names are
\`sekisho_<room>_<noun>\`, then the base unit where there is one (\`_seconds\`, \`_bytes\`), then \`_total\` for a counter; a gauge
without a unit is named for what it counts, or for the state that it shows. Every label takes its values from a closed list, so the number of series is known
before the first query; counters and histograms exist from the start with 0. Nothing carries a domain name, an address or
a pod: those are in the JSON API and the logs. Names of nodes are in the metrics of single peers, which are off by default.

${sections.join('\n')}
## Process and main thread

From prom-client; the event loop figures are those of the main thread, which does control work only: the dns workers
have no event loop.

| metric | type | meaning |
|---|---|---|
${(await processCatalog()).map(({ name, help, type }) => `| \`${name}\` | ${type} | ${help} |`).join('\n')}
`
}

function section(room: string, specs: readonly MetricSpec[]): string {
  const about = ROOMS[room]
  if (about === undefined) throw new Error(`tools/metrics-page.ts says nothing about the room ${room}`)
  const rows = specs.map(
    (spec) => `| \`${spec.name}\` | ${spec.type} | ${labels(spec)} | ${spec.help.replace(/\.?$/, '.')} |`,
  )
  return `## ${room}

${about}

| metric | type | labels | meaning |
|---|---|---|---|
${rows.join('\n')}
`
}

function labels(spec: MetricSpec): string {
  const parts = Object.entries(spec.labels ?? {}).map(([label, values]) => `\`${label}\`: ${values.join(', ')}`)
  parts.push(...Object.entries(spec.open ?? {}).map(([label, most]) => `\`${label}\`: ${most} at the most`))
  if (spec.buckets !== undefined) parts.push(`\`le\`: ${spec.buckets.join(', ')}`)
  return parts.join('; ') || '–'
}

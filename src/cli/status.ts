import type { EndpointView, PolicyStatusView, ReadinessLatch, StatusView, WorkerView } from '../http/ports.ts'
import { ask, baseOf } from './api.ts'
import { EXIT, UsageError, type CliIo } from './io.ts'
import { parseOptions } from './options.ts'
import { paint, printable } from './style.ts'
import { table, type Cell } from './table.ts'

const options = {
  config: { type: 'string', short: 'c' },
  url: { type: 'string', short: 'u' },
  output: { type: 'string', short: 'o', default: 'table' },
} as const

interface Report {
  readonly status: StatusView
  readonly readiness: { readonly ready: boolean; readonly latches: readonly ReadinessLatch[] }
  readonly policy: PolicyStatusView
  readonly endpoints: readonly EndpointView[]
}

/** `sekisho status`: 0 when the agent is ready, 1 when it is not, 69 when nobody answers. */
export async function status(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseOptions(args, options)
  if (positionals.length > 0) throw new UsageError(`unexpected argument ${positionals[0]}`)
  if (values.output !== 'table' && values.output !== 'json') {
    throw new UsageError(`unknown output ${values.output}`, 'use -o table or -o json')
  }
  const base = await baseOf(io, values)
  if (typeof base === 'number') return base
  const report = await fetchReport(io, base)
  if (report === undefined) return EXIT.unavailable
  io.out(values.output === 'json' ? JSON.stringify(report, null, 2) + '\n' : render(io, report))
  return report.readiness.ready ? EXIT.ok : EXIT.failed
}

async function fetchReport(io: CliIo, base: string): Promise<Report | undefined> {
  const overview = await ask(io, base, '/v1/status')
  if (overview === undefined) return undefined
  const [readiness, policy, endpoints] = await Promise.all(
    ['/readyz', '/v1/policy', '/v1/endpoints'].map((path) => ask(io, base, path)),
  )
  if (readiness === undefined || policy === undefined || endpoints === undefined) return undefined
  return {
    status: overview.body as StatusView,
    readiness: readiness.body as Report['readiness'],
    policy: policy.body as PolicyStatusView,
    endpoints: (endpoints.body as { endpoints: readonly EndpointView[] }).endpoints,
  }
}

function render(io: CliIo, { status: overview, readiness, policy, endpoints }: Report): string {
  // Without a gate there is nothing to tell of policies and names.
  const alone = overview.mode === 'off'
  const waiting = readiness.latches.filter((latch) => !latch.ready)
  const head: [string, string][] = [
    ['state', readiness.ready ? paint(io, 'green', 'ready') : paint(io, 'red', 'not ready')],
    ['node', `${printable(overview.node)}${alone ? '' : `, mode ${overview.mode}`}`],
    ['agent', `${overview.version}, pid ${overview.pid}, up ${uptime(overview.uptimeSeconds)}`],
  ]
  const gate: [string, string][] = [
    ['policy', `generation ${policy.generation}, ${policy.rules} rules in ${policy.files.length} files`],
    ['endpoints', `${overview.endpoints.known} known, ${overview.endpoints.enforced} enforced`],
    ['names', `${overview.names.entries} entries, ${overview.names.identities} identities`],
  ]
  const said = [...head, ...(alone ? [['gate', 'off; the seal alone: `sekisho wg status`'] as const] : gate)]
  const parts = [said.map(([key, value]) => `${key.padEnd(10)} ${value}\n`).join('')]
  const notes = [
    ...waiting.map(({ name, reason }) => paint(io, 'red', `waits for ${name}: ${printable(reason ?? 'not yet')}`)),
    ...overview.warnings.map((warning) => paint(io, 'yellow', printable(warning))),
    ...policy.problems.map((p) =>
      paint(io, p.severity === 'error' ? 'red' : 'yellow', printable(`${p.file}:${p.line}:${p.column}: ${p.message}`)),
    ),
  ]
  if (notes.length > 0) parts.push(notes.map((note) => `! ${note}\n`).join(''))
  if (alone) return parts.join('\n')
  parts.push(
    table(
      io,
      [
        { title: 'thread' },
        { title: 'state' },
        { title: 'generation', align: 'right' },
        { title: 'restarts', align: 'right' },
      ],
      overview.workers.map((worker) => workerRow(worker)),
    ),
  )
  if (endpoints.length > 0) {
    parts.push(
      table(
        io,
        [
          { title: 'id', align: 'right' },
          { title: 'endpoint' },
          { title: 'policy' },
          { title: 'program' },
          { title: 'drops', align: 'right' },
          { title: 'addresses' },
        ],
        endpoints.map((endpoint) => endpointRow(endpoint)),
      ),
    )
  }
  return parts.join('\n')
}

const workerRow = (worker: WorkerView): Cell[] => [
  worker.name,
  {
    text: worker.pump === undefined ? worker.state : `${worker.state}, ${worker.pump}`,
    style: worker.state === 'running' ? 'green' : worker.state === 'failed' ? 'red' : 'yellow',
  },
  worker.generation === null ? '-' : String(worker.generation),
  String(worker.restarts),
]

const endpointRow = (endpoint: EndpointView): Cell[] => [
  String(endpoint.id),
  printable(endpoint.name),
  endpoint.enforced ? 'enforced' : { text: 'none', style: 'dim' },
  endpoint.attached
    ? { text: 'attached', style: 'green' }
    : { text: 'missing', style: endpoint.enforced ? 'red' : 'dim' },
  String(endpoint.drops),
  endpoint.addresses.map(printable).join(' '),
]

/** "2d 3h", "4m 5s": the two largest units. */
export function uptime(seconds: number): string {
  const units: [string, number][] = [
    ['d', 86_400],
    ['h', 3600],
    ['m', 60],
    ['s', 1],
  ]
  let rest = Math.floor(seconds)
  const parts = units.map(([unit, size]) => {
    const count = Math.floor(rest / size)
    rest -= count * size
    return { unit, count }
  })
  const first = parts.findIndex(({ count }) => count > 0)
  if (first < 0) return '0s'
  return parts
    .slice(first, first + 2)
    .map(({ unit, count }) => `${count}${unit}`)
    .join(' ')
}

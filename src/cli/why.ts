import { readFqdn } from './why-words.ts'
import { tryParseIp } from '../core/ip.ts'
import type { Ip } from '../core/ip.ts'
import { parseEndpoints } from '../datapath/endpoints.ts'
import type { EndpointSpec } from '../datapath/endpoints.ts'
import { loadPolicies } from '../policy/load.ts'
import { formatProblem } from '../policy/problem.ts'
import type { EndpointInput } from '../policy/rules.ts'
import { explain } from '../policy/why.ts'
import { suggest } from '../core/suggest.ts'
import { readConfig } from './config-file.ts'
import { EXIT, UsageError } from './io.ts'
import type { CliIo } from './io.ts'
import { parseOptions } from './options.ts'
import { readPolicyFiles } from './policy-files.ts'
import { renderWhy } from './why-words.ts'

const options = {
  config: { type: 'string', short: 'c' },
  policy: { type: 'string', short: 'p', multiple: true },
  endpoints: { type: 'string', short: 'e' },
  server: { type: 'string', short: 's' },
  output: { type: 'string', short: 'o', default: 'text' },
} as const

interface Sources {
  readonly policyPaths: readonly string[]
  readonly endpointsPath: string
  readonly doubleStar: 'labels' | 'label'
  readonly hostAddresses: readonly Ip[]
}

/** `sekisho why`: 0 when the endpoint may look the name up and connect to it, 1 when something is missing. */
export async function why(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseOptions(args, options)
  const [wanted, nameText, extra] = positionals
  if (wanted === undefined || nameText === undefined) throw new UsageError('an endpoint and a name are needed')
  if (extra !== undefined) throw new UsageError(`unexpected argument ${extra}`)
  const { output } = values
  if (output !== 'text' && output !== 'json') throw new UsageError(`unknown output ${output}`, 'use -o text or -o json')
  const name = readFqdn(nameText)
  if (name === undefined) throw new UsageError(`"${nameText}" is no domain name`)
  const server = values.server === undefined ? undefined : tryParseIp(values.server)
  if (values.server !== undefined && server === undefined) throw new UsageError(`"${values.server}" is no IP address`)
  const sources = await readSources(io, values)
  if (typeof sources === 'number') return sources
  const endpoints = await readEndpoints(io, sources.endpointsPath)
  const files = await readPolicyFiles(io, sources.policyPaths)
  if (endpoints === undefined || files === undefined) return EXIT.failed
  const loaded = loadPolicies(files, { doubleStar: sources.doubleStar })
  for (const problem of loaded.problems) if (problem.severity === 'error') io.err(`${formatProblem(problem)}\n`)
  if (!loaded.ok) return EXIT.failed
  const endpoint = choose(endpoints, wanted)
  const report = explain({
    policies: loaded.policies,
    endpoints,
    endpoint,
    name: name.labels,
    hostAddresses: sources.hostAddresses,
    ...(server === undefined ? {} : { server }),
  })
  const subject = { endpoint: `${endpoint.namespace}/${endpoint.name}`, name: name.text, server: values.server ?? null }
  io.out(output === 'json' ? JSON.stringify({ ...subject, ...report }, null, 2) + '\n' : renderWhy(io, subject, report))
  return report.lookup.allowed && report.connection.allowed ? EXIT.ok : EXIT.failed
}

/** The files: from the configuration, or named one by one; what is named wins. */
async function readSources(
  io: CliIo,
  values: { config?: string; policy?: readonly string[]; endpoints?: string },
): Promise<Sources | number> {
  if (values.config === undefined) {
    if (values.policy === undefined || values.endpoints === undefined) {
      throw new UsageError('where is the policy?', 'give --config FILE, or --policy PATH... and --endpoints FILE')
    }
    const { policy, endpoints } = values
    return { policyPaths: policy, endpointsPath: endpoints, doubleStar: 'labels', hostAddresses: [] }
  }
  const config = await readConfig(io, values.config)
  if (!config.ok) return config.error
  const { policy, datapath, node } = config.value
  return {
    policyPaths: values.policy ?? policy.paths,
    endpointsPath: values.endpoints ?? datapath.endpoints,
    doubleStar: policy.doubleStar,
    hostAddresses: node.addresses.flatMap((text) => tryParseIp(text) ?? []),
  }
}

async function readEndpoints(io: CliIo, path: string): Promise<readonly EndpointInput[] | undefined> {
  let text: string
  try {
    text = await io.readText(path)
  } catch (error) {
    io.err(`sekisho: ${path}: ${(error as { code?: string }).code ?? String(error)}\n`)
    return undefined
  }
  const parsed = parseEndpoints(text, path)
  if ('problems' in parsed) {
    for (const problem of parsed.problems) io.err(`${formatProblem(problem)}\n`)
    return undefined
  }
  return parsed.endpoints.map((spec: EndpointSpec, i) => ({ ...spec, id: i + 1 }))
}

function choose(endpoints: readonly EndpointInput[], wanted: string): EndpointInput {
  const full = (endpoint: EndpointInput): string => `${endpoint.namespace}/${endpoint.name}`
  const found = endpoints.filter((endpoint) => full(endpoint) === wanted || endpoint.name === wanted)
  const [first, second] = found
  if (first !== undefined && second === undefined) return first
  if (first !== undefined)
    throw new UsageError(`more than one endpoint is called ${wanted}`, found.map(full).join(', '))
  const near = suggest(
    wanted,
    endpoints.flatMap((endpoint) => [full(endpoint), endpoint.name]),
  )
  throw new UsageError(`no endpoint ${wanted}`, near === undefined ? undefined : `did you mean ${near}?`)
}

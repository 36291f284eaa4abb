import { formatIp, type Ip, tryParseIp } from '../core/ip.ts'
import { suggest } from '../core/suggest.ts'
import { readYaml } from '../core/yaml/text.ts'
import type { Entry, Tree } from '../core/yaml/tree.ts'
import {
  checkAddress,
  checkInterface,
  checkLabelKey,
  checkLabelValue,
  checkName,
  checkNamespace,
} from './endpoint-words.ts'

/** One endpoint of the endpoints file. */
export interface EndpointSpec {
  readonly name: string
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  readonly addresses: readonly Ip[]
  /** Host side of the endpoint's interface. */
  readonly interface: string
}

/** Lines and columns count from 1. */
export interface EndpointProblem {
  readonly file: string
  readonly line: number
  readonly column: number
  readonly severity: 'error'
  readonly message: string
}

/** "namespace/name": what an endpoint is known by. */
export const endpointKey = (endpoint: { readonly namespace: string; readonly name: string }): string =>
  `${endpoint.namespace}/${endpoint.name}`

const FIELDS = ['name', 'namespace', 'labels', 'addresses', 'interface'] as const
const TOP = ['endpoints'] as const

type Report = (at: number, message: string) => void

/** The keys of a mapping; unknown keys are reported. */
function fieldsOf(entries: readonly Entry[], known: readonly string[], report: Report): Map<string, Tree> {
  const fields = new Map<string, Tree>()
  for (const { key, at, value } of entries) {
    if (known.includes(key)) fields.set(key, value)
    else {
      const near = suggest(key, known)
      report(at, `unknown key ${JSON.stringify(key)}${near === undefined ? '' : `; did you mean ${near}?`}`)
    }
  }
  return fields
}

function textOf(tree: Tree, what: string, report: Report): string | undefined {
  if (tree.kind === 'scalar' && typeof tree.value === 'string') return tree.value
  report(tree.at, `${what} must be text${tree.kind === 'scalar' ? '; put it in quotes' : ''}`)
  return undefined
}

function checkedText(
  field: Tree | undefined,
  what: string,
  check: (text: string) => string | undefined,
  report: Report,
  missing: { readonly value: string } | { readonly at: number },
): string | undefined {
  if (field === undefined) {
    if ('value' in missing) return missing.value
    report(missing.at, `${what} is missing`)
    return undefined
  }
  const text = textOf(field, what, report)
  if (text === undefined) return undefined
  const wrong = check(text)
  if (wrong === undefined) return text
  report(field.at, `${what}: ${wrong}`)
  return undefined
}

function readLabels(field: Tree | undefined, report: Report): Record<string, string> {
  const labels: Record<string, string> = {}
  if (field === undefined) return labels
  if (field.kind !== 'map') {
    report(field.at, 'labels must be a mapping of key to value')
    return labels
  }
  for (const { key, at, value } of field.entries) {
    const text = textOf(value, `label ${key}`, report)
    if (text === undefined) continue
    const wrong = checkLabelKey(key)
    const wrongValue = checkLabelValue(text)
    if (wrong !== undefined) report(at, wrong)
    if (wrongValue !== undefined) report(value.at, wrongValue)
    labels[key] = text
  }
  return labels
}

function readAddresses(field: Tree | undefined, missingAt: number, report: Report): { ip: Ip; at: number }[] {
  if (field === undefined) {
    report(missingAt, 'addresses is missing')
    return []
  }
  if (field.kind !== 'list' || field.items.length === 0) {
    report(field.at, 'addresses must be a list of at least one address')
    return []
  }
  return field.items.flatMap((item) => {
    const text = textOf(item, 'an address', report)
    if (text === undefined) return []
    const ip = tryParseIp(text)
    const wrong = ip === undefined ? 'not an IP address' : checkAddress(ip)
    if (ip !== undefined && wrong === undefined) return [{ ip, at: item.at }]
    report(item.at, `${JSON.stringify(text)}: ${wrong}`)
    return []
  })
}

/** Reads the endpoints file: every endpoint, or every problem. `file` only names the text in problems. */
export function parseEndpoints(
  text: string,
  file: string,
): { readonly endpoints: readonly EndpointSpec[] } | { readonly problems: readonly EndpointProblem[] } {
  const { documents, faults, position } = readYaml(text, '1.2')
  const problems: EndpointProblem[] = []
  const report: Report = (at, message) => {
    problems.push({ file, ...position(at), severity: 'error', message })
  }
  for (const { at, message } of faults) report(at, message)
  if (problems.length > 0) return { problems }

  const [root, second] = documents
  if (second !== undefined) report(second.at, 'the file must be one document')
  const list = root?.kind === 'map' ? fieldsOf(root.entries, TOP, report).get('endpoints') : undefined
  if (list?.kind !== 'list') {
    report(list?.at ?? root?.at ?? 0, 'the file must have a list "endpoints"')
    return { problems }
  }

  const endpoints: EndpointSpec[] = []
  const seen = { name: new Set<string>(), address: new Map<string, string>(), interface: new Map<string, string>() }
  for (const item of list.items) {
    if (item.kind !== 'map') {
      report(item.at, 'an endpoint must be a mapping')
      continue
    }
    const fields = fieldsOf(item.entries, FIELDS, report)
    const name = checkedText(fields.get('name'), 'name', checkName, report, { at: item.at })
    const namespace = checkedText(fields.get('namespace'), 'namespace', checkNamespace, report, { value: 'default' })
    const device = checkedText(fields.get('interface'), 'interface', checkInterface, report, { at: item.at })
    const labels = readLabels(fields.get('labels'), report)
    const addresses = readAddresses(fields.get('addresses'), item.at, report)
    const key = `${namespace ?? '?'}/${name ?? '?'}`

    if (name !== undefined && namespace !== undefined) {
      if (seen.name.has(key)) report(fields.get('name')?.at ?? item.at, `${key} is there twice`)
      seen.name.add(key)
    }
    if (device !== undefined) {
      const other = seen.interface.get(device)
      if (other !== undefined)
        report(fields.get('interface')?.at ?? item.at, `interface ${device} belongs to ${other} already`)
      else seen.interface.set(device, key)
    }
    for (const { ip, at } of addresses) {
      const address = formatIp(ip)
      const other = seen.address.get(address)
      if (other !== undefined) report(at, `address ${address} belongs to ${other} already`)
      else seen.address.set(address, key)
    }
    if (name === undefined || namespace === undefined || device === undefined) continue
    endpoints.push({ name, namespace, labels, addresses: addresses.map(({ ip }) => ip), interface: device })
  }
  return problems.length > 0 ? { problems } : { endpoints }
}

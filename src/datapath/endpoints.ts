import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type YAMLMap } from 'yaml'
import { formatIp, type Ip, tryParseIp } from '../core/ip.ts'
import { suggest } from '../core/suggest.ts'
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

type Report = (node: Node | null | undefined, message: string) => void
type Field = { readonly key: Node; readonly value: Node | null }

/** The keys of a mapping; unknown and non-text keys are reported. */
function fieldsOf(map: YAMLMap<Node, Node | null>, known: readonly string[], report: Report): Map<string, Field> {
  const fields = new Map<string, Field>()
  for (const { key, value } of map.items) {
    const name = isScalar(key) && typeof key.value === 'string' ? key.value : undefined
    if (name === undefined) report(key, 'a key must be text')
    else if (!known.includes(name)) {
      const near = suggest(name, known)
      report(key, `unknown key ${JSON.stringify(name)}${near === undefined ? '' : `; did you mean ${near}?`}`)
    } else fields.set(name, { key, value })
  }
  return fields
}

function textOf(node: Node | null, what: string, report: Report, at: Node): string | undefined {
  if (isScalar(node) && typeof node.value === 'string') return node.value
  report(node ?? at, `${what} must be text${isScalar(node) && node.value !== null ? '; put it in quotes' : ''}`)
  return undefined
}

function checkedText(
  field: Field | undefined,
  what: string,
  check: (text: string) => string | undefined,
  report: Report,
  fallback?: { readonly value: string } | { readonly missingAt: Node },
): string | undefined {
  if (field === undefined) {
    if (fallback !== undefined && 'value' in fallback) return fallback.value
    report(fallback?.missingAt, `${what} is missing`)
    return undefined
  }
  const text = textOf(field.value, what, report, field.key)
  if (text === undefined) return undefined
  const wrong = check(text)
  if (wrong === undefined) return text
  report(field.value, `${what}: ${wrong}`)
  return undefined
}

function readLabels(field: Field | undefined, report: Report): Record<string, string> {
  const labels: Record<string, string> = {}
  if (field === undefined) return labels
  if (!isMap<Node, Node | null>(field.value)) {
    report(field.value ?? field.key, 'labels must be a mapping of key to value')
    return labels
  }
  for (const { key, value } of field.value.items) {
    const name = textOf(key, 'a label key', report, key)
    const text = textOf(value, `label ${name ?? ''}`.trim(), report, key)
    if (name === undefined || text === undefined) continue
    const wrong = checkLabelKey(name)
    const wrongValue = checkLabelValue(text)
    if (wrong !== undefined) report(key, wrong)
    if (wrongValue !== undefined) report(value, wrongValue)
    labels[name] = text
  }
  return labels
}

function readAddresses(field: Field | undefined, at: Node, report: Report): { ip: Ip; node: Node }[] {
  if (field === undefined) {
    report(at, 'addresses is missing')
    return []
  }
  if (!isSeq<Node>(field.value) || field.value.items.length === 0) {
    report(field.value ?? field.key, 'addresses must be a list of at least one address')
    return []
  }
  return field.value.items.flatMap((node) => {
    const text = textOf(node, 'an address', report, node)
    if (text === undefined) return []
    const ip = tryParseIp(text)
    const wrong = ip === undefined ? 'not an IP address' : checkAddress(ip)
    if (ip !== undefined && wrong === undefined) return [{ ip, node }]
    report(node, `${JSON.stringify(text)}: ${wrong}`)
    return []
  })
}

/** Reads the endpoints file: every endpoint, or every problem. `file` only names the text in problems. */
export function parseEndpoints(
  text: string,
  file: string,
): { readonly endpoints: readonly EndpointSpec[] } | { readonly problems: readonly EndpointProblem[] } {
  const counter = new LineCounter()
  const document = parseDocument(text, { lineCounter: counter, strict: true, uniqueKeys: true, prettyErrors: false })
  const problems: EndpointProblem[] = []
  const reportAt = (offset: number, message: string): void => {
    const { line, col } = counter.linePos(offset)
    problems.push({ file, line: Math.max(line, 1), column: Math.max(col, 1), severity: 'error', message })
  }
  const report: Report = (node, message) => reportAt(node?.range?.[0] ?? 0, message)

  for (const error of document.errors) reportAt(error.pos[0], error.message)
  if (problems.length > 0) return { problems }

  const root = document.contents as Node | null
  const list = isMap<Node, Node | null>(root) ? fieldsOf(root, TOP, report).get('endpoints') : undefined
  if (list === undefined || !isSeq<Node>(list.value)) {
    report(list?.value ?? root, 'the file must have a list "endpoints"')
    return { problems }
  }

  const endpoints: EndpointSpec[] = []
  const seen = { name: new Set<string>(), address: new Map<string, string>(), interface: new Map<string, string>() }
  for (const item of list.value.items) {
    if (!isMap<Node, Node | null>(item)) {
      report(item, 'an endpoint must be a mapping')
      continue
    }
    const fields = fieldsOf(item, FIELDS, report)
    const name = checkedText(fields.get('name'), 'name', checkName, report, { missingAt: item })
    const namespace = checkedText(fields.get('namespace'), 'namespace', checkNamespace, report, { value: 'default' })
    const device = checkedText(fields.get('interface'), 'interface', checkInterface, report, { missingAt: item })
    const labels = readLabels(fields.get('labels'), report)
    const addresses = readAddresses(fields.get('addresses'), item, report)
    const key = `${namespace ?? '?'}/${name ?? '?'}`

    if (name !== undefined && namespace !== undefined) {
      if (seen.name.has(key)) report(fields.get('name')?.value, `${key} is there twice`)
      seen.name.add(key)
    }
    if (device !== undefined) {
      const other = seen.interface.get(device)
      if (other !== undefined) report(fields.get('interface')?.value, `interface ${device} belongs to ${other} already`)
      else seen.interface.set(device, key)
    }
    for (const { ip, node } of addresses) {
      const address = formatIp(ip)
      const other = seen.address.get(address)
      if (other !== undefined) report(node, `address ${address} belongs to ${other} already`)
      else seen.address.set(address, key)
    }
    if (name === undefined || namespace === undefined || device === undefined) continue
    endpoints.push({ name, namespace, labels, addresses: addresses.map(({ ip }) => ip), interface: device })
  }
  return problems.length > 0 ? { problems } : { endpoints }
}

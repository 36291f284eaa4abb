import { formatFqdn, tryParseFqdn } from '../core/fqdn.ts'
import { formatCidr, formatIp, tryParseCidr, tryParseIp } from '../core/ip.ts'
import { err, ok, type ErrorCode, type Result } from '../core/errors.ts'
import { suggest } from '../core/suggest.ts'
import { formatFlow, parseFlow } from './flow.ts'
import type { Kind, Leaf } from './kinds.ts'
import { DURATION_FORM, formatDuration, formatSize, parseDuration, parseSize, SIZE_FORM } from './units.ts'

export interface LeafFault {
  readonly code: ErrorCode
  readonly message: string
  readonly hint?: string
}

type Reading<T> = Result<T, LeafFault>

/** Reads one scalar: of the file as YAML typed it, of the environment as text. */
export function readScalar(leaf: Leaf, raw: unknown, kind: Kind = leaf.kind): Reading<string | number | boolean> {
  switch (kind) {
    case 'count':
      return readCount(leaf, raw)
    case 'duration':
      return readUnits(leaf, raw, parseDuration, formatDuration, DURATION_FORM)
    case 'size':
      return readUnits(leaf, raw, parseSize, formatSize, SIZE_FORM)
    case 'choice':
      return readChoice(leaf, raw)
    case 'address':
      return readAddress(raw)
    case 'prefix':
      return readPrefix(raw)
    case 'flow':
      return readFlow(raw)
    case 'device':
      return readDevice(raw)
    case 'toggle':
      return readToggle(raw)
    case 'name':
      return readName(raw)
    case 'path':
      return readPath(raw)
    case 'text':
      return readText(leaf, raw)
    case 'list':
      return fault('SEKISHO_CONFIG_TYPE', `${show(raw)} is not a list`, 'write [one, two] or one "- item" a line')
  }
}

const fault = (code: ErrorCode, message: string, hint?: string): { readonly ok: false; readonly error: LeafFault } =>
  err(hint === undefined ? { code, message } : { code, message, hint })

/** The value for a message; a long one is cut. */
export function show(raw: unknown): string {
  const text = JSON.stringify(raw) ?? String(raw)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

function readCount(leaf: Leaf, raw: unknown): Reading<number> {
  const value = typeof raw === 'string' && /^[0-9]{1,15}$/.test(raw) ? Number(raw) : raw
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) {
    return fault('SEKISHO_CONFIG_TYPE', `${show(raw)} is not a whole number`, serviceLinkHint(raw))
  }
  return inRange(leaf, value, String)
}

function readUnits(
  leaf: Leaf,
  raw: unknown,
  parse: (text: string) => number | undefined,
  format: (value: number) => string,
  form: string,
): Reading<number> {
  const value = typeof raw === 'string' ? parse(raw) : undefined
  return value === undefined
    ? fault('SEKISHO_CONFIG_TYPE', `${show(raw)} is not a ${leaf.kind}`, `write ${form}`)
    : inRange(leaf, value, format)
}

function inRange(leaf: Leaf, value: number, format: (value: number) => string): Reading<number> {
  const { minimum = 0, maximum = Number.MAX_SAFE_INTEGER, except = [] } = leaf
  if (value < minimum || value > maximum) {
    return fault('SEKISHO_CONFIG_RANGE', `${format(value)} is not between ${format(minimum)} and ${format(maximum)}`)
  }
  return except.includes(value) ? fault('SEKISHO_CONFIG_RANGE', `${format(value)} is reserved`) : ok(value)
}

function readChoice(leaf: Leaf, raw: unknown): Reading<string> {
  const values = leaf.enum ?? []
  if (typeof raw === 'string' && values.includes(raw)) return ok(raw)
  const near = typeof raw === 'string' ? suggest(raw, values) : undefined
  return fault(
    'SEKISHO_CONFIG_VALUE',
    `${show(raw)} is not one of ${values.join(', ')}`,
    near === undefined ? undefined : `did you mean ${near}?`,
  )
}

function readAddress(raw: unknown): Reading<string> {
  const ip = typeof raw === 'string' ? tryParseIp(raw) : undefined
  return ip === undefined ? fault('SEKISHO_CONFIG_VALUE', `${show(raw)} is not an IP address`) : ok(formatIp(ip))
}

function readPrefix(raw: unknown): Reading<string> {
  const cidr = typeof raw === 'string' ? tryParseCidr(raw) : undefined
  if (cidr !== undefined) return ok(formatCidr(cidr))
  const wider = typeof raw === 'string' ? tryParseCidr(raw, { mask: true }) : undefined
  const hint = wider === undefined ? undefined : `did you mean ${formatCidr(wider)}?`
  return fault('SEKISHO_CONFIG_VALUE', `${show(raw)} is not an IP prefix`, hint)
}

function readFlow(raw: unknown): Reading<string> {
  const flow = typeof raw === 'string' ? parseFlow(raw) : undefined
  return flow === undefined
    ? fault('SEKISHO_CONFIG_VALUE', `${show(raw)} is no flow`, 'write 192.0.2.1/32, or 192.0.2.1/32 tcp/6443')
    : ok(formatFlow(flow))
}

/** What the kernel takes as the name of an interface (dev_valid_name). */
function readDevice(raw: unknown): Reading<string> {
  return typeof raw === 'string' && /^[^/:\s\0]{1,15}$/.test(raw) && raw !== '.' && raw !== '..'
    ? ok(raw)
    : fault('SEKISHO_CONFIG_VALUE', `${show(raw)} is not a name of an interface`)
}

function readToggle(raw: unknown): Reading<boolean> {
  const value = raw === 'true' ? true : raw === 'false' ? false : raw
  return typeof value === 'boolean' ? ok(value) : fault('SEKISHO_CONFIG_TYPE', `${show(raw)} is not true or false`)
}

/** A name of hosts, lower case, without the final dot, which users write either way. */
function readName(raw: unknown): Reading<string> {
  const name = typeof raw === 'string' ? tryParseFqdn(raw) : undefined
  const text = name === undefined ? '' : formatFqdn(name).slice(0, -1)
  return /^[-a-z0-9_.]+$/.test(text) ? ok(text) : fault('SEKISHO_CONFIG_VALUE', `${show(raw)} is not a domain name`)
}

function readPath(raw: unknown): Reading<string> {
  if (typeof raw !== 'string') return fault('SEKISHO_CONFIG_TYPE', `${show(raw)} is not a text`)
  return raw === '' || raw.includes('\0') ? fault('SEKISHO_CONFIG_VALUE', `${show(raw)} is not a path`) : ok(raw)
}

function readText(leaf: Leaf, raw: unknown): Reading<string> {
  if (typeof raw !== 'string') return fault('SEKISHO_CONFIG_TYPE', `${show(raw)} is not a text`, 'put it in quotes')
  return leaf.pattern === undefined || new RegExp(leaf.pattern).test(raw)
    ? ok(raw)
    : fault('SEKISHO_CONFIG_VALUE', `${show(raw)} does not match ${leaf.pattern}`)
}

/** Kubernetes puts SEKISHO_HTTP_PORT=tcp://... into pods when a Service is named sekisho-http. */
const serviceLinkHint = (raw: unknown): string | undefined =>
  typeof raw === 'string' && raw.startsWith('tcp://')
    ? 'this comes from a Service: set enableServiceLinks: false in the pod'
    : undefined

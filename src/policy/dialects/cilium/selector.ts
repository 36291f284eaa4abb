import { NAMESPACE_LABEL } from '../../rules.ts'
import type { LabelSelector, Requirement } from '../../rules.ts'
import type { At, Reader } from '../reader.ts'

const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const
type Operator = (typeof OPERATORS)[number]

/** Labels that Cilium derives from the cluster: an endpoints file has none, so a selector on them could not be judged. */
const DERIVED_PREFIX = 'io.cilium.k8s.'

/** `matchLabels` and `matchExpressions`; label sources `k8s:` and `any:` are taken off. Undefined when it has problems. */
export function readSelector(reader: Reader, value: At): LabelSelector | undefined {
  const before = reader.problems.length
  const fields = reader.object(value, { fields: ['matchLabels', 'matchExpressions'] })
  if (fields === undefined) return undefined
  const requirements: Requirement[] = []
  const labels = fields.get('matchLabels')
  if (labels !== undefined) requirements.push(...readLabels(reader, labels))
  const expressions = fields.get('matchExpressions')
  for (const item of expressions === undefined ? [] : (reader.list(expressions) ?? [])) {
    const requirement = readExpression(reader, item)
    if (requirement !== undefined) requirements.push(requirement)
  }
  return reader.problems.length === before ? requirements : undefined
}

function readLabels(reader: Reader, value: At): Requirement[] {
  if (value.tree.kind !== 'map') {
    reader.object(value, { fields: [] })
    return []
  }
  const requirements: Requirement[] = []
  for (const entry of value.tree.entries) {
    const key = readKey(reader, entry.key, entry.at)
    const text = reader.string({ tree: entry.value, path: `${value.path}["${entry.key}"]` })
    if (key !== undefined && text !== undefined) requirements.push({ key, operator: 'In', values: [text] })
  }
  return requirements
}

function readExpression(reader: Reader, value: At): Requirement | undefined {
  const fields = reader.object(value, { fields: ['key', 'operator', 'values'] })
  if (fields === undefined) return undefined
  const keyAt = fields.get('key')
  const operatorAt = fields.get('operator')
  if (keyAt === undefined || operatorAt === undefined) {
    reader.error(value.tree.at, `${value.path} needs key and operator`)
    return undefined
  }
  const keyText = reader.string(keyAt)
  const key = keyText === undefined ? undefined : readKey(reader, keyText, keyAt.tree.at)
  const operator = reader.string(operatorAt)
  const valuesAt = fields.get('values')
  const values = valuesAt === undefined ? [] : (reader.list(valuesAt) ?? []).map((item) => reader.string(item))
  if (key === undefined || operator === undefined || !values.every((text) => text !== undefined)) return undefined
  if (!isOperator(operator)) {
    reader.error(operatorAt.tree.at, `${operatorAt.path} must be In, NotIn, Exists or DoesNotExist, not "${operator}"`)
    return undefined
  }
  const wantsValues = operator === 'In' || operator === 'NotIn'
  if (wantsValues !== values.length > 0) {
    const place = valuesAt ?? value
    reader.error(place.tree.at, `${value.path}: ${operator} ${wantsValues ? 'needs' : 'must have no'} values`)
    return undefined
  }
  return { key, operator, values }
}

const isOperator = (text: string): text is Operator => (OPERATORS as readonly string[]).includes(text)

function readKey(reader: Reader, text: string, at: number): string | undefined {
  const colon = text.indexOf(':')
  const source = colon < 0 ? 'any' : text.slice(0, colon)
  const key = text.slice(colon + 1)
  if (source !== 'any' && source !== 'k8s') {
    const hint = source === 'reserved' ? 'select it with toEntities' : 'k8s: and any: are known'
    reader.error(at, `label source "${source}:" is not enforced`, hint)
    return undefined
  }
  if (key === '') {
    reader.error(at, 'a label key is empty')
    return undefined
  }
  if (key.startsWith(DERIVED_PREFIX)) {
    reader.error(at, `label "${key}" is not enforced: endpoints carry pod labels and ${NAMESPACE_LABEL} only`)
    return undefined
  }
  return key
}

/** True when the selector says itself which namespaces it means. */
export const namesNamespace = (selector: LabelSelector): boolean => selector.some(({ key }) => key === NAMESPACE_LABEL)

export const inNamespace = (namespace: string): Requirement => ({
  key: NAMESPACE_LABEL,
  operator: 'In',
  values: [namespace],
})

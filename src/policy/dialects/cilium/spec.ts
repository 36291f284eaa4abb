import type { DoubleStar } from '../../patterns/cilium.ts'
import { NAMESPACE_LABEL } from '../../rules.ts'
import type { LabelSelector, Policy, Rule } from '../../rules.ts'
import type { At, Reader } from '../reader.ts'
import { readEgress } from './egress.ts'
import { inNamespace, readSelector } from './selector.ts'

export interface SpecContext {
  readonly name: string
  /** Null for a cluster-wide policy. */
  readonly namespace: string | null
  readonly doubleStar: DoubleStar
}

const INGRESS = 'ingress policy is not enforced'

/** One `spec`, or one item of `specs`. Undefined when it has no subject. */
export function readSpec(reader: Reader, value: At, context: SpecContext): Policy | undefined {
  const fields = reader.object(value, {
    fields: ['endpointSelector', 'egress', 'egressDeny', 'enableDefaultDeny', 'labels', 'description'],
    refused: {
      ingress: INGRESS,
      ingressDeny: INGRESS,
      nodeSelector: 'host policy is not enforced',
      log: 'a Cilium field that is not enforced',
    },
  })
  if (fields === undefined) return undefined
  const rules = (['egress', 'egressDeny'] as const).flatMap((field) =>
    readRules(reader, fields.get(field), field, context),
  )
  if (!fields.has('egress') && !fields.has('egressDeny')) {
    reader.error(value.tree.at, `${value.path} needs egress or egressDeny`)
  }
  const defaultDeny = readDefaultDeny(reader, fields.get('enableDefaultDeny'))
  const subject = readSubject(reader, value, fields.get('endpointSelector'), context.namespace)
  if (subject === undefined) return undefined
  return { name: context.name, namespace: context.namespace, origin: reader.origin(value), subject, defaultDeny, rules }
}

function readRules(
  reader: Reader,
  value: At | undefined,
  field: 'egress' | 'egressDeny',
  context: SpecContext,
): Rule[] {
  if (value === undefined) return []
  if (value.tree.kind === 'list' && value.tree.items.length === 0) {
    reader.warn(
      value.tree.at,
      `${value.path} is empty: the policy selects its endpoints and ${field === 'egress' ? 'allows' : 'denies'} nothing by it`,
    )
  }
  const { namespace, doubleStar } = context
  return (reader.list(value) ?? []).flatMap((item) =>
    readEgress(reader, item, { namespace, doubleStar, deny: field === 'egressDeny' }),
  )
}

function readDefaultDeny(reader: Reader, value: At | undefined): boolean {
  if (value === undefined) return true
  const fields = reader.object(value, { fields: ['egress', 'ingress'] })
  const ingress = fields?.get('ingress')
  if (ingress !== undefined && reader.boolean(ingress) === true)
    reader.error(ingress.tree.at, `${ingress.path}: ${INGRESS}`)
  const egress = fields?.get('egress')
  return egress === undefined ? true : (reader.boolean(egress) ?? true)
}

function readSubject(
  reader: Reader,
  spec: At,
  value: At | undefined,
  namespace: string | null,
): LabelSelector | undefined {
  if (value === undefined) {
    reader.error(spec.tree.at, `${spec.path} needs endpointSelector`, '{} selects every endpoint of the namespace')
    return undefined
  }
  const selector = readSelector(reader, value)
  if (selector === undefined || namespace === null) return selector
  const foreign = selector.some(
    ({ key, operator, values }) => key === NAMESPACE_LABEL && operator === 'In' && !values.includes(namespace),
  )
  if (foreign) {
    reader.error(
      value.tree.at,
      `${value.path} names another namespace than the policy's (${namespace})`,
      'a policy selects endpoints of its own namespace; CiliumClusterwideNetworkPolicy selects in all',
    )
  }
  return [...selector, inNamespace(namespace)]
}

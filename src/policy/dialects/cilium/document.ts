import { suggest } from '../../../core/suggest.ts'
import type { DoubleStar } from '../../patterns/cilium.ts'
import type { Policy } from '../../rules.ts'
import type { At, Reader } from '../reader.ts'
import { readSpec } from './spec.ts'

const API_VERSION = 'cilium.io/v2'
const NAMESPACED = 'CiliumNetworkPolicy'
const CLUSTER_WIDE = 'CiliumClusterwideNetworkPolicy'
const LISTS = ['List', `${NAMESPACED}List`, `${CLUSTER_WIDE}List`]

/** Other policies: leaving one of these out would leave something open that the file says is closed. */
const OTHER_POLICIES = [
  'NetworkPolicy',
  'FQDNNetworkPolicy',
  'ClusterNetworkPolicy',
  'AdminNetworkPolicy',
  'BaselineAdminNetworkPolicy',
  'CiliumCIDRGroup',
  'CiliumEgressGatewayPolicy',
  'CiliumLocalRedirectPolicy',
]

/** Objects that often stand in the same file and are no policy. */
const HARMLESS = [
  'Namespace',
  'Service',
  'ServiceAccount',
  'ConfigMap',
  'Secret',
  'Pod',
  'Deployment',
  'DaemonSet',
  'StatefulSet',
  'ReplicaSet',
  'Job',
  'CronJob',
  'Ingress',
  'Role',
  'RoleBinding',
  'ClusterRole',
  'ClusterRoleBinding',
  'CustomResourceDefinition',
]

/** One object of a file: a policy, a list of objects, or something else. */
export function readDocument(reader: Reader, value: At, doubleStar: DoubleStar, nested = false): Policy[] {
  const { tree, path } = value
  if (tree.kind !== 'map') {
    reader.object(value, { fields: [] })
    return []
  }
  const field = (key: string): At | undefined => {
    const entry = tree.entries.find((one) => one.key === key)
    return entry === undefined ? undefined : { tree: entry.value, path: path === '' ? key : `${path}.${key}` }
  }
  const kindAt = field('kind')
  if (kindAt === undefined) {
    reader.error(tree.at, `${path === '' ? 'the document' : path} has no kind`)
    return []
  }
  const kind = reader.string(kindAt)
  if (kind === undefined) return []
  if (LISTS.includes(kind) && !nested) return readList(reader, value, doubleStar)
  if (kind !== NAMESPACED && kind !== CLUSTER_WIDE) {
    if (HARMLESS.includes(kind)) {
      reader.warn(kindAt.tree.at, `kind ${kind} is no policy and is passed over`)
      return []
    }
    const other = OTHER_POLICIES.includes(kind)
    const near = other ? undefined : suggest(kind, [NAMESPACED, CLUSTER_WIDE])
    reader.error(
      kindAt.tree.at,
      `kind ${kind} is ${other ? 'not enforced' : 'unknown'}`,
      near === undefined ? undefined : `did you mean ${near}?`,
    )
    return []
  }
  const version = field('apiVersion')
  if (version === undefined || reader.string(version) !== API_VERSION) {
    reader.error((version ?? value).tree.at, `apiVersion must be ${API_VERSION}`)
  }
  return readPolicy(reader, value, kind === CLUSTER_WIDE, doubleStar)
}

function readList(reader: Reader, value: At, doubleStar: DoubleStar): Policy[] {
  const fields = reader.object(value, { fields: ['apiVersion', 'kind', 'metadata', 'items'] })
  const items = fields?.get('items')
  return items === undefined
    ? []
    : (reader.list(items) ?? []).flatMap((item) => readDocument(reader, item, doubleStar, true))
}

function readPolicy(reader: Reader, value: At, clusterWide: boolean, doubleStar: DoubleStar): Policy[] {
  const fields = reader.object(value, { fields: ['apiVersion', 'kind', 'metadata', 'spec', 'specs', 'status'] })
  if (fields === undefined) return []
  const { name, namespace } = readMetadata(reader, value, fields.get('metadata'), clusterWide)
  const spec = fields.get('spec')
  const specs = fields.get('specs')
  const places = [...(spec === undefined ? [] : [spec]), ...(specs === undefined ? [] : (reader.list(specs) ?? []))]
  if (places.length === 0)
    reader.error(value.tree.at, `${value.path === '' ? 'the policy' : value.path} needs spec or specs`)
  return places.flatMap((place) => readSpec(reader, place, { name, namespace, doubleStar }) ?? [])
}

/** Without a namespace a policy lands in `default`, as kubectl puts it. */
function readMetadata(
  reader: Reader,
  value: At,
  metadata: At | undefined,
  clusterWide: boolean,
): { name: string; namespace: string | null } {
  const read = (key: string): At | undefined => {
    const entry = metadata?.tree.kind === 'map' ? metadata.tree.entries.find((one) => one.key === key) : undefined
    return entry === undefined ? undefined : { tree: entry.value, path: `${metadata?.path ?? ''}.${key}` }
  }
  const nameAt = read('name')
  if (nameAt === undefined) reader.error((metadata ?? value).tree.at, 'metadata.name is missing')
  const name = nameAt === undefined ? undefined : reader.string(nameAt)
  const namespaceAt = read('namespace')
  if (clusterWide) {
    if (namespaceAt !== undefined) reader.warn(namespaceAt.tree.at, 'a cluster-wide policy has no namespace')
    return { name: name ?? '', namespace: null }
  }
  const namespace = namespaceAt === undefined ? 'default' : reader.string(namespaceAt)
  return { name: name ?? '', namespace: namespace ?? 'default' }
}

import Type from 'typebox'
import { stringify } from 'yaml'
import { API_GROUP, API_VERSION, NODE_KIND } from '../src/wg/directory/document.ts'
import { nodeRecordSchema } from '../src/wg/directory/record.ts'

/** JSON schema as the agent checks by it. */
interface Json {
  readonly type?: string
  readonly const?: unknown
  readonly anyOf?: readonly Json[]
  readonly properties?: Readonly<Record<string, Json>>
  readonly required?: readonly string[]
  readonly items?: Json
  readonly [limit: string]: unknown
}
type OpenApi = Readonly<Record<string, unknown>>

const LIMITS = ['pattern', 'minLength', 'maxLength', 'minimum', 'maximum', 'minItems', 'maxItems'] as const

/**
 * A structural OpenAPI schema that accepts what the JSON schema accepts. Properties that are not named are pruned by the API
 * server, and passed over by the agent.
 */
export function structural(schema: Json): OpenApi {
  if (schema.anyOf !== undefined) return union(schema.anyOf)
  const limits = Object.fromEntries(LIMITS.flatMap((key) => (schema[key] === undefined ? [] : [[key, schema[key]]])))
  switch (schema.type) {
    case 'object':
      return {
        type: 'object',
        required: schema.required ?? [],
        properties: Object.fromEntries(
          Object.entries(schema.properties ?? {}).map(([key, child]) => [key, structural(child)]),
        ),
      }
    case 'array':
      return { type: 'array', ...limits, items: structural(schema.items ?? {}) }
    case 'integer':
      return { type: 'integer', format: 'int64', ...limits }
    case 'string':
      return { type: 'string', ...limits }
    default:
      throw new TypeError(`a resource cannot have a value of type ${String(schema.type)}`)
  }
}

function union(options: readonly Json[]): OpenApi {
  const values = options.filter(({ type }) => type !== 'null')
  const nullable = values.length < options.length ? { nullable: true } : {}
  if (values.every((option) => option.const !== undefined)) {
    const type = typeof values[0]?.const === 'number' ? 'integer' : 'string'
    return { type, enum: values.map((option) => option.const), ...nullable }
  }
  const [only] = values
  if (only === undefined || values.length > 1) throw new TypeError('a structural schema has no unions')
  return { ...structural(only), ...nullable }
}

const Count = Type.Integer({ minimum: 0, maximum: 1_000_000 })
const WallMs = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const Short = Type.String({ maxLength: 253 })

/** What a node says of its peers; nobody watches it but people. */
const statusSchema = Type.Object({
  /** Of the record that this was true for. */
  revision: WallMs,
  updated: WallMs,
  peers: Type.Object({ expected: Count, active: Count, strict: Count, unproven: Count }),
  slots: Type.Array(Type.Object({ id: Count, programmed: Count, proven: Count, keySince: WallMs }), { maxItems: 2 }),
  rotation: Type.Object({ phase: Short, slot: Type.Union([Type.Null(), Count]), since: WallMs }),
  /** Who is waited for, the first ten. */
  blockedBy: Type.Array(Short, { maxItems: 10 }),
  warnings: Type.Array(Type.String({ maxLength: 512 }), { maxItems: 16 }),
})

/** Rules that compare with what was there: CEL, with `oldSelf`, on updates only. */
const SPEC_RULES = [
  {
    rule: 'self.nodeUID != oldSelf.nodeUID || self.revision >= oldSelf.revision',
    message: 'an older record must not replace a newer one of the same node',
  },
  {
    rule: 'self.nodeUID != oldSelf.nodeUID || self.created == oldSelf.created',
    message: 'the time of the first record of a node does not change, because it decides who owns a key or a prefix',
  },
  {
    rule: 'self.nodeUID != oldSelf.nodeUID || self.domain == oldSelf.domain',
    message: 'a node does not change its domain',
  },
  {
    rule: 'self.nodeUID != oldSelf.nodeUID || self.slots.all(s, oldSelf.slots.all(o, o.id != s.id || o.publicKey == s.publicKey || s.gen > o.gen))',
    message: 'a new key has a higher generation, so that a retired key never comes back',
  },
]
const SLOT_RULES = [
  {
    rule: 'self.slots[0].id == 0 && (self.slots.size() == 1 || (self.slots[1].id == 1 && self.slots[0].port != self.slots[1].port && self.slots[0].publicKey != self.slots[1].publicKey))',
    message: 'slots are 0, or 0 and 1, with ports and keys of their own',
  },
]
const NAME_RULE = {
  rule: 'self.metadata.name == self.spec.node',
  message: 'the name of the object is the name of the node',
}

interface Names {
  readonly kind: string
  readonly plural: string
  readonly singular: string
  readonly shortNames: readonly string[]
}

const definition = (names: Names, schema: OpenApi, columns: readonly OpenApi[]): OpenApi => ({
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `${names.plural}.${API_GROUP}` },
  spec: {
    group: API_GROUP,
    scope: 'Cluster',
    names: { ...names, listKind: `${names.kind}List`, categories: ['sekisho'] },
    versions: [
      {
        name: API_VERSION.split('/')[1],
        served: true,
        storage: true,
        schema: { openAPIV3Schema: schema },
        additionalPrinterColumns: [...columns, { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' }],
      },
    ],
  },
})

const object = (properties: OpenApi, required: readonly string[], rules: readonly OpenApi[]): OpenApi => ({
  type: 'object',
  required,
  properties: { apiVersion: { type: 'string' }, kind: { type: 'string' }, metadata: { type: 'object' }, ...properties },
  ...(rules.length === 0 ? {} : { 'x-kubernetes-validations': rules }),
})

const column = (name: string, type: string, jsonPath: string): OpenApi => ({ name, type, jsonPath })

export const nodeSpecSchema = (): OpenApi => structural(nodeRecordSchema as unknown as Json)

/** deploy/kustomize/crd.yaml. */
export function crdManifest(): string {
  const spec = { ...nodeSpecSchema(), 'x-kubernetes-validations': [...SLOT_RULES, ...SPEC_RULES] }
  const node = definition(
    { kind: NODE_KIND, plural: 'wireguardnodes', singular: 'wireguardnode', shortNames: ['wgn'] },
    object({ spec }, ['spec'], [NAME_RULE]),
    [
      column('Domain', 'string', '.spec.domain'),
      column('Endpoint', 'string', '.spec.endpoints[0].ip'),
      column('Draining', 'integer', '.spec.drain.slot'),
      column('Revision', 'integer', '.spec.revision'),
    ],
  )
  const status = definition(
    {
      kind: `${NODE_KIND}Status`,
      plural: 'wireguardnodestatuses',
      singular: 'wireguardnodestatus',
      shortNames: ['wgns'],
    },
    object({ report: structural(statusSchema as unknown as Json) }, ['report'], []),
    [
      column('Expected', 'integer', '.report.peers.expected'),
      column('Active', 'integer', '.report.peers.active'),
      column('Unproven', 'integer', '.report.peers.unproven'),
      column('Rotation', 'string', '.report.rotation.phase'),
    ],
  )
  const head = '# Written by `make docs` from src/wg/directory/record.ts and tools/crd.ts; edits here are lost.\n'
  return (
    head + [node, status].map((one) => stringify(one, { lineWidth: 0, aliasDuplicateObjects: false })).join('---\n')
  )
}

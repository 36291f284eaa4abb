import { expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { leaves, variableOf } from '../../src/config/environment.ts'
import type { Section } from '../../src/config/kinds.ts'
import { loadConfig } from '../../src/config/load.ts'
import { configSchema, type Config } from '../../src/config/schema.ts'
import { ROUTES } from '../../src/http/metrics.ts'
import { loadPolicies } from '../../src/policy/load.ts'
import { crdManifest } from '../../tools/crd.ts'
import { manifestsOf, type Manifest } from '../support/api-server.ts'
import { files, read } from './tree.ts'

interface Container {
  readonly args: readonly string[]
  readonly image: string
  readonly env: readonly { readonly name: string; readonly value?: string }[]
  readonly livenessProbe: { readonly httpGet: Probe }
  readonly readinessProbe: { readonly httpGet: Probe }
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[]
}
interface Probe {
  readonly host: string
  readonly port: number
  readonly path: string
}
interface DaemonSet {
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly containers: readonly [Container]
        readonly volumes: readonly { readonly name: string; readonly hostPath?: { readonly path: string } }[]
        readonly hostNetwork: boolean
        readonly hostPID?: boolean
      }
    }
  }
}

const folder = 'deploy/kustomize'
const load = (name: string): unknown => parse(read(`${folder}/${name}`))
const pod = (load('daemonset.yaml') as DaemonSet).spec.template.spec
const [agent] = pod.containers

function configuration(): Config {
  const { data } = load('configuration.yaml') as { data: Record<string, string> }
  const loaded = loadConfig(data['sekisho.yaml'], {})
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.error))
  return loaded.value
}

test('every manifest is YAML, and kustomization lists each', () => {
  const manifests = files(/^deploy\/kustomize\/.*\.yaml$/)
  for (const path of manifests) {
    for (const document of parseAllDocuments(read(path)))
      expect('errors' in document ? document.errors : []).toEqual([])
  }
  const { resources } = load('kustomization.yaml') as { resources: string[] }
  expect([...resources, 'kustomization.yaml'].sort()).toEqual(manifests.map((path) => path.slice(folder.length + 1)))
})

test('the ConfigMap is a good configuration, and its folders are mounted', () => {
  const config = configuration()
  const mounted = (path: string): boolean =>
    agent.volumeMounts.some(({ mountPath }) => path === mountPath || path.startsWith(`${mountPath}/`))
  for (const path of [...config.policy.paths, config.datapath.endpoints, config.datapath.bpffs, config.state.dir]) {
    expect(mounted(path), path).toBe(true)
  }
  expect(mounted(agent.args.at(-1) ?? '')).toBe(true)
  const volumes = pod.volumes.map(({ name }) => name).sort()
  expect(agent.volumeMounts.map(({ name }) => name).sort()).toEqual(volumes)
})

test('maps and state outlive the pod', () => {
  const config = configuration()
  const host = pod.volumes.flatMap(({ hostPath }) => (hostPath === undefined ? [] : [hostPath.path]))
  expect(host).toEqual(expect.arrayContaining([config.datapath.bpffs, config.state.dir]))
  expect(pod.hostNetwork).toBe(true)
})

test('the probes ask what the agent answers', () => {
  const { http } = configuration()
  for (const { httpGet } of [agent.livenessProbe, agent.readinessProbe]) {
    expect(httpGet).toMatchObject({ host: http.address, port: http.port })
    expect(ROUTES).toContain(httpGet.path)
  }
})

test('variables of the pod are settings', () => {
  const known = [...leaves(configSchema as unknown as Section)].map(({ path }) => variableOf(path))
  for (const { name } of agent.env) expect(known).toContain(name)
})

test('the example policies are good', () => {
  const { data } = load('policies.yaml') as { data: Record<string, string> }
  const loaded = loadPolicies(
    Object.entries(data).map(([path, text]) => ({ path, text })),
    { doubleStar: 'labels' },
  )
  expect(loaded.problems).toEqual([])
  expect(loaded.policies.length).toBeGreaterThan(0)
})

const manifests = <T extends object>(name: string): readonly (Manifest & T)[] => manifestsOf(read(`${folder}/${name}`))

interface Definition {
  readonly spec: {
    readonly group: string
    readonly scope: string
    readonly names: { readonly kind: string; readonly plural: string }
    readonly versions: readonly {
      readonly name: string
      readonly subresources?: object
      readonly schema: { readonly openAPIV3Schema: Schema }
      readonly additionalPrinterColumns: readonly { readonly jsonPath: string }[]
    }[]
  }
}
interface Schema {
  readonly type?: string
  readonly properties?: Readonly<Record<string, Schema>>
  readonly items?: Schema
  readonly enum?: readonly unknown[]
  readonly nullable?: boolean
  readonly required?: readonly string[]
  readonly [key: string]: unknown
}

test('crd.yaml is what the schema of the record says (make docs)', () => {
  expect(read(`${folder}/crd.yaml`)).toBe(crdManifest())
})

test('the resources are cluster-wide, structural, without status, and their columns show what is there', () => {
  const definitions = manifests<Definition>('crd.yaml')
  expect(definitions.map(({ spec }) => spec.names.kind)).toEqual(['WireGuardNode', 'WireGuardNodeStatus'])
  for (const { metadata, spec } of definitions) {
    expect(spec.scope).toBe('Cluster')
    expect(metadata.name).toBe(`${spec.names.plural}.${spec.group}`)
    for (const version of spec.versions) {
      expect(version.subresources).toBeUndefined()
      const root = version.schema.openAPIV3Schema
      everyLevel(root, (level) => {
        expect(level.type).toBeTypeOf('string')
        for (const word of ['anyOf', 'const', '$ref', 'kind']) expect(Object.keys(level)).not.toContain(word)
      })
      for (const { jsonPath } of version.additionalPrinterColumns) {
        const steps = jsonPath
          .replaceAll(/\[\d+\]/g, '.[]')
          .split('.')
          .filter((step) => step !== '')
        if (steps[0] === 'metadata') continue
        expect(
          steps.reduce<Schema | undefined>((at, step) => (step === '[]' ? at?.items : at?.properties?.[step]), root),
          jsonPath,
        ).toBeDefined()
      }
    }
  }
})

function everyLevel(schema: Schema, look: (level: Schema) => void): void {
  look(schema)
  for (const child of Object.values(schema.properties ?? {})) everyLevel(child, look)
  if (schema.items !== undefined) everyLevel(schema.items, look)
}

test('an agent may write records, and admission holds it to its own', () => {
  const [account, role, binding] = manifests<{
    rules?: { apiGroups: string[]; resources: string[]; verbs: string[] }[]
    roleRef?: { name: string }
    subjects?: { name: string; namespace: string }[]
  }>('rbac.yaml')
  const [policy, bound] = manifests<{
    spec: {
      failurePolicy?: string
      policyName?: string
      validationActions?: string[]
      matchConditions?: { expression: string }[]
      matchConstraints?: { resourceRules: { resources: string[]; operations: string[]; apiGroups: string[] }[] }
    }
  }>('admission.yaml')
  const plurals = manifests<Definition>('crd.yaml').map(({ spec }) => spec.names.plural)
  expect(role?.rules?.flatMap(({ resources }) => resources)).toEqual(plurals)
  expect(role?.rules?.[1]?.verbs).not.toContain('watch')
  expect(binding?.roleRef?.name).toBe(role?.metadata.name)
  expect(binding?.subjects?.[0]?.name).toBe(account?.metadata.name)
  const [rule] = policy?.spec.matchConstraints?.resourceRules ?? []
  expect(rule).toMatchObject({ resources: plurals, apiGroups: ['sekisho.dev'] })
  expect(new Set(rule?.operations)).toEqual(new Set(['CREATE', 'UPDATE', 'DELETE']))
  expect(policy?.spec.failurePolicy).toBe('Fail')
  const { namespace } = parse(read(`${folder}/kustomization.yaml`)) as { namespace: string }
  const user = `system:serviceaccount:${namespace}:${account?.metadata.name}`
  expect(policy?.spec.matchConditions?.[0]?.expression).toBe(`request.userInfo.username == '${user}'`)
  expect(binding?.subjects?.[0]?.namespace).toBe(namespace)
  expect(bound?.spec).toEqual({ policyName: policy?.metadata.name, validationActions: ['Deny'] })
  expect((load('daemonset.yaml') as { spec: { template: { spec: object } } }).spec.template.spec).toMatchObject({
    serviceAccountName: account?.metadata.name,
  })
})

test('the pod has what the seal writes and reads of the host', () => {
  const procfs = agent.env.find(({ name }) => name === 'SEKISHO_NODE_PROCFS')?.value
  const mounts = agent.volumeMounts.map(({ mountPath }) => mountPath)
  expect(mounts).toEqual(expect.arrayContaining([`${procfs}/sys/net`, '/etc/machine-id']))
  // Kernel threads are in the host's PID namespace.
  expect(pod.hostPID).toBe(true)
})

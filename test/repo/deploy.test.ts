import { expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { leaves, variableOf } from '../../src/config/environment.ts'
import type { Section } from '../../src/config/kinds.ts'
import { loadConfig } from '../../src/config/load.ts'
import { configSchema, type Config } from '../../src/config/schema.ts'
import { ROUTES } from '../../src/http/metrics.ts'
import { loadPolicies } from '../../src/policy/load.ts'
import { files, read } from './tree.ts'

interface Container {
  readonly args: readonly string[]
  readonly image: string
  readonly env: readonly { readonly name: string }[]
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

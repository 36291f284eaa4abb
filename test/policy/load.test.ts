import { describe, expect, test } from 'vitest'
import { loadPolicies } from '../../src/policy/load.ts'
import { endpoint } from './support/build.ts'

const file = (path: string, app: string, ...egress: string[]): { path: string; text: string } => ({
  path,
  text: [
    'apiVersion: cilium.io/v2',
    'kind: CiliumNetworkPolicy',
    `metadata: { name: ${app} }`,
    'spec:',
    `  endpointSelector: { matchLabels: { app: ${app} } }`,
    '  egress:',
    ...egress.map((line) => `  ${line}`),
  ].join('\n'),
})
const NAMES = '- toFQDNs: [{ matchName: a.io }]'
const LOOKUPS = '- toPorts: [{ ports: [{ port: "53" }], rules: { dns: [{ matchPattern: "*" }] } }]'

describe('a set of policy files', () => {
  test('good files count although another is broken, and the whole is not ok', () => {
    const loaded = loadPolicies([file('a.yaml', 'a', LOOKUPS), { path: 'b.yaml', text: 'kind: X' }])
    expect(loaded.ok).toBe(false)
    expect(loaded.policies).toHaveLength(1)
    expect(loaded.problems.map((problem) => problem.file)).toEqual(['b.yaml'])
  })
})

describe('names that can never be learned', () => {
  const blind = (files: { path: string; text: string }[], endpoints?: ReturnType<typeof endpoint>[]): string[] =>
    loadPolicies(files, endpoints === undefined ? {} : { endpoints }).problems.map(
      ({ file: path, line, column, severity }) => `${path}:${line}:${column} ${severity}`,
    )
  test('are told where no policy of the namespace has a DNS rule', () => {
    expect(blind([file('a.yaml', 'a', NAMES)])).toEqual(['a.yaml:7:28 warning'])
    expect(blind([file('a.yaml', 'a', NAMES), file('b.yaml', 'b', LOOKUPS)])).toEqual([])
  })
  test('are told exactly when the endpoints are known', () => {
    const files = [file('a.yaml', 'a', NAMES), file('b.yaml', 'b', LOOKUPS)]
    expect(blind(files, [endpoint(1, 'a', '10.0.0.1')])).toEqual(['a.yaml:7:28 warning'])
    expect(blind(files, [endpoint(1, 'b', '10.0.0.1')])).toEqual([])
    expect(blind([file('a.yaml', 'a', NAMES, LOOKUPS)], [endpoint(1, 'a', '10.0.0.1')])).toEqual([])
  })
})

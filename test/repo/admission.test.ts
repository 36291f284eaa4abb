import { describe, expect, it } from 'vitest'
import { denial, manifestsOf, type AdmissionPolicy, type AdmissionRequest } from '../support/api-server.ts'
import { read } from './tree.ts'

const [policy] = manifestsOf<AdmissionPolicy>(read('deploy/kustomize/admission.yaml'))
const AGENT = 'system:serviceaccount:sekisho:sekisho'
const CLAIM = 'authentication.kubernetes.io/node-name'
const RESOURCES = ['wireguardnodes', 'wireguardnodestatuses'] as const
const owner = (change: object = {}): object => ({ apiVersion: 'v1', kind: 'Node', name: 'node-a', uid: 'u', ...change })

interface Case {
  readonly operation?: AdmissionRequest['operation']
  readonly resource?: string
  readonly group?: string
  readonly username?: string
  /** Of the token; null: no extra at all. */
  readonly node?: string | readonly string[] | null
  readonly name?: string
  readonly metadata?: object
}

function asked(given: Case): string | undefined {
  const { operation = 'CREATE', resource = 'wireguardnodes', name = 'node-a', node = 'node-a' } = given
  if (policy === undefined) throw new Error('there is no policy')
  const claims = typeof node === 'string' ? [node] : node
  const request: AdmissionRequest = {
    operation,
    resource: { group: given.group ?? 'sekisho.dev', resource },
    userInfo: {
      username: given.username ?? AGENT,
      ...(claims === null ? {} : { extra: claims.length === 0 ? {} : { [CLAIM]: claims } }),
    },
  }
  const object = { metadata: { name, ...given.metadata }, spec: {} }
  return denial(policy, request, operation === 'DELETE' ? null : object, operation === 'CREATE' ? null : object)
}

describe('the admission policy lets an agent', () => {
  it.each(
    RESOURCES.flatMap((resource) => (['CREATE', 'UPDATE', 'DELETE'] as const).map((op) => [op, resource] as const)),
  )('%s the object of its own node: %s', (operation, resource) => {
    expect(asked({ operation, resource })).toBeUndefined()
  })

  it('name its Node as the owner, and none', () => {
    expect(asked({ metadata: { ownerReferences: [owner()] } })).toBeUndefined()
    expect(asked({ metadata: { ownerReferences: [] } })).toBeUndefined()
    expect(asked({ metadata: { finalizers: [] } })).toBeUndefined()
  })
})

describe('the admission policy keeps an agent from', () => {
  it.each(
    RESOURCES.flatMap((resource) => (['CREATE', 'UPDATE', 'DELETE'] as const).map((op) => [op, resource] as const)),
  )('%s the object of another node: %s', (operation, resource) => {
    expect(asked({ operation, resource, name: 'node-b' })).toBe(
      'an agent on node-a must not write the object of node-b',
    )
  })

  it('writing anything with a token that names no node', () => {
    const message = 'the token names no node; it must be that of a pod (Kubernetes 1.30 or later)'
    expect(asked({ node: [] })).toBe(message)
    expect(asked({ node: '' })).toBe(message)
    // The object of no name is nobody's either.
    expect(asked({ node: [], name: '' })).toBe(message)
    // A field that is not there is an error of the expression; such are denials.
    expect(asked({ node: null })).toMatch(/^error: .*extra/)
  })

  it('names that only begin as its own', () => {
    for (const name of ['node-a2', 'node-a.example', 'node-', 'NODE-A']) expect(asked({ name })).toBeDefined()
  })

  it('letting another object own the record', () => {
    const message = 'only the Node may own the object'
    for (const change of [{ name: 'node-b' }, { kind: 'Pod' }, { apiVersion: 'v2' }]) {
      expect(asked({ metadata: { ownerReferences: [owner(change)] } })).toBe(message)
      expect(asked({ operation: 'UPDATE', metadata: { ownerReferences: [owner(), owner(change)] } })).toBe(message)
    }
  })

  it('keeping the record with a finalizer, and not from deleting one that has', () => {
    const metadata = { finalizers: ['example.com/keep'] }
    expect(asked({ metadata })).toBe('the object must have no finalizers')
    expect(asked({ operation: 'UPDATE', metadata })).toBe('the object must have no finalizers')
    expect(asked({ operation: 'DELETE', metadata })).toBeUndefined()
  })
})

it('the admission policy is for agents and their resources: others are held by RBAC', () => {
  expect(asked({ username: 'admin', node: null, name: 'node-b' })).toBeUndefined()
  expect(asked({ username: `${AGENT}-2`, name: 'node-b' })).toBeUndefined()
  expect(asked({ group: 'other.dev', name: 'node-b' })).toBeUndefined()
  expect(asked({ resource: 'pods', name: 'node-b' })).toBeUndefined()
})

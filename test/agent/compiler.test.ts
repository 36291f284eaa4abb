import { describe, expect, it } from 'vitest'
import { Compiler } from '../../src/compiler.ts'
import { parseIp } from '../../src/core/ip.ts'
import type { CompileRequest, SourceFile } from '../../src/policy/compiler-protocol.ts'
import { openSnapshot } from '../../src/policy/snapshot.ts'

const policy = (app: string, name: string): string => `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: { name: ${app}, namespace: default }
spec:
  endpointSelector: { matchLabels: { app: ${app} } }
  egress:
    - toFQDNs: [{ matchName: ${name} }]
`

const pod = (id: number, app: string, address: string) => ({
  id,
  name: app,
  namespace: 'default',
  labels: { app },
  addresses: [parseIp(address)],
})

function request(files: readonly SourceFile[], more: Partial<CompileRequest> = {}): CompileRequest {
  return {
    sequence: 1,
    generation: 1,
    files,
    lastGood: {},
    endpoints: [pod(1, 'a', '10.0.0.1'), pod(2, 'b', '10.0.0.2')],
    hostAddresses: [],
    doubleStar: 'labels',
    ...more,
  }
}

/** Which endpoints the snapshot enforces, and which names it selects. */
function inForce(buffer: SharedArrayBuffer | undefined): string {
  if (buffer === undefined) return 'no snapshot'
  const snapshot = openSnapshot(buffer)
  const enforced = snapshot.endpoints.filter((endpoint) => endpoint.enforced).map(({ name }) => name)
  const names = Array.from({ length: snapshot.selectorCount }, (_, i) => snapshot.selectorLabel(i)).sort()
  return `${enforced.join(',')} ${names.join(',')}`
}

const a = { path: '/p/a.yaml', text: policy('a', 'one.example') }
const b = { path: '/p/b.yaml', text: policy('b', 'two.example') }
const broken = { path: '/p/a.yaml', text: policy('a', 'three.example').replace('toFQDNs', 'toFQDN') }

describe('the compiler', () => {
  it('compiles every file together', () => {
    expect(inForce(new Compiler().compile(request([a, b])).buffer)).toBe('a,b fqdn:one.example,fqdn:two.example')
  })

  it('keeps the last good version of a broken file, and takes what is good beside it', () => {
    const compiler = new Compiler()
    compiler.compile(request([a]))
    const reply = compiler.compile(request([broken, b]))
    expect(inForce(reply.buffer)).toBe('a,b fqdn:one.example,fqdn:two.example')
    expect(reply.problems.filter(({ severity }) => severity === 'error')).toMatchObject([
      { file: '/p/a.yaml', line: 7, column: 7 },
    ])
    expect(reply.inForce.find(({ path }) => path === a.path)?.text).toBe(a.text)
  })

  it('makes no snapshot when it never saw a good version: what the file selects must not be open', () => {
    expect(inForce(new Compiler().compile(request([broken, b])).buffer)).toBe('no snapshot')
  })

  it('takes the version that was in force before it was started', () => {
    const reply = new Compiler().compile(request([broken, b], { lastGood: { [a.path]: a.text } }))
    expect(inForce(reply.buffer)).toBe('a,b fqdn:one.example,fqdn:two.example')
  })

  it('leaves a new broken file out while an older policy is in force', () => {
    const compiler = new Compiler()
    compiler.compile(request([b]))
    expect(inForce(compiler.compile(request([b, broken])).buffer)).toBe('b fqdn:two.example')
  })

  it('keeps what a file said that cannot be read now', () => {
    const compiler = new Compiler()
    compiler.compile(request([a, b]))
    const reply = compiler.compile(request([{ path: a.path, unreadable: 'EIO' }, b]))
    expect(inForce(reply.buffer)).toBe('a,b fqdn:one.example,fqdn:two.example')
    expect(reply.problems.some(({ message }) => message === 'EIO')).toBe(true)
  })

  it('forgets a file that is gone, and does not bring it back when it comes back broken', () => {
    const compiler = new Compiler()
    compiler.compile(request([a, b]))
    expect(inForce(compiler.compile(request([b])).buffer)).toBe('b fqdn:two.example')
    expect(inForce(compiler.compile(request([b, broken])).buffer)).toBe('b fqdn:two.example')
  })

  it('makes no snapshot of endpoints that contradict each other', () => {
    const compiler = new Compiler()
    compiler.compile(request([a]))
    const reply = compiler.compile(request([a], { endpoints: [pod(1, 'a', '10.0.0.1'), pod(2, 'b', '10.0.0.1')] }))
    expect(reply.buffer).toBeUndefined()
    expect(reply.problems.some(({ message }) => message.includes('10.0.0.1'))).toBe(true)
  })
})

import { parseCidr, parseIp, writeAddr16 } from '../src/core/ip.ts'
import { parseFqdn } from '../src/core/fqdn.ts'
import { compilePolicy } from '../src/policy/compile.ts'
import { parseCiliumPattern } from '../src/policy/patterns/cilium.ts'
import type { DomainPattern } from '../src/policy/patterns/pattern.ts'
import { openSnapshot } from '../src/policy/snapshot.ts'
import { UPSTREAM } from './ground.ts'
import type { EndpointRules } from './policy-set.ts'

/** Decides whether the i-th of the names it was made for is allowed. */
export type Matcher = (i: number) => boolean

const origin = { file: 'bench', line: 1, column: 1, path: 'spec' }
const UDP = 17

function patternsOf(rules: EndpointRules): DomainPattern[] {
  const read = (kind: 'dns.matchName' | 'dns.matchPattern', text: string): DomainPattern => {
    const result = parseCiliumPattern(kind, text, 'labels')
    if (!result.ok) throw new Error(result.error)
    return result.value
  }
  return [
    ...rules.names.map((text) => read('dns.matchName', text)),
    ...[...rules.stars, ...rules.doubleStars].map((text) => read('dns.matchPattern', text)),
  ]
}

/** The product's own: rules compiled to a snapshot, and the verdict that a dns worker asks of it. */
export function snapshotMatcher(rules: EndpointRules): (names: readonly string[]) => Matcher {
  const dns = patternsOf(rules).map((pattern) => ({ pattern, origin }))
  const peer = { kind: 'cidr', cidr: parseCidr(`${UPSTREAM}/32`), except: [], origin } as const
  const ports = [{ protocol: 'ANY', port: 53, endPort: 53 }] as const
  const compiled = compilePolicy({
    generation: 1,
    policies: [
      {
        name: 'bench',
        namespace: null,
        origin,
        subject: [],
        defaultDeny: true,
        rules: [{ deny: false, peers: [peer], ports, dns, origin }],
      },
    ],
    endpoints: [{ id: 1, name: 'pod', namespace: 'bench', labels: {}, addresses: [parseIp('172.20.1.1')] }],
  })
  if (compiled.buffer === undefined) throw new Error(compiled.problems.map((p) => p.message).join('; '))
  const snapshot = openSnapshot(compiled.buffer)
  const server = new Uint8Array(16)
  writeAddr16(parseIp(UPSTREAM), server, 0)
  return (names) => {
    const wires = names.map((name) => parseFqdn(name))
    return (i) => {
      const wire = wires[i]
      return wire !== undefined && snapshot.verdict(0, server, 0, UDP, 53, wire, 0) === 2
    }
  }
}

const LABEL = '[-a-z0-9_]'
const literal = (text: string): string => text.replaceAll('.', '[.]')

/** The peer: one alternation of all patterns on the name as text, as Cilium's proxy does it. Throws when V8 refuses it. */
export function regexpMatcher(rules: EndpointRules): (names: readonly string[]) => Matcher {
  const alternatives = [
    ...rules.names.map(literal),
    ...rules.stars.map((p) => `${LABEL}*${literal(p.slice(1))}`),
    ...rules.doubleStars.map((p) => `(?:${LABEL}+[.])+${literal(p.slice(3))}`),
  ]
  const expression = new RegExp(`^(?:${alternatives.join('|')})[.]$`)
  expression.test('first-use-compiles.')
  return (names) => (i) => expression.test(`${names[i]}.`)
}

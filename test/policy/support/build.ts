import { tryParseFqdn } from '../../../src/core/fqdn.ts'
import { parseCidr, parseIp, writeAddr16 } from '../../../src/core/ip.ts'
import { compilePolicy } from '../../../src/policy/compile.ts'
import type { CompileInput } from '../../../src/policy/compile.ts'
import { parsePattern } from '../../../src/policy/patterns.ts'
import type { Dialect, DomainPattern } from '../../../src/policy/patterns.ts'
import type {
  DnsPattern,
  EndpointInput,
  Entity,
  Origin,
  Peer,
  Policy,
  PortRange,
  Rule,
} from '../../../src/policy/rules.ts'
import { openSnapshot } from '../../../src/policy/snapshot.ts'
import type { Snapshot } from '../../../src/policy/snapshot.ts'

/** Short ways to write rules in tests. */

export const origin: Origin = { file: 'test.yaml', line: 1, column: 1, path: 'spec' }

export function pattern(kind: string, text: string, dialect: Dialect = 'cilium'): DomainPattern {
  const parsed = parsePattern(dialect, kind, text)
  if (!parsed.ok) throw new Error(`${text}: ${parsed.error}`)
  return parsed.value
}

export const dns = (...texts: string[]): DnsPattern[] =>
  texts.map((text) => ({ pattern: pattern('dns.matchPattern', text), origin }))
export const fqdn = (text: string): Peer => ({ kind: 'fqdn', pattern: pattern('toFQDNs.matchPattern', text), origin })
export const cidr = (text: string, ...except: string[]): Peer => ({
  kind: 'cidr',
  cidr: parseCidr(text),
  except: except.map((one) => parseCidr(one)),
  origin,
})
export const entity = (name: Entity): Peer => ({ kind: 'entity', entity: name, origin })
export const pods = (labels: Record<string, string>): Peer => ({
  kind: 'endpoints',
  selector: Object.entries(labels).map(([key, value]) => ({ key, operator: 'In', values: [value] })),
  origin,
})

/** `TCP/443`, `ANY/53`, `TCP/8000-8080`, `UDP/0`. */
export function port(text: string): PortRange {
  const [protocol = '', range = ''] = text.split('/')
  const [first = '', last = first] = range.split('-')
  return { protocol: protocol as PortRange['protocol'], port: Number(first), endPort: Number(last) }
}

export const rule = (peers: Peer[], ports: string[] = [], names: DnsPattern[] | null = null): Rule => ({
  deny: false,
  peers,
  ports: ports.map(port),
  dns: names,
  origin,
})
export const deny = (peers: Peer[], ports: string[] = []): Rule => ({ ...rule(peers, ports), deny: true })

/** Selects the endpoints whose label `app` is `app`; undefined selects all. */
export const policy = (app: string | undefined, rules: Rule[], defaultDeny = true): Policy => ({
  name: 'test',
  namespace: null,
  origin,
  subject: app === undefined ? [] : [{ key: 'app', operator: 'In', values: [app] }],
  defaultDeny,
  rules,
})

export const endpoint = (id: number, app: string, ...addresses: string[]): EndpointInput => ({
  id,
  name: `${app}-${id}`,
  namespace: 'default',
  labels: { app },
  addresses: addresses.map(parseIp),
})

export function snapshot(input: Partial<CompileInput>): Snapshot {
  const result = compilePolicy({ generation: 1, policies: [], endpoints: [], ...input })
  if (result.buffer === undefined) throw new Error(result.problems.map(({ message }) => message).join('; '))
  return openSnapshot(result.buffer)
}

export function addr16(text: string): Uint8Array {
  const out = new Uint8Array(16)
  writeAddr16(parseIp(text), out, 0)
  return out
}

export function wire(text: string): Uint8Array {
  const name = text.startsWith('hex:') ? Buffer.from(text.slice(4), 'hex') : tryParseFqdn(text)
  if (name === undefined) throw new Error(`no name: ${text}`)
  return name
}

export const PROTOCOLS = { TCP: 6, UDP: 17 } as const

/** Verdict for the endpoint with this address. */
export function ask(snap: Snapshot, from: string, server: string, at: string, name: string): number {
  const { protocol, port: number } = port(at)
  const index = snap.endpointByAddress(addr16(from), 0)
  return snap.verdict(index, addr16(server), 0, PROTOCOLS[protocol as 'TCP'], number, wire(name), 0)
}

/** Texts of the selectors that stand for the name. */
export function selected(snap: Snapshot, name: string): string[] {
  const out = new Uint32Array(snap.selectorCount)
  const found = snap.matchSelectors(wire(name), 0, out)
  return [...out.subarray(0, found)].map((i) => snap.selectorLabel(i))
}

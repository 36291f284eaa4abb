import { parseFqdn } from '../../src/core/fqdn.ts'
import { cidrContains, formatCidr, parseCidr, parseIp } from '../../src/core/ip.ts'
import type { IdentityLabels, PolicyRow, SelectorView } from '../../src/identity/ports.ts'

export interface FakeRule {
  /** Pattern texts: a name, or `*.` and a name (any number of labels below it). */
  readonly names?: readonly string[]
  readonly cidrs?: readonly { readonly cidr: string; readonly except?: readonly string[] }[]
  /** labelsKey of endpoints. */
  readonly peers?: readonly string[]
  readonly port: number
  readonly verdict: 'allow' | 'deny' | 'redirect'
}

export interface FakeEndpoint {
  readonly id: number
  readonly name: string
  readonly labelsKey?: string
  readonly addresses?: readonly string[]
  /** Index into `policies`; undefined: not enforced. */
  readonly policy?: number
}

export interface FakePolicy {
  readonly generation: number
  readonly endpoints: readonly FakeEndpoint[]
  readonly policies: readonly (readonly FakeRule[])[]
}

export const matches = (pattern: string, name: string): boolean =>
  pattern.startsWith('*.') ? name.endsWith(pattern.slice(1)) : pattern === name

const text = (name: Uint8Array, offset: number): string => {
  const labels: string[] = []
  for (let at = offset; name[at] !== 0; at += 1 + (name[at] ?? 0)) {
    labels.push(String.fromCharCode(...name.subarray(at + 1, at + 1 + (name[at] ?? 0))))
  }
  return labels.join('.')
}

export const wire = (name: string): Uint8Array => parseFqdn(name)

/** Rules of one policy that select an address with these names and of this kind; the plain meaning, for models. */
export function plainVerdict(
  rules: readonly FakeRule[],
  peer: { readonly names: readonly string[]; readonly address: string; readonly labelsKey: string | null },
  port: number,
): 'allow' | 'deny' | 'redirect' | undefined {
  const ip = parseIp(peer.address)
  const found = rules
    .filter((rule) => rule.port === port)
    .filter((rule) => {
      if (peer.labelsKey !== null) return rule.peers?.includes(peer.labelsKey) === true
      const byName = rule.names?.some((pattern) => peer.names.some((name) => matches(pattern, name))) === true
      const byPrefix = rule.cidrs?.some(
        ({ cidr, except }) =>
          cidrContains(parseCidr(cidr), ip) && except?.some((e) => cidrContains(parseCidr(e), ip)) !== true,
      )
      return byName || byPrefix === true
    })
    .map((rule) => rule.verdict)
  return (['deny', 'redirect', 'allow'] as const).find((verdict) => found.includes(verdict))
}

/** A policy as the ledger sees it, worked out the slow and obvious way. */
export function fakeView(policy: FakePolicy): SelectorView {
  const rules = policy.policies.flat()
  const unique = (list: readonly string[]): string[] => [...new Set(list)].sort()
  const selectors = unique(rules.flatMap((rule) => rule.names ?? []))
  const prefixes = unique(
    rules.flatMap((rule) => (rule.cidrs ?? []).flatMap(({ cidr, except }) => [cidr, ...(except ?? [])])),
  ).map((prefix) => parseCidr(prefix))
  const prefixTexts = prefixes.map(formatCidr)
  const shapes = unique(policy.policies.map((list) => JSON.stringify(list)))
  const rulesOf = (shape: number): FakeRule[] => JSON.parse(shapes[shape] ?? '[]') as FakeRule[]
  const rowsFor = (shape: number, labels: IdentityLabels): PolicyRow[] => {
    const names = labels.selectors.map((i) => selectors[i])
    const inside = labels.prefixes.map((i) => prefixTexts[i])
    const byPort = new Map<number, PolicyRow['verdict']>()
    for (const rule of rulesOf(shape)) {
      const selected =
        labels.endpoint !== null
          ? rule.peers?.includes(labels.endpoint) === true
          : rule.names?.some((name) => names.includes(name)) === true ||
            rule.cidrs?.some(
              ({ cidr, except }) => inside.includes(cidr) && except?.some((e) => inside.includes(e)) !== true,
            ) === true
      if (!selected) continue
      const strength = ['allow', 'redirect', 'deny']
      const old = byPort.get(rule.port)
      if (old === undefined || strength.indexOf(rule.verdict) > strength.indexOf(old))
        byPort.set(rule.port, rule.verdict)
    }
    return [...byPort].map(([port, verdict]) => ({ label: 0, protocol: 6, port, portBits: 16, verdict }))
  }
  return {
    generation: policy.generation,
    selectorCount: selectors.length,
    selectorLabel: (i) => `fqdn:${selectors[i]}`,
    matchSelectors(name, offset, out) {
      const asked = text(name, offset)
      let n = 0
      selectors.forEach((pattern, i) => {
        if (matches(pattern, asked)) out[n++] = i
      })
      return n
    },
    prefixes,
    endpoints: policy.endpoints.map((endpoint) => ({
      id: endpoint.id,
      name: endpoint.name,
      namespace: 'test',
      enforced: endpoint.policy !== undefined,
      shape: endpoint.policy === undefined ? -1 : shapes.indexOf(JSON.stringify(policy.policies[endpoint.policy])),
      labelsKey: endpoint.labelsKey ?? `k8s:name=${endpoint.name}`,
      addresses: (endpoint.addresses ?? []).map((address) => parseIp(address)),
    })),
    shapeCount: shapes.length,
    shapeKey: (shape) => shapes[shape] ?? '',
    staticRows: () => [],
    rowsFor,
  }
}

import { endpointLabels } from './labels.ts'
import type { Problem } from './problem.ts'
import type { EndpointInput, Peer, Policy, Rule } from './rules.ts'
import { SubjectIndex } from './subjects.ts'

const hasDns = (policy: Policy): boolean => policy.rules.some(({ dns }: Rule) => dns !== null && dns.length > 0)

const firstName = (policy: Policy): Peer | undefined =>
  policy.rules.flatMap((rule) => rule.peers).find(({ kind }) => kind === 'fqdn')

/** Whether both policies can select one endpoint, as far as their namespaces tell. */
const mayMeet = (a: Policy, b: Policy): boolean =>
  a.namespace === null || b.namespace === null || a.namespace === b.namespace

/**
 * toFQDNs rules whose endpoints have no DNS rule: no look-up passes the gate, so no address is ever learned. With
 * endpoints each is judged by the policies that select it; without, policies of one namespace are taken to meet.
 */
export function learningProblems(policies: readonly Policy[], endpoints?: readonly EndpointInput[]): Problem[] {
  const blind = endpoints === undefined ? blindByNamespace(policies) : blindByEndpoint(policies, endpoints)
  return policies.flatMap((policy) => {
    const peer = firstName(policy)
    if (peer === undefined || !blind.has(policy)) return []
    const { file, line, column } = peer.origin
    const message = 'toFQDNs without any rules.dns for these endpoints: nothing will ever be learned'
    const hint = 'add a rule to the DNS server with rules.dns'
    return [{ file, line, column, severity: 'warning', message, hint }]
  })
}

function blindByNamespace(policies: readonly Policy[]): Set<Policy> {
  const seeing = policies.filter(hasDns)
  return new Set(policies.filter((policy) => !seeing.some((other) => mayMeet(policy, other))))
}

function blindByEndpoint(policies: readonly Policy[], endpoints: readonly EndpointInput[]): Set<Policy> {
  const index = new SubjectIndex(policies)
  const blind = new Set<Policy>()
  for (const endpoint of endpoints) {
    const mine = index.selecting(endpointLabels(endpoint)).flatMap((i) => policies[i] ?? [])
    if (!mine.some(hasDns)) for (const policy of mine) blind.add(policy)
  }
  return blind
}

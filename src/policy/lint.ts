import type { Problem } from './problem.ts'
import type { Policy, Rule } from './rules.ts'

const hasDns = (rule: Rule): boolean => rule.dns !== null && rule.dns.length > 0

/** Whether both policies can select one endpoint, as far as their namespaces tell. */
const mayMeet = (a: Policy, b: Policy): boolean =>
  a.namespace === null || b.namespace === null || a.namespace === b.namespace

/** toFQDNs rules whose endpoints can have no DNS rule: no look-up passes the gate, so no address is ever learned. */
export function learningProblems(policies: readonly Policy[]): Problem[] {
  const withDns = policies.filter((policy) => policy.rules.some(hasDns))
  return policies.flatMap((policy) => {
    const peer = policy.rules.flatMap((rule) => rule.peers).find(({ kind }) => kind === 'fqdn')
    if (peer === undefined || withDns.some((other) => mayMeet(policy, other))) return []
    const { file, line, column } = peer.origin
    return [
      {
        file,
        line,
        column,
        severity: 'warning',
        message: `toFQDNs without any rules.dns for these endpoints: nothing will ever be learned`,
        hint: 'add a rule to the DNS server with rules.dns',
      },
    ]
  })
}

import { selectorMatches } from './labels.ts'
import type { LabelSet } from './labels.ts'
import { NAMESPACE_LABEL } from './rules.ts'
import type { Policy } from './rules.ts'

/** Finds the policies that select an endpoint without asking every policy. */
export class SubjectIndex {
  readonly #policies: readonly Policy[]
  /** `key=value` -> policies that demand it. */
  readonly #byLabel = new Map<string, number[]>()
  readonly #unindexed: number[] = []

  constructor(policies: readonly Policy[]) {
    this.#policies = policies
    policies.forEach((policy, i) => {
      const demands = policy.subject.filter(({ operator }) => operator === 'In')
      const demand = demands.find(({ key }) => key !== NAMESPACE_LABEL) ?? demands[0]
      if (demand === undefined) this.#unindexed.push(i)
      for (const value of new Set(demand?.values)) {
        const name = `${demand?.key ?? ''}=${value}`
        const list = this.#byLabel.get(name)
        if (list === undefined) this.#byLabel.set(name, [i])
        else list.push(i)
      }
    })
  }

  /** Indexes of the policies that select these labels, ascending. */
  selecting(labels: LabelSet): number[] {
    const candidates = [...this.#unindexed]
    for (const [key, value] of labels) candidates.push(...(this.#byLabel.get(`${key}=${value}`) ?? []))
    return candidates.filter((i) => selectorMatches(this.#policies[i]?.subject ?? [], labels)).sort((a, b) => a - b)
  }
}

const ALLOW_ALL_PATH = '(enableDefaultDeny: false)'

/** What a list of policies means together: when none of them denies by default, what no rule covers is open. */
export function combinedRules(policies: readonly Policy[]): Policy['rules'] {
  const rules = policies.flatMap((policy) => policy.rules)
  const first = policies[0]
  if (first === undefined || policies.some((policy) => policy.defaultDeny)) return rules
  const origin = { ...first.origin, path: ALLOW_ALL_PATH }
  return [...rules, { deny: false, peers: [{ kind: 'entity', entity: 'all', origin }], ports: [], dns: null, origin }]
}

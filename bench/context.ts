import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sourceLines } from './load.ts'
import { endpointsFile, namesOf, policyFile, questionLines, rulesOf } from './policy-set.ts'
import type { EndpointRules } from './policy-set.ts'
import type { Contender, Field } from './rounds.ts'
import type { AgentFiles, Agent, Stage, Subject } from './subjects.ts'

/** How much is done: the full bench, or a smoke run that only shows that everything still works. */
export interface Sizes {
  readonly pods: number
  readonly endpoints: number
  readonly patterns: number
  readonly manyRules: number
  readonly namesPerPod: number
  readonly rounds: number
  readonly seconds: number
  /** How many of the standard loads the slow scenarios (pump, profile) take. */
  readonly slowLoads: number
  readonly reloadPatterns: number
  readonly reloadSeconds: number
  readonly learnedNames: number
  readonly learnRates: readonly number[]
  readonly matcherSizes: readonly number[]
  /** `windowSeconds`: of the simulated clock. */
  readonly fleet: { readonly nodes: number; readonly controlNodes: number; readonly windowSeconds: number }
  readonly steady: { readonly peers: number; readonly rounds: number; readonly seconds: number }
}

export const FULL: Sizes = {
  pods: 100,
  endpoints: 1000,
  patterns: 30,
  manyRules: 1000,
  namesPerPod: 90,
  rounds: 3,
  seconds: 4,
  slowLoads: 3,
  reloadPatterns: 10_000,
  reloadSeconds: 8,
  learnedNames: 100_000,
  learnRates: [200, 1000, 2000, 5000],
  matcherSizes: [30, 1000, 10_000, 100_000],
  fleet: { nodes: 5000, controlNodes: 200, windowSeconds: 120 },
  steady: { peers: 5000, rounds: 3, seconds: 10 },
}

export const SMOKE: Sizes = {
  pods: 8,
  endpoints: 20,
  patterns: 30,
  manyRules: 90,
  namesPerPod: 30,
  rounds: 1,
  seconds: 0.2,
  slowLoads: 1,
  reloadPatterns: 600,
  reloadSeconds: 1,
  learnedNames: 500,
  learnRates: [200],
  matcherSizes: [30, 300],
  fleet: { nodes: 100, controlNodes: 30, windowSeconds: 60 },
  steady: { peers: 100, rounds: 1, seconds: 0.5 },
}

export interface Context {
  readonly stage: Stage
  readonly field: Field
  readonly sizes: Sizes
  readonly upstream: Subject
  readonly dnsdist: Subject
  /** The agent with the standard policy; undefined when only the peers are measured, or the scenario starts its own. */
  readonly agent: Agent | undefined
  readonly peersOnly: boolean
}

/** Writes a names file and a sources file and says who is asked with them. */
export function contender(
  context: Context,
  label: string,
  subject: Subject,
  pairs: readonly (readonly [source: number, name: string])[],
): Contender {
  const base = join(context.stage.directory, label.replaceAll(/[^a-z0-9]+/gi, '-'))
  const files = { names: `${base}.names`, sources: `${base}.sources` }
  writeFileSync(files.names, questionLines(pairs))
  writeFileSync(files.sources, sourceLines(context.stage.ground, subject.side))
  return { label, subject, files }
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

/** The last real pod belongs to the endpoint with many rules; the ones before have 30 of their own each. */
export const manyRulesPod = (sizes: Sizes): number => sizes.pods

/** The rules in the order of the endpoints: real pods, the one with many rules, then endpoints without traffic. */
export function standardRules(sizes: Sizes): EndpointRules[] {
  return [
    ...range(sizes.pods).map((i) => rulesOf(`ep-${i}`, sizes.patterns)),
    rulesOf('ep-many', sizes.manyRules),
    ...range(sizes.endpoints - sizes.pods).map((i) => rulesOf(`ep-${sizes.pods + i}`, sizes.patterns)),
  ]
}

/** Policies of the standard set, a hundred endpoints a file. */
export function standardFiles(sizes: Sizes): AgentFiles {
  const rules = standardRules(sizes)
  const policies: Record<string, string> = {}
  for (let i = 0; i < rules.length; i += 100) policies[`part-${i}.yaml`] = policyFile(rules.slice(i, i + 100))
  const names = rules.map((r) => r.endpoint)
  return { policies, endpoints: endpointsFile(names) }
}

/** Names that the standard set allows, for every pod its own. */
export const standardPairs = (sizes: Sizes): (readonly [number, string])[] =>
  range(sizes.pods).flatMap((i) =>
    namesOf(rulesOf(`ep-${i}`, sizes.patterns), sizes.namesPerPod).map((name) => [i, name] as const),
  )

/** Subjects of a comparison in the order of the tables. */
export const subjectsOf = (context: Context): Subject[] =>
  [context.agent, context.dnsdist, context.upstream].filter((s) => s !== undefined)

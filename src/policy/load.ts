import { parseCilium } from './dialects/cilium.ts'
import type { CiliumOptions } from './dialects/cilium.ts'
import { learningProblems } from './lint.ts'
import type { Problem } from './problem.ts'
import type { EndpointInput, Policy } from './rules.ts'

export interface PolicyFile {
  readonly path: string
  readonly text: string
}

export interface LoadedPolicies {
  /** Of the files without an error. */
  readonly policies: readonly Policy[]
  readonly problems: readonly Problem[]
  /** True when no problem is an error; else the caller keeps the policy that it has. */
  readonly ok: boolean
}

export interface LoadOptions extends CiliumOptions {
  /** Lets warnings be exact about which policies meet. */
  readonly endpoints?: readonly EndpointInput[]
}

/** Reads a whole set of policy files, and looks at what they mean together. Never throws. */
export function loadPolicies(files: readonly PolicyFile[], options: LoadOptions = {}): LoadedPolicies {
  const parsed = files.map(({ path, text }) => parseCilium(text, path, options))
  const policies = parsed.flatMap((file) => file.policies)
  const problems = [...parsed.flatMap((file) => file.problems), ...learningProblems(policies, options.endpoints)]
  return { policies, problems, ok: problems.every(({ severity }) => severity !== 'error') }
}

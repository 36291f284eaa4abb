import type { ErrorCode } from '../core/errors.ts'

/** Where a value came from. Lines and columns count from 1. */
export type Origin =
  | { readonly kind: 'file'; readonly line: number; readonly column: number }
  | { readonly kind: 'environment'; readonly variable: string }
  /** Nobody gave it: a setting without default, or a default that does not fit the rest. */
  | { readonly kind: 'absent' }

/** One thing wrong with the configuration. */
export interface ConfigProblem {
  readonly code: ErrorCode
  /** Dotted path of the setting, "" for the whole. */
  readonly path: string
  readonly origin: Origin
  /** What is wrong, with the value where it helps. */
  readonly message: string
  /** What to write instead. */
  readonly hint?: string
}

/** "sekisho.yaml:3:9: dns.port: 70000 is not between 1 and 65535", one line, hint in brackets. */
export function formatProblem(problem: ConfigProblem, file: string | undefined): string {
  const hint = problem.hint === undefined ? '' : ` (${problem.hint})`
  const path = problem.path === '' ? '' : `${problem.path}: `
  return `${place(problem.origin, file)}: ${path}${problem.message}${hint} [${problem.code}]`
}

function place(origin: Origin, file: string | undefined): string {
  switch (origin.kind) {
    case 'file':
      return `${file ?? 'configuration'}:${origin.line}:${origin.column}`
    case 'environment':
      return `environment ${origin.variable}`
    case 'absent':
      return file ?? 'configuration'
  }
}

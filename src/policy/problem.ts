/** What is wrong with a policy file, and where. Lines and columns count from 1, columns in UTF-16 units. */
export interface Problem {
  readonly file: string
  readonly line: number
  readonly column: number
  readonly message: string
  /** An error refuses the whole file; a warning does not. */
  readonly severity: 'error' | 'warning'
  /** What to write instead. */
  readonly hint?: string
}

/** `file:line:column: severity: message (hint)`. */
export function formatProblem(problem: Problem): string {
  const { file, line, column, severity, message, hint } = problem
  return `${file}:${line}:${column}: ${severity}: ${message}${hint === undefined ? '' : ` (${hint})`}`
}

import type { Context } from './context.ts'
import type { Row } from './rows.ts'
import { forward } from './scenarios/forward.ts'

export interface Scenario {
  /** Also the name of the result file. */
  readonly name: string
  readonly title: string
  /** `standard`: shares one agent with the others; `own`: starts what it needs itself. */
  readonly policy: 'standard' | 'own'
  readonly needsAgent: boolean
  readonly run: (context: Context) => Promise<Row[]>
}

export const SCENARIOS: readonly Scenario[] = [
  { name: 'forward', title: 'known names, the whole policy', policy: 'standard', needsAgent: false, run: forward },
]

import type { Context } from './context.ts'
import type { Row } from './rows.ts'
import { fleet } from './scenarios/fleet.ts'
import { footprint } from './scenarios/footprint.ts'
import { forward } from './scenarios/forward.ts'
import { learning, memory } from './scenarios/learning.ts'
import { matcher } from './scenarios/matcher.ts'
import { profile } from './scenarios/profile.ts'
import type { Profile } from './scenarios/profile.ts'
import { pump } from './scenarios/pump.ts'
import { reload } from './scenarios/reload.ts'
import { rules } from './scenarios/rules.ts'
import { seal } from './scenarios/seal.ts'
import { steady } from './scenarios/steady.ts'

export interface Scenario {
  /** Also the name of the result file. */
  readonly name: string
  readonly title: string
  /** `standard`: shares one agent with the others; `own`: starts what it needs itself. */
  readonly policy: 'standard' | 'own'
  readonly needsAgent: boolean
  /** False: takes minutes however little is done, so a smoke run leaves it out. */
  readonly smoke?: false
  readonly run: (context: Context) => Promise<Row[] | Profile>
}

/** In the order they run: memory first, while the agent has not answered a query. */
export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'memory',
    title: 'memory idle, loaded, and for each name',
    policy: 'standard',
    needsAgent: true,
    run: memory,
  },
  { name: 'forward', title: 'known names, the whole policy', policy: 'standard', needsAgent: false, run: forward },
  { name: 'rules', title: 'one pod with many rules', policy: 'standard', needsAgent: true, run: rules },
  { name: 'learning', title: 'new names', policy: 'standard', needsAgent: true, run: learning },
  { name: 'reload', title: 'policy reloaded each second', policy: 'own', needsAgent: true, run: reload },
  {
    name: 'footprint',
    title: 'memory of an agent that nobody asks',
    policy: 'own',
    needsAgent: true,
    run: footprint,
  },
  { name: 'pump', title: 'both ways a worker can wait', policy: 'own', needsAgent: true, run: pump },
  { name: 'profile', title: 'where the time goes', policy: 'own', needsAgent: false, run: profile },
  { name: 'fleet', title: 'many nodes rotate keys, simulated', policy: 'own', needsAgent: false, run: fleet },
  {
    name: 'steady',
    title: 'the seal at rest with many peers',
    policy: 'own',
    needsAgent: false,
    run: steady,
  },
  { name: 'matcher', title: 'one verdict among many patterns', policy: 'own', needsAgent: false, run: matcher },
  {
    name: 'seal',
    title: 'peers of the seal, in QEMU',
    policy: 'own',
    needsAgent: true,
    // Two guests under emulation need more than a minute to boot and to end on a busy machine.
    smoke: false,
    run: seal,
  },
]

import type { Config } from '../config/schema.ts'

/** What commands want of the composition root. `main.ts` loads it only for a command that needs it. */
export interface Roots {
  /** Runs the agent until SIGTERM or SIGINT; resolves to the exit status. */
  readonly runAgent: (config: Config) => Promise<number>
  /** Removes every kernel object of ours that this configuration names; tells each, and resolves to the exit status. */
  readonly cleanup: (config: Config, tell: (line: string) => void) => Promise<number>
}

export interface RootsDoor {
  /** Effective user is root. */
  readonly root: boolean
  readonly load: () => Promise<Roots>
}

import { REFUSALS } from './directory/read-record.ts'
import type { WgCounters, WgReport } from './report.ts'
import { ROUTE_REPAIRS } from './seams.ts'

const zeros = <K extends string>(names: readonly K[]): Record<K, number> =>
  Object.fromEntries(names.map((name) => [name, 0])) as Record<K, number>

/** To count in: each kind of repair, none yet. */
export const noRepairs = (): Record<keyof WgCounters['repairs'], number> =>
  zeros([...ROUTE_REPAIRS, 'peer', 'device', 'key', 'guard'])

/** Counters of a seal that mends nothing: one that only looks, or has not started. */
export const noCounters = (errors: number): WgCounters => ({
  repairs: noRepairs(),
  failovers: 0,
  peerMoves: 0,
  refused: zeros(REFUSALS),
  probes: { answered: 0, lost: 0 },
  dumpsInterrupted: 0,
  directoryWrites: 0,
  errors,
})

/** Where no rotation runs and none is due. */
export const NO_ROTATION: WgReport['rotation'] = {
  phase: 'idle',
  slot: undefined,
  reason: undefined,
  seconds: 0,
  dueSeconds: undefined,
  awaited: [],
  completed: 0,
  lastSeconds: undefined,
  queue: [],
}

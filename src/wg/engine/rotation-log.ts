import type { Rotation, WgState } from '../machine-types.ts'
import type { EngineTuning } from './types.ts'

/** While a rotation goes on, ms; and at most one peer a millisecond is looked at. */
const ROTATION_TICK_MS = 250

/** How long rotations took, and since when the present phase is. */
export class RotationLog {
  completed = 0
  lastSeconds: number | undefined
  phaseSince = 0
  #begunAt = 0

  take(before: Rotation, after: Rotation, now: number): void {
    const same = before.phase === after.phase && 'slot' in before === 'slot' in after
    if (same && (!('slot' in before) || !('slot' in after) || before.slot === after.slot)) return
    this.phaseSince = now
    if (before.phase === 'settling') {
      this.completed++
      this.lastSeconds = (now - this.#begunAt) / 1000
    }
    if (before.phase === 'idle' || after.phase === 'waiting') this.#begunAt = now
  }
}

/** A repair waits for its next step, and somebody's packets with it. */
function repairs(state: WgState | undefined): boolean {
  if (state === undefined) return false
  const { rotation, queue } = state
  if (queue.some(({ reason }) => reason === 'Repair')) return true
  return (rotation.phase === 'waiting' || rotation.phase === 'draining') && rotation.reason === 'Repair'
}

/** Until the machine looks at its clock again, ms. */
export function tickDelay(state: WgState | undefined, { tickMs, repairTickMs }: EngineTuning): number {
  if (repairs(state)) return repairTickMs
  if (state === undefined || state.rotation.phase === 'idle') return tickMs
  return Math.min(tickMs, Math.max(ROTATION_TICK_MS, state.peers.size))
}

import type { WgEffect, WgState } from '../machine-types.ts'
import { slotState, usable } from '../pair.ts'
import { otherSlot, type Slot } from '../slots.ts'
import type { Executor } from './executor.ts'
import type { KeyLog } from './key-log.ts'
import type { Publisher } from './publisher.ts'
import type { SlotJobs } from './slot-jobs.ts'
import type { EngineClock } from './types.ts'

export interface EffectsParts {
  readonly publisher: Publisher
  readonly jobs: SlotJobs
  readonly executor: Executor
  readonly keyLog: KeyLog
  readonly state: () => WgState
  readonly clock: EngineClock
}

/** Hands what the machine wants done to whoever does it. */
export class Effects {
  failovers = 0
  readonly #p: EffectsParts

  constructor(parts: EffectsParts) {
    this.#p = parts
  }

  do(effects: readonly WgEffect[], now: number): void {
    const { publisher, jobs, executor, keyLog, clock } = this.#p
    for (const effect of effects) {
      switch (effect.kind) {
        case 'publish':
          publisher.publish(effect)
          break
        case 'newKey':
        case 'recreate':
          jobs.changeKey(effect.slot, effect.kind === 'recreate')
          break
        case 'cutSessions':
          jobs.cutSessions(effect.slot)
          break
        case 'egress':
          this.#countFailover(effect.uid, effect.slot, now)
          executor.markRoute(effect.uid)
          break
        case 'mode':
          executor.markRoute(effect.uid)
          break
        case 'install':
          executor.markProgram(effect.uid, effect.slot, { replaces: effect.replaces })
          break
        case 'uninstall':
          executor.markDrop(effect.slot, effect.key)
          break
        case 'kick':
          executor.markKick(effect.uid, effect.slot)
          break
        case 'keyEvent':
          keyLog.add(effect.event, effect.slot, effect.publicKey, clock.wallMs())
          break
      }
    }
  }

  /** A move away from a tunnel that worked and does not any more, to one that does. */
  #countFailover(uid: string, to: Slot, now: number): void {
    const pair = this.#p.state().peers.get(uid)
    if (pair === undefined) return
    const left = slotState(pair, otherSlot(to), now)
    if ((left === 'suspect' || left === 'dead') && usable(pair, to, now)) this.failovers++
  }
}

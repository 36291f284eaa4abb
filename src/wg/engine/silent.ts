import { yields } from '../first-handshake.ts'
import type { WgState } from '../machine-types.ts'
import { SLOTS, type Slot } from '../slots.ts'
import type { EngineClock } from './types.ts'

/** How often it is looked whether the other end has begun, ms. */
const LOOK_MS = 100

/**
 * Peers that were put into a device without keepalive, which would begin a handshake, as the other end begins. They get it when it
 * has, or when it had its time.
 */
export class Silent {
  readonly #state: () => WgState
  readonly #clock: EngineClock
  readonly #wake: (uid: string, slot: Slot) => void
  readonly #uids: readonly [Set<string>, Set<string>] = [new Set(), new Set()]
  #cancel: (() => void) | undefined

  /** `wake`: the peer has waited long enough. Asked for again until it is no longer silent. */
  constructor(state: () => WgState, clock: EngineClock, wake: (uid: string, slot: Slot) => void) {
    this.#state = state
    this.#clock = clock
    this.#wake = wake
  }

  get size(): number {
    return this.#uids[0].size + this.#uids[1].size
  }

  has(uid: string, slot: Slot): boolean {
    return this.#uids[slot].has(uid)
  }

  /** This end leaves the first handshake to the other one now. */
  yields(uid: string, slot: Slot): boolean {
    const state = this.#state()
    const pair = state.peers.get(uid)
    return pair !== undefined && yields(state.slots[slot], pair.tunnels[slot], this.#clock.monotonicMs())
  }

  /** The peer is written with keepalive, or without it. */
  set(uid: string, slot: Slot, silent: boolean): void {
    if (silent) this.#uids[slot].add(uid)
    else this.#uids[slot].delete(uid)
    if (silent) this.#listen()
  }

  stop(): void {
    this.#cancel?.()
  }

  #listen(): void {
    if (this.#cancel !== undefined) return
    this.#cancel = this.#clock.setTimer(() => {
      this.#cancel = undefined
      for (const slot of SLOTS) {
        for (const uid of this.#uids[slot]) {
          if (this.#state().peers.get(uid) === undefined) this.#uids[slot].delete(uid)
          else if (!this.yields(uid, slot)) this.#wake(uid, slot)
        }
      }
      if (this.size > 0) this.#listen()
    }, LOOK_MS)
  }
}

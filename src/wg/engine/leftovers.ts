import type { WgDevice } from '../ports.ts'
import { type Slot } from '../slots.ts'
import type { DirectoryFeed } from './directory-feed.ts'
import type { Faults } from './faults.ts'
import type { Legacy } from './legacy.ts'
import type { RouteKeeper } from './route-keeper.ts'
import type { EngineClock, EngineTuning } from './types.ts'

export interface LeftoversParts {
  readonly feed: DirectoryFeed
  readonly legacy: Legacy
  readonly routes: RouteKeeper
  readonly clock: EngineClock
  readonly faults: Faults
  readonly tuning: Pick<EngineTuning, 'graceMs' | 'emptiedGraceMs'>
}

/** When what an earlier run left of peers that nobody knows any more may go: all who exist are known, and the grace is over. */
export class Leftovers {
  readonly #p: LeftoversParts
  readonly #foundKeys: readonly [Set<string>, Set<string>] = [new Set(), new Set()]
  #pruned = false

  constructor(parts: LeftoversParts) {
    this.#p = parts
  }

  /** Found in the kernel at the start. */
  found(slot: Slot, dump: WgDevice | undefined): void {
    for (const { publicKey } of dump?.peers ?? []) this.#foundKeys[slot].add(publicKey)
  }

  /** A key that no tunnel has may be taken out of the device. */
  removable(slot: Slot, key: string): boolean {
    const { view, completeAt } = this.#p.feed
    if (!view.complete || completeAt === undefined || view.claims(key)) return false
    return !this.#foundKeys[slot].has(key) || this.#graceOver(completeAt)
  }

  /** What an earlier run routed and protected goes. */
  open(): void {
    const { feed, legacy, routes, faults } = this.#p
    const { view, completeAt } = feed
    if (this.#pruned || !view.complete || completeAt === undefined || !this.#graceOver(completeAt)) return
    // Who claims a prefix and is refused exists: its prefix stays closed.
    if (legacy.claimed(view)) return
    this.#pruned = true
    routes.prune(legacy.protected).then(
      () => {
        legacy.clear()
      },
      (error: unknown) => {
        this.#pruned = false
        faults.tell('opening what an earlier run left', error)
      },
    )
  }

  #graceOver(completeAt: number): boolean {
    const { clock, feed, tuning } = this.#p
    // Peers whose agents are away cannot publish again what was lost with our record; their kernels go on.
    const emptied = !feed.knewUs && this.#foundKeys.some(({ size }) => size > 0)
    return clock.monotonicMs() - completeAt >= (emptied ? tuning.emptiedGraceMs : tuning.graceMs)
  }
}

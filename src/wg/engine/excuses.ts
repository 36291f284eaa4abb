import type { WgState } from '../machine-types.ts'
import { alive } from '../pair.ts'

/** Peers that have had no session for long are not waited for; one that comes back is. */
export class Excuses {
  readonly #afterMs: number
  readonly #deadSince = new Map<string, number>()

  constructor(afterMs: number) {
    this.#afterMs = afterMs
  }

  forget(uid: string): void {
    this.#deadSince.delete(uid)
  }

  /** UIDs whose standing changed. */
  review(state: WgState, now: number): readonly { readonly uid: string; readonly excused: boolean }[] {
    const changes: { uid: string; excused: boolean }[] = []
    for (const pair of state.peers) {
      if (alive(pair, now)) {
        if (this.#deadSince.size > 0) this.#deadSince.delete(pair.uid)
        if (pair.excused) changes.push({ uid: pair.uid, excused: false })
        continue
      }
      const since = this.#deadSince.get(pair.uid) ?? now
      this.#deadSince.set(pair.uid, since)
      if (!pair.excused && now - since >= this.#afterMs) changes.push({ uid: pair.uid, excused: true })
    }
    return changes
  }
}

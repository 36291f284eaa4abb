import { formatCidr, type Cidr } from '../../core/ip.ts'
import type { InOrder } from '../drivers/in-order.ts'
import type { Guard, PeerRoutes, Routing } from '../seams.ts'
import type { Slot } from '../slots.ts'

/** Tells routing and guard of one peer at a time, in the order that never drops clear text which still may come. */
export class RouteKeeper {
  readonly #routing: Routing
  readonly #guard: Guard
  readonly #lane: InOrder
  /** What routing was last told and took. */
  readonly #applied = new Map<string, PeerRoutes>()
  /** Prefixes that the guard protects: for whom. */
  readonly #guarded = new Map<string, { readonly cidr: Cidr; readonly uid: string }>()

  constructor(routing: Routing, guard: Guard, lane: InOrder) {
    this.#routing = routing
    this.#guard = guard
    this.#lane = lane
  }

  /** The slot that packets of the peer leave by, as routing knows it. */
  egress(uid: string): Slot | undefined {
    return this.#applied.get(uid)?.egress
  }

  adoptGuarded(uid: string, cidr: Cidr): void {
    this.#guarded.set(formatCidr(cidr), { cidr, uid })
  }

  /** Strict: routes first, then the guard. Else: the guard goes first. `pods`: what the guard looks after. */
  async set(routes: PeerRoutes, pods: readonly Cidr[]): Promise<void> {
    const strict = routes.mode === 'strict'
    const keep = new Set(strict ? pods.map(formatCidr) : [])
    await this.#open(routes.uid, keep)
    await this.#lane.run(() => this.#routing.setPeer(routes))
    this.#applied.set(routes.uid, routes)
    if (!strict) return
    for (const cidr of pods) {
      const held = this.#guarded.get(formatCidr(cidr))
      if (held?.uid === routes.uid) continue
      await this.#guard.protect(cidr, true)
      this.#guarded.set(formatCidr(cidr), { cidr, uid: routes.uid })
    }
  }

  async remove(uid: string): Promise<void> {
    await this.#lane.run(() => this.#routing.removePeer(uid))
    this.#applied.delete(uid)
    await this.#open(uid, new Set())
  }

  /** Opens what an earlier run left and no peer has taken over. */
  async prune(guarded: readonly Cidr[]): Promise<void> {
    await this.#lane.run(() => this.#routing.prune())
    for (const cidr of guarded) if (!this.#guarded.has(formatCidr(cidr))) await this.#guard.protect(cidr, false)
  }

  /** Takes the guard off what is this peer's no more. */
  async #open(uid: string, keep: ReadonlySet<string>): Promise<void> {
    for (const [text, held] of this.#guarded) {
      if (held.uid !== uid || keep.has(text)) continue
      await this.#guard.protect(held.cidr, false)
      this.#guarded.delete(text)
    }
  }
}

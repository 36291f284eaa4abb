import { formatCidr, type Cidr } from '../../core/ip.ts'
import { sendsThroughTunnel, type Mode } from '../activation.ts'
import { InOrder } from '../drivers/in-order.ts'
import type { Guard, PeerRoutes, Routing } from '../seams.ts'
import type { Slot } from '../slots.ts'

/** How long a packet may be on its way after the route that it took is gone, ms: queues of busy nodes hold some for half a second. */
const FLIGHT_MS = 2000

interface Sealing {
  readonly mode: Mode
  /** When its packets began to go through the tunnel; of another mode, when it came. */
  readonly since: number
}

/**
 * Tells routing and guard of a peer, in the order that never drops clear text which still may come. Peers are told of beside
 * each other, so that routing changes many at once.
 */
export class RouteKeeper {
  readonly #routing: Routing
  readonly #guard: Guard
  readonly #now: () => number
  readonly #oneByOne = new InOrder().run
  /** What routing was last told and took. */
  readonly #applied = new Map<string, PeerRoutes>()
  readonly #modes = new Map<string, Sealing>()
  /** Prefixes that the guard protects, by peer; and whose each is, of two the later. */
  readonly #guarded = new Map<string, Map<string, Cidr>>()
  readonly #holders = new Map<string, string>()

  /** `now`: monotonic ms. */
  constructor(routing: Routing, guard: Guard, now: () => number) {
    this.#routing = routing
    this.#guard = guard
    this.#now = now
  }

  /** The slot that packets of the peer leave by, as routing knows it. */
  egress(uid: string): Slot | undefined {
    return this.#applied.get(uid)?.egress
  }

  /**
   * What packets of the peer meet now, and what is on its way to it. While a change goes on: what stood before, and `strict` until
   * the guard is off. Packets that left in clear text are in queues for a while: for so long the peer is not sealed yet.
   * Undefined for a peer that nothing was ever done for.
   */
  mode(uid: string): Mode | undefined {
    const sealing = this.#modes.get(uid)
    if (sealing === undefined || !sendsThroughTunnel(sealing.mode)) return sealing?.mode
    return this.#now() - sealing.since < FLIGHT_MS ? 'proven' : sealing.mode
  }

  /** An earlier run left the peer so. */
  adoptMode(uid: string, mode: Mode): void {
    this.#modes.set(uid, { mode, since: Number.NEGATIVE_INFINITY })
  }

  adoptGuarded(uid: string, cidr: Cidr): void {
    const held = this.#guarded.get(uid) ?? new Map<string, Cidr>()
    this.#guarded.set(uid, held.set(formatCidr(cidr), cidr))
    this.#holders.set(formatCidr(cidr), uid)
  }

  /** Strict: routes first, then the guard. Else: the guard goes first. `pods`: what the guard looks after. */
  async set(routes: PeerRoutes, pods: readonly Cidr[]): Promise<void> {
    const { uid } = routes
    const strict = routes.mode === 'strict'
    await this.#open(uid, new Set(strict ? pods.map(formatCidr) : []))
    await this.#routing.setPeer(routes)
    this.#applied.set(uid, routes)
    for (const cidr of strict ? pods : []) {
      if (this.#holders.get(formatCidr(cidr)) === uid) continue
      await this.#protect(cidr, true)
      this.adoptGuarded(uid, cidr)
    }
    const before = this.#modes.get(uid)
    const stays = before !== undefined && sendsThroughTunnel(before.mode)
    this.#modes.set(uid, { mode: routes.mode, since: stays ? before.since : this.#now() })
  }

  async remove(uid: string): Promise<void> {
    await this.#routing.removePeer(uid)
    this.#applied.delete(uid)
    this.#modes.delete(uid)
    await this.#open(uid, new Set())
  }

  /** Opens what an earlier run left and no peer has taken over. */
  async prune(guarded: readonly Cidr[]): Promise<void> {
    await this.#routing.prune()
    for (const cidr of guarded) if (!this.#holders.has(formatCidr(cidr))) await this.#protect(cidr, false)
  }

  /** Takes the guard off what is this peer's no more, and nobody else's. */
  async #open(uid: string, keep: ReadonlySet<string>): Promise<void> {
    const held = this.#guarded.get(uid)
    for (const [text, cidr] of held ?? []) {
      if (keep.has(text)) continue
      if (this.#holders.get(text) === uid) {
        await this.#protect(cidr, false)
        this.#holders.delete(text)
      }
      held?.delete(text)
    }
    if (held?.size === 0) this.#guarded.delete(uid)
  }

  #protect(cidr: Cidr, on: boolean): Promise<void> {
    return this.#oneByOne(() => this.#guard.protect(cidr, on))
  }
}

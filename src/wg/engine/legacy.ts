import { formatCidr, tryParseCidr, type Cidr } from '../../core/ip.ts'
import { sendsThroughTunnel } from '../activation.ts'
import type { DirectoryView } from '../directory/view.ts'
import type { KernelFacts } from '../machine-types.ts'
import type { Pair } from '../pair.ts'
import type { WgDevice } from '../ports.ts'
import type { Slot } from '../slots.ts'
import { kernelFacts } from './facts.ts'
import type { PeerAddresses } from './wanted.ts'

/**
 * Prefixes that were sealed for a peer that is no more: what an earlier run of the agent left, and what a node gave up.
 * Whoever claims one goes on as it was, so its packets are shut until the new tunnel works, and never in clear text.
 */
export class Legacy {
  readonly #routed = new Map<string, Slot>()
  readonly #guarded = new Set<string>()

  /** Found in the kernel at the start. */
  adopt(routed: ReadonlyMap<string, Slot>, guarded: ReadonlySet<string>): void {
    for (const [prefix, slot] of routed) this.#routed.set(prefix, slot)
    for (const prefix of guarded) this.#guarded.add(prefix)
  }

  /** What stands in the kernel for this peer, once. `guarded` is told of each of its prefixes that the guard protects. */
  take(
    peer: PeerAddresses,
    dumps: readonly [WgDevice | undefined, WgDevice | undefined],
    claimed: (key: string) => boolean,
    wallMs: number,
    guarded: (cidr: Cidr) => void,
  ): KernelFacts | undefined {
    const facts = kernelFacts(peer, dumps, { routed: this.#routed, guarded: this.#guarded }, claimed, wallMs)
    for (const cidr of peer.prefixes) {
      const text = formatCidr(cidr)
      this.#routed.delete(text)
      if (this.#guarded.delete(text)) guarded(cidr)
    }
    return facts
  }

  /**
   * For whoever claims it with the same word of the directory: a node that was made anew under its name, one that waited for
   * the prefix. Kept no longer than that: a prefix that nobody claims is nobody's.
   */
  give(pair: Pair, before: PeerAddresses, after?: PeerAddresses): void {
    if (!sendsThroughTunnel(pair.mode)) return
    const kept = new Set(after?.prefixes.map(formatCidr))
    const given = before.prefixes.map(formatCidr).filter((text) => !kept.has(text))
    for (const text of given) {
      this.#routed.set(text, pair.egress)
      if (pair.mode === 'strict') this.#guarded.add(text)
    }
    queueMicrotask(() => {
      for (const text of given) {
        this.#routed.delete(text)
        this.#guarded.delete(text)
      }
    })
  }

  /** Somebody whose record is refused claims part of it: who claims a prefix exists. */
  claimed(view: DirectoryView): boolean {
    return [...this.#routed.keys(), ...this.#guarded].some((text) => view.claimsPrefix(text))
  }

  /** Protected for nobody. */
  get protected(): readonly Cidr[] {
    return [...this.#guarded].flatMap((text) => tryParseCidr(text) ?? [])
  }

  clear(): void {
    this.#routed.clear()
    this.#guarded.clear()
  }
}

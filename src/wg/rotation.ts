import type { MachineConfig, OwnSlot, Rotation } from './machine-types.ts'
import { otherSlot, type DrainReason, type Slot } from './slots.ts'

/** What the peers' side of a rotation looks like now; counts, and up to ten names each for the operator. */
export interface Census {
  /** Peers that exist and have not proven the other slot. */
  readonly unproven: Awaited
  /** Peers with a session that we still send to through the slot, or that the other slot has no young handshake with. */
  readonly onSlot: Awaited
  /**
   * Peers with a session that drain the other slot, or have said nothing since we started. Who knows of such a drain does not
   * begin one: so a peer that answered that it left a slot stays away from it until the key is changed.
   */
  readonly contended: Awaited
  /**
   * Peers with a session that have not told us in the tunnel that they know of the drain and send through the other slot, or
   * that drain the other slot themselves and began earlier.
   */
  readonly unheard: Awaited
  /** Peers with a session that have not proven the slot. */
  readonly unsettled: Awaited
  /** Peers with a session that have no other slot to send through. */
  readonly singles: number
}

export interface Awaited {
  readonly count: number
  readonly names: readonly string[]
}

export interface RotationFacts {
  readonly census: Census
  /** Everything we changed in our record is published. */
  readonly published: boolean
  /** Age of the slot's key, ms. */
  readonly keyAgeMs: number
}

/** A drain of a slot that some peer cannot leave is taken for quiet after this, ms: three times what quiet takes by default. */
export const LOUD_DRAIN_MS = 15_000

export type RotationCommand = 'drain' | 'rekey' | 'done' | undefined

/**
 * The slot whose turn it is, and when: the one with the older key, half a key's life after the younger was made, give or take
 * a tenth, so that a fleet that was started at once spreads out. `spread`: 0 to 1, of the node.
 */
export function nextDue(
  slots: readonly [OwnSlot, OwnSlot],
  config: MachineConfig,
  spread: number,
): { slot: Slot; dueAt: number } {
  const slot: Slot = slots[0].bornAt <= slots[1].bornAt ? 0 : 1
  const younger = slots[otherSlot(slot)].bornAt
  return { slot, dueAt: younger + (config.keyLifeMs / 2) * (0.9 + 0.2 * spread) }
}

/** 0 to 1, the same for one text always (FNV-1a, 32 bits). */
export function spreadOf(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return (hash >>> 0) / 2 ** 32
}

/** Peers are not waited for: an attacker has the key, or the device carries nothing anyway, or the key is too old. */
const overrides = (reason: DrainReason, facts: RotationFacts, config: MachineConfig): boolean =>
  reason !== 'Rotate' || facts.keyAgeMs > config.maxKeyAgeMs

/**
 * Nothing comes through the drained slot any more. A peer with one slot goes on sending through it, so where there is one, the
 * words of the others must do: that they have left it is waited for besides.
 */
export function isQuiet(
  rotation: Extract<Rotation, { phase: 'draining' }>,
  singles: number,
  quietMs: number,
  now: number,
): boolean {
  if (rotation.quiet !== undefined && now - rotation.quiet.at >= quietMs) return true
  return singles > 0 && now - rotation.since >= LOUD_DRAIN_MS
}

/** What the rotation does next. Rekeying ends with the event that the key was made, not here. */
export function advance(rotation: Rotation, facts: RotationFacts, config: MachineConfig, now: number): RotationCommand {
  const { census } = facts
  switch (rotation.phase) {
    case 'idle':
    case 'rekeying':
      return undefined
    case 'waiting':
      return census.unproven.count + census.contended.count === 0 || overrides(rotation.reason, facts, config)
        ? 'drain'
        : undefined
    case 'draining': {
      const waited = now - rotation.since
      if (rotation.gone === true) {
        return census.onSlot.count === 0 || waited >= config.repairCapMs ? 'rekey' : undefined
      }
      // That a device receives nothing is a judgement, and who judged wrong must lose nothing either.
      const cap = rotation.reason === 'Repair' ? LOUD_DRAIN_MS : config.compromiseCapMs
      if (waited >= cap && overrides(rotation.reason, facts, config)) return 'rekey'
      const quiet = isQuiet(rotation, census.singles, config.quietMs, now)
      const clear = census.unproven.count + census.onSlot.count + census.unheard.count === 0
      return facts.published && quiet && clear ? 'rekey' : undefined
    }
    case 'settling': {
      const settled = facts.published && census.unsettled.count === 0
      return settled || now - rotation.since >= config.settleMs ? 'done' : undefined
    }
  }
}

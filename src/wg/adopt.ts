import type { Target } from './activation.ts'
import { MOST_REVISIONS, type NodeRecord } from './directory/record.ts'
import type { MachineConfig, OwnSlot, Rotation, Step, WgEffect, WgState } from './machine-types.ts'
import { NEVER } from './pair.ts'
import { PeerTable } from './peer-table.ts'
import { nextDue, spreadOf } from './rotation.ts'
import { SLOTS, type Slot } from './slots.ts'

export interface Adoption {
  readonly uid: string
  readonly bootId: string
  readonly config: MachineConfig
  /** Public keys that our devices have now. */
  readonly keys: readonly [string, string]
  /** Devices that were there before this start; not given: none. */
  readonly found?: readonly [boolean, boolean]
  /** Our record as the directory has it, read from the directory itself. */
  readonly own: NodeRecord | undefined
  readonly target: Target
  readonly wallMs: number
}

/** No key is older than its kernel, whatever a clock says that was set since: `now` is the time since the boot, ms. */
export const ageOf = (since: number, wallMs: number, now: number): number => Math.min(Math.max(0, wallMs - since), now)

/**
 * The state at the start of the agent, from what the kernel and our own record say. A key that is not the published one was
 * made just before a crash: it is published, and the rotation goes on to settle. A drain that is published goes on.
 */
export function adopt({ uid, bootId, config, keys, found, own, target, wallMs }: Adoption, now: number): Step {
  const published = own?.nodeUID === uid ? own : undefined
  const known = (slot: Slot): NodeRecord['slots'][number] | undefined =>
    published?.slots.find(({ id, publicKey }) => id === slot && publicKey === keys[slot])
  const slot = (id: Slot): OwnSlot => {
    const said = known(id)
    if (said !== undefined) {
      const age = ageOf(said.since, wallMs, now)
      return {
        publicKey: said.publicKey,
        generation: said.gen,
        since: said.since,
        bornAt: now - age,
        toldAt: now - age,
      }
    }
    const last = published?.slots.find((record) => record.id === id)?.gen ?? -1
    return { publicKey: keys[id], generation: last + 1, since: wallMs, bornAt: now, toldAt: undefined }
  }
  const slots = [slot(0), slot(1)] as const
  const changed = SLOTS.filter((id) => known(id) === undefined)
  const wanted = published?.drain ?? null
  const drain = wanted !== null && !changed.includes(wanted.slot) ? wanted : null
  const poisoned = published !== undefined && published.revision >= MOST_REVISIONS
  const dirty =
    poisoned || published === undefined || changed.length > 0 || drain !== wanted || published.bootID !== bootId
  const acknowledged = published === undefined || poisoned ? -1 : published.revision
  const revision = dirty ? acknowledged + 1 : acknowledged
  const idle: Rotation = { phase: 'idle', dueAt: nextDue(slots, config, spreadOf(uid)).dueAt }
  const rotation = ((): Rotation => {
    if (drain !== null)
      return { phase: 'draining', slot: drain.slot, reason: drain.reason, since: now, quiet: undefined }
    const rekeyed = wanted?.slot
    if (rekeyed === undefined || wanted === null) return idle
    return { phase: 'settling', slot: rekeyed, reason: wanted.reason, since: now }
  })()
  const state: WgState = {
    uid,
    config,
    slots,
    drain,
    revision,
    acknowledged,
    publishedAt: dirty ? now : NEVER,
    rotation,
    queue: [],
    peers: new PeerTable(),
    target,
    leavingSince: now,
  }
  const effects: WgEffect[] = SLOTS.map((id) => ({
    kind: 'keyEvent',
    // One that we do not find published although there is a record was made just before a crash, and nobody told of it.
    event: known(id) !== undefined || (published === undefined && found?.[id] === true) ? 'adopted' : 'created',
    slot: id,
    publicKey: keys[id],
  }))
  if (dirty) effects.push({ kind: 'publish', revision, slots, drain })
  return { state, effects }
}

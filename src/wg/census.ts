import { alive, drainOf, everProven, fresh, type Pair } from './pair.ts'
import type { Awaited, Census } from './rotation.ts'
import { bannedSlot, otherSlot, type Drainer, type Slot } from './slots.ts'

/** Names told to the operator; the rest is a number. */
export const MAX_NAMES = 10

class Names implements Awaited {
  count = 0
  readonly names: string[] = []

  add(name: string): void {
    this.count++
    if (this.names.length < MAX_NAMES) this.names.push(name)
  }
}

/**
 * Who a rotation of `slot` waits for. A peer with one slot only is never waited for: the rotation of slot 0 is lossy for it.
 * `drainingSince`: when our messages began to tell of the drain, monotonic ms. `self`: our own drain.
 */
export function takeCensus(
  peers: Iterable<Pair>,
  slot: Slot,
  drainingSince: number,
  now: number,
  self: Drainer,
): Census {
  const census = {
    unproven: new Names(),
    onSlot: new Names(),
    contended: new Names(),
    unheard: new Names(),
    unsettled: new Names(),
    singles: 0,
  }
  const other = otherSlot(slot)
  for (const pair of peers) {
    if (!pair.twoSlots) {
      if (slot === 0 && alive(pair, now)) census.singles++
      continue
    }
    if (!pair.excused && !everProven(pair, other)) census.unproven.add(pair.name)
    // A peer without a session sends nothing, and finds the other slot's keys valid when it is back.
    if (!alive(pair, now)) continue
    if (pair.egress === slot || !fresh(pair, other, now)) census.onSlot.add(pair.name)
    if (!everProven(pair, slot)) census.unsettled.add(pair.name)
    const { announced } = pair
    // Its last word counts however old: it may rely on what we answered. Nothing waits longer for that than it would for an ack.
    const drainsOther = announced?.drain?.slot === other || drainOf(pair, now)?.slot === other
    if (drainsOther || (pair.probes && announced === undefined)) census.contended.add(pair.name)
    if (!pair.probes) continue
    const left = announced !== undefined && announced.ack > drainingSince && announced.egress !== slot
    // The word that says so, however old, tells of the peer's own drain: of opposite ones the younger waits, or neither slot fits.
    const younger =
      self.drain !== null &&
      announced?.drain?.slot === other &&
      bannedSlot(self, { uid: pair.uid, drain: announced.drain }) !== slot
    if (!left || younger) census.unheard.add(pair.name)
  }
  return census
}

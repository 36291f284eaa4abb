import { nextMode } from './activation.ts'
import { CAP_PROBES, CAP_TWO_SLOTS, type NodeRecord } from './directory/record.ts'
import type { KernelFacts, OwnSlot, WgEffect, WgState } from './machine-types.ts'
import { ABSENT, NEVER, chooseEgress, usable, withTunnel, type Pair } from './pair.ts'
import { SLOTS, type Drainer, type Slot } from './slots.ts'

export const drainer = (state: WgState): Drainer => ({ uid: state.uid, drain: state.drain })

/** Looks at one peer again after any change: where to send, and how far encryption is. Same object when nothing changes. */
export function review(state: WgState, pair: Pair, now: number, effects: WgEffect[]): Pair {
  let next = pair
  const { rotation } = state
  const closed = rotation.phase === 'rekeying' ? rotation.slot : undefined
  const egress = chooseEgress(pair, drainer(state), now, closed)
  if (egress !== pair.egress) {
    next = { ...next, egress }
    effects.push({ kind: 'egress', uid: pair.uid, slot: egress })
  }
  const mode = nextMode(next.mode, {
    target: state.target,
    usable: usable(next, next.egress, now),
    peer: next.announced,
    leavingSince: state.leavingSince,
  })
  if (mode !== next.mode) {
    next = { ...next, mode }
    effects.push({ kind: 'mode', uid: pair.uid, mode })
  }
  return next
}

/** A record of a peer: new, or changed. Egress leaves a tunnel whose key changes before the key is replaced. */
export function takeRecord(
  state: WgState,
  record: NodeRecord,
  kernel: KernelFacts | undefined,
  now: number,
  effects: WgEffect[],
): Pair {
  const known = state.peers.get(record.nodeUID)
  const base: Pair = known ?? fresh(record, state.slots, kernel, now)
  const rebooted = base.bootId !== record.bootID
  let pair: Pair = {
    ...base,
    name: record.node,
    bootId: record.bootID,
    twoSlots: record.caps.includes(CAP_TWO_SLOTS) && record.slots.length === 2,
    probes: record.caps.includes(CAP_PROBES),
    drain: record.drain,
    announced: rebooted ? undefined : base.announced,
  }
  const installs: WgEffect[] = []
  for (const slot of SLOTS) {
    const wanted = record.slots[slot]
    const { key } = pair.tunnels[slot]
    if (wanted?.publicKey === key) {
      if (wanted !== undefined) pair = withTunnel(pair, slot, { generation: wanted.gen, since: wanted.since })
    } else if (wanted === undefined) {
      pair = withTunnel(pair, slot, ABSENT)
      if (key !== undefined) installs.push({ kind: 'uninstall', uid: pair.uid, slot, key })
    } else {
      pair = withTunnel(pair, slot, {
        ...ABSENT,
        ...{ key: wanted.publicKey, generation: wanted.gen, since: wanted.since, kickedAt: now },
      })
      installs.push({ kind: 'install', uid: pair.uid, slot, key: wanted.publicKey, replaces: key })
    }
  }
  const before = effects.length
  pair = review(state, pair, now, effects)
  const told = effects.slice(before).some(({ kind }) => kind === 'egress')
  if (known === undefined && !told) effects.push({ kind: 'egress', uid: pair.uid, slot: pair.egress })
  effects.push(...installs)
  return pair
}

function fresh(
  record: NodeRecord,
  own: readonly [OwnSlot, OwnSlot],
  kernel: KernelFacts | undefined,
  now: number,
): Pair {
  const tunnel = (slot: Slot): Pair['tunnels'][Slot] => {
    const found = kernel?.tunnels[slot]
    if (kernel === undefined || found === undefined) return ABSENT
    const handshaken = found.stamp > own[slot].since
    const freshAt = handshaken ? now - Math.max(0, kernel.wallMs - found.stamp) : NEVER
    return { ...ABSENT, key: found.key, stamp: found.stamp, provesAfter: own[slot].since, handshaken, freshAt }
  }
  return {
    uid: record.nodeUID,
    name: record.node,
    bootId: record.bootID,
    twoSlots: true,
    probes: true,
    excused: false,
    tunnels: [tunnel(0), tunnel(1)],
    egress: kernel?.egress ?? 0,
    drain: null,
    announced: undefined,
    announcedAt: NEVER,
    mode: kernel?.mode ?? 'off',
  }
}

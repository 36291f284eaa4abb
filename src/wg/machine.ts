import { ageOf } from './adopt.ts'
import { takeCensus } from './census.ts'
import { MOST_REVISIONS, type NodeRecord } from './directory/record.ts'
import { yields } from './first-handshake.ts'
import type { Job, OwnSlot, Rotation, Step, WgEffect, WgEvent, WgState } from './machine-types.ts'
import {
  forgetProof,
  hear,
  observeProbe,
  observeStamp,
  slotState,
  withTunnel,
  type Announcement,
  type Pair,
} from './pair.ts'
import { drainer, review, takeRecord } from './peer-events.ts'
import { advance, nextDue, spreadOf } from './rotation.ts'
import { SLOTS, otherSlot, type Slot } from './slots.ts'

/** A key change at thousands of peers takes seconds; it is asked for again only when that many waits are over. */
const KEY_RETRIES = 6

/**
 * The whole of what a node decides about its tunnels: one pure function. `now`: monotonic ms, never going back. The effects
 * are to be done in their order; a crash between any two of them is mended by `adopt` and the events that follow it.
 */
export function step(state: WgState, event: WgEvent, now: number): Step {
  const effects: WgEffect[] = []
  return { state: next(state, event, now, effects), effects }
}

function next(state: WgState, event: WgEvent, now: number, effects: WgEffect[]): WgState {
  switch (event.kind) {
    case 'peer':
      return { ...state, peers: state.peers.with(takeRecord(state, event.record, event.kernel, now, effects)) }
    case 'gone':
      return forget(state, event.uid, effects)
    case 'excused':
      return one(state, event.uid, now, effects, (pair) =>
        pair.excused === event.excused ? pair : { ...pair, excused: event.excused },
      )
    case 'dump':
      return each(state, now, effects, (pair) => {
        const { key } = pair.tunnels[event.slot]
        const stamp = key === undefined ? undefined : event.stamps.get(key)
        return stamp === undefined ? pair : observeStamp(pair, event.slot, stamp, event.wallMs, now)
      })
    case 'handshake':
      return one(state, event.uid, now, effects, (pair) =>
        observeStamp(pair, event.slot, event.stamp, event.wallMs, now),
      )
    case 'probe':
      return one(state, event.uid, now, effects, (pair) => observeProbe(pair, event.slot, event.answered))
    case 'announced':
      return one(state, event.uid, now, effects, (pair) => hear(pair, event.announcement, now))
    case 'keyMade':
      return takeKey(state, event.slot, event.publicKey, event.wallMs, now, effects)
    case 'published':
      return acknowledge(state, event.revision, now)
    case 'traffic':
      return count(state, event.slot, event.packets, now)
    case 'rotate':
      return event.reason === 'Compromise' ? compromised(state) : asked(state)
    case 'broken':
      return repair(state, { slot: event.slot, reason: 'Repair', gone: event.gone })
    case 'target': {
      if (event.target === state.target) return state
      const leavingSince = event.target === 'off' ? now : state.leavingSince
      return each({ ...state, target: event.target, leavingSince }, now, effects, (pair) => pair)
    }
    case 'republish':
      return publish({ ...state, revision: state.revision + 1 }, now, effects)
    case 'own':
      return takeOwn(state, event.record, event.wallMs, now, effects)
    case 'tick':
      return tick(state, event.wallMs, now, effects)
  }
}

/** What we say of ourselves to a peer, inside the tunnel. `now` must differ from that of the announcement before. */
export function announcementFor(state: WgState, uid: string, now: number): Announcement | undefined {
  const pair = state.peers.get(uid)
  if (pair === undefined) return undefined
  const ack = pair.announced?.sequence ?? -1
  return {
    sequence: now,
    mode: pair.mode,
    leaving: state.target === 'off',
    ack,
    egress: pair.egress,
    drain: state.drain,
  }
}

function one(state: WgState, uid: string, now: number, effects: WgEffect[], change: (pair: Pair) => Pair): WgState {
  const pair = state.peers.get(uid)
  if (pair === undefined) return state
  const changed = review(state, change(pair), now, effects)
  return changed === pair ? state : { ...state, peers: state.peers.with(changed) }
}

function each(state: WgState, now: number, effects: WgEffect[], change: (pair: Pair) => Pair): WgState {
  const peers = state.peers.map((pair) => review(state, change(pair), now, effects))
  return peers === state.peers ? state : { ...state, peers }
}

function forget(state: WgState, uid: string, effects: WgEffect[]): WgState {
  const pair = state.peers.get(uid)
  if (pair === undefined) return state
  for (const slot of SLOTS) {
    const { key } = pair.tunnels[slot]
    if (key !== undefined) effects.push({ kind: 'uninstall', uid, slot, key })
  }
  return { ...state, peers: state.peers.without(uid) }
}

function publish(state: WgState, now: number, effects: WgEffect[]): WgState {
  effects.push({ kind: 'publish', revision: state.revision, slots: state.slots, drain: state.drain })
  return { ...state, publishedAt: now }
}

function acknowledge(state: WgState, revision: number, now: number): WgState {
  if (revision <= state.acknowledged) return state
  const acknowledged: WgState = { ...state, acknowledged: revision }
  // What was written before the newest may have older keys.
  if (revision < state.revision || state.slots.every(({ toldAt }) => toldAt !== undefined)) return acknowledged
  const told = (own: OwnSlot): OwnSlot => ({ ...own, toldAt: own.toldAt ?? now })
  return { ...acknowledged, slots: [told(state.slots[0]), told(state.slots[1])] }
}

/** Our key is new: publish it in place of the old one and of the drain, in one write. */
function takeKey(
  state: WgState,
  slot: Slot,
  publicKey: string,
  wallMs: number,
  now: number,
  effects: WgEffect[],
): WgState {
  const old = state.slots[slot]
  if (old.publicKey === publicKey) return state
  effects.push(
    { kind: 'keyEvent', event: 'retired', slot, publicKey: old.publicKey },
    { kind: 'keyEvent', event: 'created', slot, publicKey },
  )
  const { rotation } = state
  // A key that came in the middle of a rotation of the same slot, by whatever hand, is the one that was to be made.
  const expected = rotation.phase !== 'idle' && rotation.slot === slot
  const reason = expected ? rotation.reason : 'Repair'
  if (reason === 'Compromise') effects.push({ kind: 'cutSessions', slot })
  const made: OwnSlot = { publicKey, generation: old.generation + 1, since: wallMs, bornAt: now, toldAt: undefined }
  const rekeyed: WgState = {
    ...state,
    slots: slot === 0 ? [made, state.slots[1]] : [state.slots[0], made],
    drain: state.drain?.slot === slot ? null : state.drain,
    revision: state.revision + 1,
    rotation: expected ? { phase: 'settling', slot, reason, since: now } : rotation,
    peers: state.peers.map((pair) => forgetProof(pair, slot, wallMs)),
  }
  const reviewed = each(rekeyed, now, effects, (pair) => pair)
  return publish(reviewed, now, effects)
}

/** Ages and generations of keys that are still ours come from the record; ours goes above it. */
function takeOwn(state: WgState, record: NodeRecord, wallMs: number, now: number, effects: WgEffect[]): WgState {
  const slot = (id: Slot): OwnSlot => {
    const own = state.slots[id]
    const said = record.slots.find((one) => one.id === id)
    if (said === undefined) return own
    if (said.publicKey !== own.publicKey) return { ...own, generation: Math.max(own.generation, said.gen + 1) }
    const bornAt = now - ageOf(said.since, wallMs, now)
    return { ...own, generation: said.gen, since: said.since, bornAt, toldAt: own.toldAt ?? now }
  }
  const revision = (record.revision < MOST_REVISIONS ? Math.max(state.revision, record.revision) : state.revision) + 1
  return publish({ ...state, slots: [slot(0), slot(1)], revision }, now, effects)
}

function count(state: WgState, slot: Slot, packets: number, now: number): WgState {
  const { rotation } = state
  if (rotation.phase !== 'draining' || rotation.slot !== slot || rotation.quiet?.packets === packets) return state
  return { ...state, rotation: { ...rotation, quiet: { packets, at: now } } }
}

function asked(state: WgState): WgState {
  if (state.rotation.phase !== 'idle' || state.queue.length > 0) return state
  return { ...state, queue: [{ slot: nextDue(state.slots, state.config, 0).slot, reason: 'Rotate' }] }
}

/** Both keys go, first the slot that fewer peers are sent to through. */
function compromised(state: WgState): WgState {
  let onSlot0 = 0
  for (const { egress } of state.peers) if (egress === 0) onSlot0++
  const first: Slot = onSlot0 * 2 <= state.peers.size ? 0 : 1
  const { rotation } = state
  const jobs: Job[] = [first, otherSlot(first)].map((slot) => ({ slot, reason: 'Compromise' }))
  if (rotation.phase === 'waiting' || rotation.phase === 'draining') {
    const queue = jobs.filter(({ slot }) => slot !== rotation.slot)
    return { ...state, rotation: { ...rotation, reason: 'Compromise' }, queue }
  }
  return { ...state, queue: jobs }
}

/** Goes before everything else, but lets a key change that was begun come to its end. */
function repair(state: WgState, job: Job): WgState {
  const { rotation, queue } = state
  const same = (one: Job): boolean => one.slot === job.slot && one.reason === 'Repair'
  // One that settles has made its device, and that one may be gone too.
  if (rotation.phase !== 'idle' && rotation.phase !== 'settling' && same(rotation)) {
    // What was drained as it stood is gone meanwhile.
    return job.gone !== true || rotation.gone === true ? state : { ...state, rotation: { ...rotation, gone: true } }
  }
  const queued = queue.find(same)
  if (queued !== undefined && (job.gone !== true || queued.gone === true)) return state
  return { ...state, queue: [job, ...queue.filter((one) => !same(one))] }
}

function tick(before: WgState, wallMs: number, now: number, effects: WgEffect[]): WgState {
  let state = each(before, now, effects, (pair) => kick(before, pair, now, effects))
  if (state.acknowledged < state.revision && now - state.publishedAt >= state.config.retryMs) {
    state = publish(state, now, effects)
  }
  state = begin(state, now)
  const { rotation } = state
  if (rotation.phase === 'idle') return state
  if (rotation.phase === 'rekeying') {
    if (now - rotation.askedAt < state.config.retryMs * KEY_RETRIES) return state
    effects.push(changeKey(rotation))
    return { ...state, rotation: { ...rotation, askedAt: now } }
  }
  const drainingSince = rotation.phase === 'draining' ? rotation.since : now
  const facts = {
    census: takeCensus(state.peers, rotation.slot, drainingSince, now, drainer(state)),
    published: state.acknowledged >= state.revision,
    keyAgeMs: now - state.slots[rotation.slot].bornAt,
  }
  const { slot, reason } = rotation
  switch (advance(rotation, facts, state.config, now)) {
    case undefined:
      return state
    case 'drain': {
      const revision = state.revision + 1
      const draining: WgState = {
        ...state,
        revision,
        drain: { slot, seq: revision, since: wallMs, reason },
        rotation: { phase: 'draining', ...jobOf(rotation), since: now, quiet: undefined },
      }
      return publish(
        each(draining, now, effects, (pair) => pair),
        now,
        effects,
      )
    }
    case 'rekey': {
      // Egress that is still on the slot leaves it before the key is another.
      const rekeying: WgState = { ...state, rotation: { phase: 'rekeying', slot, reason, since: now, askedAt: now } }
      const reviewed = each(rekeying, now, effects, (pair) => pair)
      effects.push(changeKey({ slot, reason }))
      return reviewed
    }
    case 'done':
      return { ...state, rotation: rest(state) }
  }
}

const changeKey = ({ slot, reason }: Job): WgEffect => ({ kind: reason === 'Repair' ? 'recreate' : 'newKey', slot })

const jobOf = ({ slot, reason, gone }: Job): Job => ({ slot, reason, ...(gone === undefined ? {} : { gone }) })

const rest = (state: WgState): Rotation => ({
  phase: 'idle',
  dueAt: nextDue(state.slots, state.config, spreadOf(`${state.uid} ${state.revision}`)).dueAt,
})

/**
 * Starts the next rotation: what was asked for, else what is due. A repair sets aside one that still waits, and does not wait
 * for peers to prove a key that is made already.
 */
function begin(state: WgState, now: number): WgState {
  const { rotation } = state
  const [job, ...queue] = state.queue
  if (rotation.phase === 'idle') {
    if (job !== undefined) return { ...state, queue, rotation: { phase: 'waiting', ...job, since: now } }
    if (now < rotation.dueAt) return state
    const { slot } = nextDue(state.slots, state.config, 0)
    return { ...state, rotation: { phase: 'waiting', slot, reason: 'Rotate', since: now } }
  }
  if (job?.reason !== 'Repair' || rotation.phase === 'rekeying') return state
  if (rotation.phase === 'settling') return { ...state, queue, rotation: { phase: 'waiting', ...job, since: now } }
  // A device that is gone does not wait for one that stands to be drained.
  if (rotation.reason === 'Repair' && (rotation.gone === true || job.gone !== true)) return state
  const rotations = rotation.slot === job.slot ? queue : [jobOf(rotation), ...queue]
  return { ...state, queue: rotations, rotation: { phase: 'waiting', ...job, since: now } }
}

function kick({ slots, config }: WgState, pair: Pair, now: number, effects: WgEffect[]): Pair {
  let next = pair
  for (const slot of SLOTS) {
    const state = slotState(next, slot, now)
    const tunnel = next.tunnels[slot]
    if (state === 'absent' || state === 'proven' || now - tunnel.kickedAt < config.kickMs) continue
    if (yields(slots[slot], tunnel, now)) continue
    effects.push({ kind: 'kick', uid: pair.uid, slot })
    next = withTunnel(next, slot, { kickedAt: now })
  }
  return next
}

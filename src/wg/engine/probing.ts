import { sendsThroughTunnel } from '../activation.ts'
import { yields } from '../first-handshake.ts'
import type { WgState } from '../machine-types.ts'
import { drainOf, everProven, slotState, usable, type Pair } from '../pair.ts'
import { spreadOf } from '../rotation.ts'
import type { ProbeResult, Prober } from '../seams.ts'
import { HANDSHAKE_STALE_MS, PROBES_LOST, SLOTS, otherSlot, type Slot } from '../slots.ts'
import { Finder, type PeersByKey } from './by-key.ts'
import type { EngineTuning } from './types.ts'

/** Octets of a peer from one look to the next: more than questions, answers and keepalives make. */
const TRAFFIC_BYTES = 2_048
/** A peer counts as one with traffic for so long after the last, ms. */
const TRAFFIC_MS = 10_000
/** A tunnel that is not proven is asked often for this long after it came, ms. */
const NEW_MS = 120_000
/** An answer that is later counts as lost, ms. */
const LOST_MS = 1_000
/** How often it is looked who must be asked, ms. */
export const ASK_MS = 250
/**
 * Peers that were asked together would be so for ever. So no look asks more of those that can wait than come to it when they
 * are spread, and some: the others wait for the next.
 */
const SPREAD = 1.5
const LEAST_TOGETHER = 64
/** Questions a second, at most, to peers that are asked only because a rotation goes on, or more often than others as they are new. */
const ROTATION_RATE = 2_000
/** A pair that is not yet where it shall be is asked this often, ms: each step of the two ends needs an answer. */
const STEP_MS = 500
/**
 * A question to a peer with traffic that is not answered after this, ms, and twice the usual time, is not waited for: more are
 * asked at once, so that three are lost, and the traffic has left the slot, within three seconds of a fault.
 */
const DOUBT_MS = 200
const DOUBTS = PROBES_LOST - 1
/** Whether a tunnel is new is looked up this often at most, ms: it is asked for with each answer, and takes a walk over all peers. */
const TRANSITIONAL_MS = 100

interface Track {
  key: string | undefined
  since: number
  askedAt: number
  fullAt: number
  bytes: number
  /** When the last question was asked that was answered. */
  answeredAt: number
  lossSince: number | undefined
  /** When an answer came after a loss. */
  recoveredAt: number
  /** The peer's key when it said last that it is about to change it. */
  drained: string | undefined
  /** When the first question was asked that came after the last answer. */
  openSince: number | undefined
  /** Asked out of turn since then. */
  doubts: number
}

interface Peer {
  readonly uid: string
  readonly tracks: readonly [Track, Track]
  trafficUntil: number
}

/** What the look at a peer goes by that is the same for all. */
interface Terms {
  readonly slots: WgState['slots']
  readonly rotating: boolean
  readonly size: number
  readonly target: WgState['target']
  readonly leavingSince: number
}

const sameTerms = (a: Terms | undefined, b: Terms): boolean =>
  a?.slots === b.slots &&
  a.rotating === b.rotating &&
  a.size === b.size &&
  a.target === b.target &&
  a.leavingSince === b.leavingSince

/**
 * How long a slot of a peer has lost all while the other one answered, ms. A peer whose agent was away loses on both, and one of them
 * answers first when it is back.
 */
function aloneMs({ lossSince }: Track, other: Track): number {
  if (lossSince === undefined || other.lossSince !== undefined) return 0
  return other.answeredAt - Math.max(lossSince, other.recoveredAt)
}

/** Handshakes with the keys that are current work. That a question was answered ever is not asked: our agent may be new. */
const shakes = ({ tunnels }: Pair, slot: Slot, now: number): boolean =>
  tunnels[slot].key !== undefined && tunnels[slot].handshaken && now - tunnels[slot].freshAt <= HANDSHAKE_STALE_MS

/** Nothing was asked since the last answer. */
const UNASKED = { lossSince: undefined, openSince: undefined, doubts: 0 } as const

/** The pair sends, and refuses clear text, as it is configured. */
const arrived = ({ mode }: Pair, { target }: WgState): boolean =>
  target === 'off' ? !sendsThroughTunnel(mode) : mode === target

/** Not for ever: a peer whose own target is another one never gets there. */
const pressing = ({ target, leavingSince }: WgState, now: number, since: number): boolean =>
  now - (target === 'off' ? Math.max(since, leavingSince) : since) < NEW_MS

/** What the peer says of itself, which changes with each answer, is no reason to ask it. */
const sameLook = (a: Pair | undefined, b: Pair): boolean =>
  a === b ||
  (a?.tunnels === b.tunnels && a.egress === b.egress && a.mode === b.mode && a.probes === b.probes && a.uid === b.uid)

export interface TunnelProbes {
  lost: number
  rttMs: number | undefined
}

/** When which peer is asked through which slot, and what the answers say of a whole slot. */
export class Probing {
  readonly counts = { answered: 0, lost: 0 }
  readonly #tuning: EngineTuning
  readonly #peers = new Map<string, Peer>()
  /** Those of the last walk, in the order of the machine's table: found again without looking for them. */
  #order: Peer[] = []
  /** In the same order: what they were at the last look, and until when there is nothing to do for one that stays that, ms. */
  #looked: Pair[] = []
  #restsUntil: number[] = []
  readonly #probes = new Map<string, readonly [TunnelProbes, TunnelProbes]>()
  readonly #repairedAt: [number, number] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY]
  #unsettled = { at: Number.NEGATIVE_INFINITY, is: false }
  #terms: Terms | undefined
  readonly #finders = [new Finder(), new Finder()] as const
  /** No tunnel is new after it, ms. */
  #newUntil = Number.NEGATIVE_INFINITY
  /** Those that have lost a question and had no answer since. */
  readonly #losing: readonly [Set<Track>, Set<Track>] = [new Set(), new Set()]

  constructor(tuning: EngineTuning) {
    this.#tuning = tuning
  }

  of(uid: string, slot: Slot): TunnelProbes {
    return this.#probes.get(uid)?.[slot] ?? { lost: 0, rttMs: undefined }
  }

  forget(uid: string): void {
    for (const slot of SLOTS) {
      const track = this.#peers.get(uid)?.tracks[slot]
      if (track !== undefined) this.#losing[slot].delete(track)
    }
    this.#peers.delete(uid)
    this.#order = []
    this.#looked = []
    this.#probes.delete(uid)
  }

  /** Some tunnel is new and not proven: looked at more often. */
  transitional(state: WgState, now: number): boolean {
    if (state.rotation.phase !== 'idle') return true
    if (now >= this.#newUntil) return false
    if (now - this.#unsettled.at >= TRANSITIONAL_MS) this.#unsettled = { at: now, is: this.#anyNew(state, now) }
    return this.#unsettled.is
  }

  #anyNew(state: WgState, now: number): boolean {
    let place = 0
    for (const pair of state.peers) {
      const tracks = this.#at(place++, pair)?.tracks
      for (const slot of SLOTS) {
        const track = tracks?.[slot]
        if (track !== undefined && now - track.since < NEW_MS && !everProven(pair, slot)) return true
      }
    }
    return false
  }

  /** Of thousands few are due: the others are passed over until their time, unless they changed. */
  askDue(state: WgState, prober: Prober, now: number): void {
    const rotating = state.rotation.phase !== 'idle'
    const { probeMs, idleProbeMs, fullProbeMs } = this.#tuning
    const sharedMs = (state.peers.size * 2 * 1000) / ROTATION_RATE
    const rotatingMs = Math.max(probeMs, sharedMs)
    const stepMs = Math.min(probeMs, Math.max(STEP_MS, sharedMs))
    const share = (period: number): number =>
      Math.max(LEAST_TOGETHER, Math.ceil((state.peers.size * 2 * ASK_MS * SPREAD) / period))
    const restMs = rotating ? Math.min(rotatingMs, idleProbeMs) : idleProbeMs
    const left = { stepping: share(stepMs), rest: share(restMs) }
    const { slots, target, leavingSince } = state
    const terms = { slots, rotating, size: state.peers.size, target, leavingSince }
    const same = sameTerms(this.#terms, terms)
    // Until this look has come to its end: what throws in it must not leave others at rest.
    this.#terms = undefined
    let place = -1
    for (const pair of state.peers) {
      place++
      const before = this.#looked[place]
      this.#looked[place] = pair
      if (same && sameLook(before, pair) && now < (this.#restsUntil[place] ?? now)) continue
      this.#restsUntil[place] = Number.POSITIVE_INFINITY
      if (!pair.probes) continue
      const peer = this.#at(place, pair) ?? this.#add(pair, now)
      this.#order[place] = peer
      let restsUntil = Number.POSITIVE_INFINITY
      const { tracks } = peer
      const traffic = peer.trafficUntil > now
      // Also the slot that works: it tells whether the other one or the peer's agent is at fault.
      const losing = pair.tunnels[0].lost > 0 || pair.tunnels[1].lost > 0
      for (const slot of SLOTS) {
        const track = tracks[slot]
        const { key } = pair.tunnels[slot]
        if (key !== track.key) {
          this.#unask(track, slot, now)
          Object.assign(track, { key, since: now, askedAt: now - idleProbeMs })
          this.#newUntil = now + NEW_MS
        }
        const proven = slotState(pair, slot, now) === 'proven'
        const young = now - track.since < NEW_MS
        const fast = traffic || losing || (!proven && (everProven(pair, slot) || young))
        const stepping =
          (young && !everProven(pair, slot)) || (pressing(state, now, track.since) && !arrived(pair, state))
        const period = stepping ? stepMs : fast ? probeMs : restMs
        // A question into a tunnel without a session begins a handshake.
        if (key === undefined) continue
        if (yields(state.slots[slot], pair.tunnels[slot], now)) {
          restsUntil = now
          continue
        }
        const doubt = traffic && slot === pair.egress && now >= this.#doubtAt(track, pair.uid, slot)
        const early = now < track.askedAt + period
        // With the key that we have now nothing was asked yet: the answer ends a rotation.
        if (!early || doubt || track.askedAt < state.slots[slot].bornAt) {
          const waits = !doubt && (stepping || !fast || early)
          if (waits && left[stepping ? 'stepping' : 'rest']-- <= 0) {
            restsUntil = now
            continue
          }
          if (doubt) track.doubts++
          else track.askedAt = now
          track.openSince ??= now
          const full = now >= track.fullAt && everProven(pair, slot)
          if (full) track.fullAt = now + fullProbeMs
          prober.ask(pair.uid, slot, full)
        }
        // What time alone changes: it is due, its handshake is old, it is in doubt.
        restsUntil = Math.min(restsUntil, track.askedAt + period)
        if (proven) restsUntil = Math.min(restsUntil, pair.tunnels[slot].freshAt + HANDSHAKE_STALE_MS)
        if (traffic && slot === pair.egress) restsUntil = Math.min(restsUntil, this.#doubtAt(track, pair.uid, slot))
      }
      this.#restsUntil[place] = restsUntil
    }
    this.#terms = terms
  }

  #doubtAt({ openSince, doubts }: Track, uid: string, slot: Slot): number {
    if (openSince === undefined || doubts >= DOUBTS) return Number.POSITIVE_INFINITY
    return openSince + DOUBT_MS + 2 * (this.of(uid, slot).rttMs ?? 0)
  }

  #unask(track: Track, slot: Slot, now: number): void {
    track.openSince = undefined
    track.doubts = 0
    if (track.lossSince === undefined) return
    track.lossSince = undefined
    this.#losing[slot].delete(track)
    track.recoveredAt = now
  }

  /** Handed on by the prober. False: it was asked before one of the two keys changed, and says nothing of these. */
  result(result: ProbeResult, state: WgState, now: number): boolean {
    const tracks = this.#peers.get(result.uid)?.tracks
    const track = tracks?.[result.slot]
    const key = state.peers.get(result.uid)?.tunnels[result.slot].key
    if (tracks === undefined || track === undefined || key !== track.key) return false
    const asked = now - (result.answered ? result.rttMs : LOST_MS)
    if (asked < Math.max(track.since, state.slots[result.slot].bornAt)) return false
    const probes = this.#probesOf(result.uid)[result.slot]
    if (result.answered) {
      this.counts.answered++
      probes.rttMs = result.rttMs
      track.answeredAt = asked
      track.drained = undefined
      const { drain } = result.announcement
      if (drain !== null) tracks[drain.slot].drained = tracks[drain.slot].key
      this.#unask(track, result.slot, now)
    } else {
      this.counts.lost++
      probes.lost++
      track.lossSince ??= now
      this.#losing[result.slot].add(track)
    }
    return true
  }

  /** Looks at what the peers sent and received since the dump before. */
  traffic({ peers }: WgState, slot: Slot, found: PeersByKey, now: number): void {
    const finder = this.#finders[slot]
    finder.begin(found)
    let place = -1
    for (const pair of peers) {
      const peer = this.#at(++place, pair)
      const { key } = pair.tunnels[slot]
      const device = key === undefined ? undefined : finder.get(key)
      if (peer === undefined || device === undefined) continue
      const track = peer.tracks[slot]
      const bytes = device.rxBytes + device.txBytes
      if (bytes - track.bytes > TRAFFIC_BYTES && track.bytes > 0) {
        peer.trafficUntil = now + TRAFFIC_MS
        this.#restsUntil[place] = now
      }
      track.bytes = bytes
    }
  }

  /**
   * A slot whose handshakes work and that still carries nothing of most peers, while the other slot carries it, for
   * `brokenAfterMs`: its device is broken. A peer that can be reached through it says that it is not, also one that has no other.
   * Peers that are about to change their key of the slot, or did and have not told yet, say nothing.
   */
  broken(state: WgState, now: number): Slot | undefined {
    return SLOTS.find((slot) => {
      if (now - this.#repairedAt[slot] < this.#tuning.repairGapMs) return false
      if (state.rotation.phase !== 'idle' && state.rotation.slot === slot) return false
      if (this.#losing[slot].size === 0) return false
      let [judged, lost, place] = [0, 0, -1]
      for (const pair of state.peers) {
        const tracks = this.#at(++place, pair)?.tracks
        if (tracks === undefined || !pair.probes || !shakes(pair, slot, now)) continue
        const { key, lost: questions } = pair.tunnels[slot]
        if (drainOf(pair, now)?.slot === slot || tracks[slot].drained === key) continue
        const carries = usable(pair, slot, now)
        if (!carries && !usable(pair, otherSlot(slot), now)) continue
        judged++
        const alone = aloneMs(tracks[slot], tracks[otherSlot(slot)])
        if (!carries && questions >= PROBES_LOST && alone >= this.#tuning.brokenAfterMs) lost++
      }
      if (lost * 2 <= judged) return false
      this.#repairedAt[slot] = now
      return true
    })
  }

  #at(place: number, { uid }: Pair): Peer | undefined {
    const peer = this.#order[place]
    return peer?.uid === uid ? peer : this.#peers.get(uid)
  }

  #add(pair: Pair, now: number): Peer {
    const { idleProbeMs, fullProbeMs } = this.#tuning
    const track = (slot: Slot): Track => {
      const spread = spreadOf(`${pair.uid} ${slot}`)
      return {
        key: pair.tunnels[slot].key,
        since: now,
        askedAt: now - spread * idleProbeMs,
        fullAt: now + spread * fullProbeMs,
        bytes: 0,
        answeredAt: Number.NEGATIVE_INFINITY,
        recoveredAt: Number.NEGATIVE_INFINITY,
        drained: undefined,
        ...UNASKED,
      }
    }
    const peer: Peer = {
      uid: pair.uid,
      tracks: [track(0), track(1)],
      trafficUntil: 0,
    }
    this.#newUntil = now + NEW_MS
    this.#peers.set(pair.uid, peer)
    return peer
  }

  #probesOf(uid: string): readonly [TunnelProbes, TunnelProbes] {
    let probes = this.#probes.get(uid)
    if (probes === undefined) {
      probes = [
        { lost: 0, rttMs: undefined },
        { lost: 0, rttMs: undefined },
      ]
      this.#probes.set(uid, probes)
    }
    return probes
  }
}

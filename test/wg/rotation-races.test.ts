import { describe, expect, it } from 'vitest'
import { DEFAULT_MACHINE, type WgState } from '../../src/wg/machine-types.ts'
import { step } from '../../src/wg/machine.ts'
import { ABSENT, NEVER, alive, type Announcement, type Pair, type Tunnel } from '../../src/wg/pair.ts'
import { PeerTable } from '../../src/wg/peer-table.ts'
import type { Drain, Slot } from '../../src/wg/slots.ts'

/* What the model in verify/ found: each test is one of its counterexamples. */

const NOW = 1_000_000
const WALL = 1_700_000_000_000

const working: Tunnel = { ...ABSENT, key: 'k', stamp: WALL, handshaken: true, answered: true, freshAt: NOW }
const said: Announcement = {
  sequence: NOW,
  mode: 'active',
  leaving: false,
  ack: NOW,
  egress: 0,
  drain: null,
}
const pair = (change: Partial<Pair>): Pair => ({
  uid: 'b',
  name: 'b',
  bootId: 'boot',
  twoSlots: true,
  probes: true,
  excused: false,
  tunnels: [working, working],
  egress: 0,
  drain: null,
  announced: said,
  announcedAt: NOW,
  mode: 'active',
  ...change,
})
const drainOf = (slot: Slot, since: number): Drain => ({ slot, seq: 1, since, reason: 'Rotate' })

function stateOf(peer: Pair, change: Partial<WgState>): WgState {
  const own = { publicKey: 'own', generation: 0, since: WALL, bornAt: 0, toldAt: 0 }
  return {
    uid: 'a',
    config: DEFAULT_MACHINE,
    slots: [own, own],
    drain: drainOf(1, WALL),
    revision: 1,
    acknowledged: 1,
    publishedAt: NOW,
    rotation: { phase: 'idle', dueAt: Number.POSITIVE_INFINITY },
    queue: [],
    peers: PeerTable.of([peer]),
    target: 'active',
    leavingSince: NEVER,
    ...change,
  }
}

const repairing = { phase: 'draining', slot: 1, reason: 'Repair', quiet: undefined } as const

describe('a slot whose key is being changed', () => {
  const rekeying = { phase: 'rekeying', slot: 1, reason: 'Rotate', since: NOW, askedAt: NOW } as const

  it('is not sent through, even when probes are lost on the other one', () => {
    let state = stateOf(pair({}), { rotation: rekeying })
    for (let lost = 0; lost < 4; lost++) {
      state = step(state, { kind: 'probe', uid: 'b', slot: 0, answered: false }, NOW).state
    }
    expect(state.peers.get('b')?.egress).toBe(0)
  })

  it('is left before the key changes, when it was still sent through', () => {
    const draining = { ...repairing, gone: true, since: NOW - 10_000 } as const
    const suspect = { ...working, lost: 3 }
    const state = stateOf(pair({ egress: 1, tunnels: [suspect, working] }), { rotation: draining })
    const { effects } = step(state, { kind: 'tick', wallMs: WALL }, NOW)
    expect(effects.map(({ kind }) => kind).filter((kind) => kind !== 'kick')).toEqual(['egress', 'recreate'])
  })
})

describe('a device that stands and receives nothing', () => {
  const since = NOW - 6_000
  const quiet = { packets: 0, at: since }
  const tickOf = (peer: Partial<Pair>, more: object = {}): readonly string[] => {
    const rotation = { ...repairing, since, quiet, gone: false, ...more } as const
    return step(stateOf(pair(peer), { rotation }), { kind: 'tick', wallMs: WALL }, NOW).effects.map(({ kind }) => kind)
  }
  const there = { announced: { ...said, egress: 1, ack: since + 1 } } as const

  it('is made again when nobody sends there any more', () => {
    expect(tickOf({ announced: { ...said, ack: since + 1 } })).toEqual(['recreate'])
  })

  it('is drained first, as for a new key: it may carry what others send', () => {
    expect(tickOf(there)).toEqual([])
    expect(tickOf({ announced: { ...said, ack: since - 1 } })).toEqual([])
    const loud = { quiet: { packets: 7, at: NOW - 1_000 } }
    expect(tickOf({ announced: { ...said, ack: since + 1 } }, loud)).toEqual([])
  })

  it('is not waited with for ever', () => {
    expect(tickOf(there, { since: NOW - 14_900 })).toEqual([])
    expect(tickOf(there, { since: NOW - 15_000 })).toEqual(['recreate'])
  })

  it('is made again at once when it is deleted meanwhile', () => {
    const before = stateOf(pair(there), { rotation: { ...repairing, since, quiet, gone: false } })
    const { state } = step(before, { kind: 'broken', slot: 1, gone: true, wallMs: WALL }, NOW)
    expect(step(state, { kind: 'tick', wallMs: WALL }, NOW).effects.map(({ kind }) => kind)).toEqual(['recreate'])
  })

  it('waits with its drain while the other device is gone', () => {
    const before = stateOf(pair(there), { rotation: { ...repairing, since, quiet, gone: false } })
    const told = step(before, { kind: 'broken', slot: 0, gone: true, wallMs: WALL }, NOW).state
    const { state } = step(told, { kind: 'tick', wallMs: WALL }, NOW)
    expect(state.rotation).toMatchObject({ slot: 0, reason: 'Repair', gone: true })
    expect(state.queue).toEqual([{ slot: 1, reason: 'Repair', gone: false }])
  })

  it('is one repair, however often it is found, and in a queue too', () => {
    const rotation = { phase: 'rekeying', slot: 0, reason: 'Rotate', since: NOW, askedAt: NOW } as const
    let state = stateOf(pair({}), { rotation })
    for (const gone of [false, false, true, false]) {
      state = step(state, { kind: 'broken', slot: 1, gone, wallMs: WALL }, NOW).state
    }
    expect(state.queue).toEqual([{ slot: 1, reason: 'Repair', gone: true }])
  })
})

describe('opposite drains', () => {
  const tickOf = (ours: number, theirs: number): readonly string[] => {
    const since = NOW - 60_000
    const quiet = { packets: 0, at: since }
    // Its word is older than a record would count, and it is all that tells of its drain.
    const announced = { ...said, ack: since + 1, drain: drainOf(0, theirs) }
    const state = stateOf(pair({ announced, announcedAt: NOW - 31_000 }), {
      drain: drainOf(1, ours),
      rotation: { phase: 'draining', slot: 1, reason: 'Rotate', since, quiet },
    })
    return step(state, { kind: 'tick', wallMs: WALL }, NOW).effects.map(({ kind }) => kind)
  }

  it('let the younger wait for the older, whatever was said of egress', () => {
    expect(tickOf(3000, 2000)).toEqual([])
  })

  it('let the older go on', () => {
    expect(tickOf(2000, 3000)).toEqual(['newKey'])
  })
})

describe('a peer whose agent is dead since before ours started', () => {
  it('is alive while its kernel keeps a session up, though no probe came back', () => {
    const silent: Tunnel = { ...working, answered: false }
    expect(alive(pair({ tunnels: [silent, silent], announced: undefined }), NOW)).toBe(true)
  })
})

describe('a rotation that has not begun', () => {
  const tickOf = (drain: Drain | null): readonly string[] => {
    const announced = { ...said, drain }
    const state = stateOf(pair({ announced, announcedAt: NOW - 31_000 }), {
      drain: null,
      rotation: { phase: 'waiting', slot: 1, reason: 'Rotate', since: NOW - 60_000 },
    })
    return step(state, { kind: 'tick', wallMs: WALL }, NOW).effects.map(({ kind }) => kind)
  }

  it('waits for a peer whose last word, however old, was a drain of the other slot', () => {
    expect(tickOf(drainOf(0, WALL))).toEqual([])
  })

  it('waits for no peer that drains the same slot, or none', () => {
    expect(tickOf(drainOf(1, WALL))).toEqual(['publish'])
    expect(tickOf(null)).toEqual(['publish'])
  })
})

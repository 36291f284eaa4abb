import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PeersByKey } from '../../../src/wg/engine/by-key.ts'
import { ASK_MS, Probing } from '../../../src/wg/engine/probing.ts'
import { DEFAULT_TUNING } from '../../../src/wg/engine/types.ts'
import type { WgState } from '../../../src/wg/machine-types.ts'
import {
  ABSENT,
  forgetProof,
  hear,
  observeProbe,
  observeStamp,
  withTunnel,
  type Announcement,
  type Pair,
} from '../../../src/wg/pair.ts'
import { PeerTable } from '../../../src/wg/peer-table.ts'
import type { Prober, ProbeResult } from '../../../src/wg/seams.ts'
import type { Drain, Slot } from '../../../src/wg/slots.ts'

const PEERS = 4
const START = 10_000_000

function pair(i: number): Pair {
  const tunnel = { ...ABSENT, key: `key ${i}`, stamp: 1, handshaken: true, answered: true, freshAt: START }
  return {
    ...{ uid: `uid-${i}`, name: `node-${i}`, bootId: 'boot', twoSlots: true, probes: true, excused: false },
    ...{ tunnels: [tunnel, tunnel], egress: 0, drain: null, announced: undefined, announcedAt: 0, mode: 'active' },
  }
}

type Event =
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'answer' | 'loss' | 'key' | 'gone key' | 'handshake' | 'our key' | 'traffic' | 'egress' | 'mode' }
  | { readonly kind: 'rotation' | 'target' | 'born' | 'leave' | 'come' }

type Said = 'answer' | 'loss' | 'handshake'

const wait = fc.record({
  kind: fc.constant('wait' as const),
  ms: fc.oneof(fc.integer({ min: 100, max: 1_500 }), fc.constantFrom(11_000, 62_000, 175_000)),
})
const KINDS = [
  ...['answer', 'answer', 'loss', 'loss', 'traffic', 'traffic', 'handshake', 'key', 'gone key', 'our key'],
  ...['egress', 'mode', 'rotation', 'target', 'born', 'leave', 'come'],
] as const
const events = fc.array(
  fc.record({
    event: fc.oneof(wait, fc.record({ kind: fc.constantFrom(...KINDS) })),
    peer: fc.integer({ min: 0, max: PEERS - 1 }),
    slot: fc.constantFrom<Slot>(0, 1),
  }),
  { minLength: 20, maxLength: 120 },
)

/** A world in which the same happens to any number of `Probing`. */
class World {
  now = START
  readonly own = { publicKey: 'own', generation: 0, since: 0, bornAt: 0, toldAt: 0 }
  state = {
    ...{ peers: PeerTable.of(Array.from({ length: PEERS }, (_, i) => pair(i))), slots: [this.own, this.own] },
    ...{ target: 'active', leavingSince: 0, rotation: { phase: 'idle', dueAt: 0 } },
  } as unknown as WgState
  #stamp = 1
  #bytes = 0

  change(i: number, make: (pair: Pair) => Pair): void {
    const pair = this.state.peers.get(`uid-${i}`)
    if (pair !== undefined) this.state = { ...this.state, peers: this.state.peers.with(make(pair)) }
  }

  answer(i: number, slot: Slot, drain: Drain | null, all: readonly Probing[]): void {
    const { state, now } = this
    const announcement: Announcement = { sequence: now, mode: 'active', leaving: false, ack: 0, egress: 0, drain }
    const result: ProbeResult = { uid: `uid-${i}`, slot, answered: true, rttMs: i * 300, announcement }
    for (const probing of all) probing.result(result, state, now)
    this.change(i, (one) => hear(observeProbe(one, slot, true), announcement, now))
  }

  happen({ kind }: Event, i: number, slot: Slot, all: readonly Probing[]): void {
    const { state, now } = this
    const uid = `uid-${i}`
    switch (kind) {
      case 'wait':
        break
      case 'answer':
      case 'loss': {
        if (kind === 'answer') {
          this.answer(i, slot, null, all)
          break
        }
        for (const probing of all) probing.result({ uid, slot, answered: false }, state, now)
        this.change(i, (one) => observeProbe(one, slot, false))
        break
      }
      case 'traffic': {
        this.#bytes += 5_000
        const found = { endpoint: undefined, allowedIps: [], keepalive: 25, lastHandshakeNs: 0n, txBytes: 0 }
        const key = state.peers.get(uid)?.tunnels[slot].key ?? ''
        const dump = new PeersByKey([{ ...found, publicKey: key, rxBytes: this.#bytes }])
        for (const probing of all) probing.traffic(state, slot, dump, now)
        break
      }
      case 'key':
        this.change(i, (one) => withTunnel(one, slot, { ...ABSENT, key: `key ${++this.#stamp}` }))
        break
      case 'gone key':
        this.change(i, (one) => withTunnel(one, slot, ABSENT))
        break
      case 'handshake':
        this.change(i, (one) => observeStamp(one, slot, ++this.#stamp, this.#stamp, now))
        break
      case 'our key':
        this.state = { ...state, peers: state.peers.map((one) => forgetProof(one, slot, 0)) }
        break
      case 'egress':
        this.change(i, (one) => ({ ...one, egress: slot }))
        break
      case 'mode':
        this.change(i, (one) => ({ ...one, mode: slot === 0 ? 'proven' : 'active' }))
        break
      case 'rotation':
        this.state = { ...state, rotation: slot === 0 ? { phase: 'idle', dueAt: 0 } : ({ phase: 'waiting' } as never) }
        break
      case 'target':
        this.state = { ...state, target: slot === 0 ? 'active' : 'off', leavingSince: slot === 0 ? 0 : now }
        break
      case 'born':
        this.state = { ...state, slots: [this.own, { ...this.own, bornAt: now }] }
        break
      case 'leave':
        this.state = { ...state, peers: state.peers.without(uid) }
        for (const probing of all) probing.forget(uid)
        break
      case 'come':
        if (state.peers.get(uid) === undefined) this.state = { ...state, peers: state.peers.with(pair(i)) }
        break
    }
  }
}

describe('a look that passes over who is not due', () => {
  it('asks the same questions as one that goes through all', () => {
    fc.assert(
      fc.property(events, (all) => {
        const world = new World()
        const probings = [new Probing(DEFAULT_TUNING), new Probing(DEFAULT_TUNING)] as const
        const asked: [string[], string[]] = [[], []]
        const proberOf = (to: string[]): Prober =>
          ({ ask: (uid: string, slot: Slot, full?: boolean) => to.push(`${uid} ${slot} ${full}`) }) as unknown as Prober
        const [some, every] = [proberOf(asked[0]), proberOf(asked[1])]
        const look = (): void => {
          world.now += ASK_MS
          probings[0].askDue(world.state, some, world.now)
          // Pairs whose tunnels are other objects, though the same, are looked at.
          const peers = world.state.peers.map((one) => ({ ...one, tunnels: [one.tunnels[0], one.tunnels[1]] }))
          probings[1].askDue({ ...world.state, peers }, every, world.now)
          asked[0].push(`at ${world.now}`)
          asked[1].push(`at ${world.now}`)
        }
        for (const { event, peer, slot } of all) {
          if (event.kind === 'wait') for (let ms = 0; ms < event.ms; ms += ASK_MS) look()
          else world.happen(event, peer, slot, probings)
        }
        expect(asked[0]).toEqual(asked[1])
      }),
      { numRuns: 300 },
    )
  })

  it('asks again at once when traffic moves to a slot whose answer is late', () => {
    const world = new World()
    const probing = new Probing(DEFAULT_TUNING)
    const asked: string[] = []
    const prober = { ask: (uid: string, slot: Slot) => asked.push(`${uid} ${slot}`) } as unknown as Prober
    const look = (): string[] => {
      world.now += ASK_MS
      asked.length = 0
      probing.askDue(world.state, prober, world.now)
      return asked.filter((one) => one.startsWith('uid-0 '))
    }
    for (let i = 0; i < 42; i++) look()
    for (let i = 0; i < 2; i++) world.happen({ kind: 'traffic' }, 0, 0, [probing])
    while (look().length < 2) continue
    expect([look(), look()]).toEqual([['uid-0 0'], ['uid-0 0']])
    world.happen({ kind: 'egress' }, 0, 1, [probing])
    expect(look()).toEqual(['uid-0 1'])
  })

  it('leaves nobody at rest when a question throws', () => {
    const world = new World()
    const probing = new Probing(DEFAULT_TUNING)
    const asked = new Set<string>()
    let calls = 0
    const ask = (uid: string, slot: Slot): void => {
      if (calls++ % 3 === 1) throw new Error('no socket')
      asked.add(`${uid} ${slot}`)
    }
    for (let ms = 0; ms < 5 * DEFAULT_TUNING.idleProbeMs; ms += ASK_MS) {
      world.now += ASK_MS
      try {
        probing.askDue(world.state, { ask } as unknown as Prober, world.now)
      } catch {
        // As a timer of the engine does.
      }
    }
    expect(asked.size).toBe(2 * PEERS)
  })

  /** All peers proven in both slots, for so long that nothing is new. */
  function settled(): {
    world: World
    probing: Probing
    look: (ms: number) => void
    all: (kind: Said, slot: Slot) => void
  } {
    const world = new World()
    const probing = new Probing(DEFAULT_TUNING)
    const prober = { ask: () => undefined } as unknown as Prober
    const look = (ms: number): void => {
      for (const end = world.now + ms; world.now < end; world.now += ASK_MS) {
        probing.askDue(world.state, prober, world.now)
      }
    }
    const all = (kind: Said, slot: Slot): void => {
      for (let i = 0; i < PEERS; i++) world.happen({ kind }, i, slot, [probing])
    }
    look(130_000)
    for (const slot of [0, 1] as const) all('handshake', slot)
    expect(probing.broken(world.state, world.now)).toBeUndefined()
    return { world, probing, look, all }
  }

  it('finds a slot broken that loses what the other one carries, and a tunnel new, also after many looks', () => {
    const { world, probing, look, all } = settled()
    expect(probing.transitional(world.state, world.now)).toBe(false)
    all('loss', 0)
    // An answer tells of when it was asked for, a second before.
    for (let waited = 0; waited < DEFAULT_TUNING.brokenAfterMs + 1_000; waited += 1_000) {
      expect(probing.broken(world.state, world.now)).toBeUndefined()
      look(1_000)
      all('loss', 0)
      all('answer', 1)
    }
    expect(probing.broken(world.state, world.now)).toBe(0)
    world.happen({ kind: 'key' }, 1, 0, [probing])
    look(ASK_MS)
    expect(probing.transitional(world.state, world.now)).toBe(true)
  })

  it('takes a peer that is reached through the slot for a witness, also one that has no other slot', () => {
    const { world, probing, look, all } = settled()
    for (let waited = 0; waited < 2 * DEFAULT_TUNING.brokenAfterMs; waited += 1_000) {
      look(1_000)
      all('loss', 1)
      for (let i = 1; i < PEERS; i++) world.happen({ kind: 'answer' }, i, 0, [probing])
      world.happen({ kind: 'loss' }, 0, 0, [probing])
      world.happen({ kind: 'answer' }, 0, 1, [probing])
      expect(probing.broken(world.state, world.now)).not.toBe(0)
    }
  })

  it('finds a slot broken that carried nothing since the agent started', () => {
    const { world, probing, look, all } = settled()
    for (const one of world.state.peers) {
      const silent = withTunnel(one, 0, { answered: false })
      world.state = { ...world.state, peers: world.state.peers.with(silent) }
    }
    const carry = (ms: number): void => {
      for (let waited = 0; waited < ms; waited += 1_000) {
        all('loss', 0)
        look(1_000)
        all('answer', 1)
      }
    }
    carry(DEFAULT_TUNING.brokenAfterMs - 1_000)
    expect(probing.broken(world.state, world.now)).toBeUndefined()
    carry(3_000)
    expect(probing.broken(world.state, world.now)).toBe(0)
  })

  it('waits for the new key of a peer that told of its drain, and of no other', () => {
    const { world, probing, look, all } = settled()
    const carry = (ms: number, drain: Drain | null): void => {
      for (let waited = 0; waited < ms; waited += 1_000) {
        look(1_000)
        all('loss', 0)
        for (let i = 0; i < PEERS; i++) world.answer(i, 1, drain, [probing])
      }
    }
    carry(2_000, { slot: 0, seq: 1, since: 1, reason: 'Rotate' })
    carry(60_000, null)
    expect(probing.broken(world.state, world.now)).toBeUndefined()
    for (let i = 0; i < PEERS; i++) {
      world.happen({ kind: 'key' }, i, 0, [probing])
      look(ASK_MS)
      world.happen({ kind: 'handshake' }, i, 0, [probing])
    }
    carry(DEFAULT_TUNING.brokenAfterMs, null)
    expect(probing.broken(world.state, world.now)).toBeUndefined()
    carry(4_000, null)
    expect(probing.broken(world.state, world.now)).toBe(0)
  })

  it('asks the slot that works as often as the one that does not: which of them it is, is known from both', () => {
    const { world, probing } = settled()
    const asked: string[] = []
    const prober = { ask: (uid: string, slot: Slot) => asked.push(`${uid} ${slot}`) } as unknown as Prober
    const look = (): void => {
      for (const end = world.now + 5_000; world.now < end; world.now += ASK_MS)
        probing.askDue(world.state, prober, world.now)
    }
    look()
    expect(asked.filter((text) => text === 'uid-0 1').length).toBeLessThanOrEqual(1)
    world.happen({ kind: 'loss' }, 0, 0, [probing])
    asked.length = 0
    look()
    expect(asked.filter((text) => text === 'uid-0 1').length).toBeGreaterThanOrEqual(4)
    expect(asked.filter((text) => text === 'uid-1 1').length).toBeLessThanOrEqual(1)
  })

  it('takes an agent that speaks for a moment only for one that is away', () => {
    const { world, probing, look, all } = settled()
    const away = (ms: number): void => {
      for (let waited = 0; waited < ms; waited += 1_000) {
        look(1_000)
        all('loss', 0)
        all('loss', 1)
      }
    }
    away(30_000)
    all('answer', 1)
    // Not asked again for ten seconds.
    look(DEFAULT_TUNING.brokenAfterMs + 500)
    all('loss', 0)
    expect(probing.broken(world.state, world.now)).toBeUndefined()
    away(20_000)
    expect(probing.broken(world.state, world.now)).toBeUndefined()
  })

  it.each<Slot>([0, 1])('takes peers that were away for peers, also when slot %i answers first', (first) => {
    const { world, probing, look, all } = settled()
    const last = first === 0 ? 1 : 0
    // One slot is asked seldom when there is no traffic: it seems to work for longer.
    all('loss', last)
    for (let waited = 0; waited < 3 * DEFAULT_TUNING.brokenAfterMs; waited += 1_000) {
      look(1_000)
      all('loss', last)
      if (waited > DEFAULT_TUNING.brokenAfterMs) all('loss', first)
      expect(probing.broken(world.state, world.now)).toBeUndefined()
    }
    all('answer', first)
    expect(probing.broken(world.state, world.now)).toBeUndefined()
    look(DEFAULT_TUNING.brokenAfterMs - 2_000)
    all('loss', last)
    all('answer', first)
    expect(probing.broken(world.state, world.now)).toBeUndefined()
    look(4_000)
    all('loss', last)
    expect(probing.broken(world.state, world.now)).toBeUndefined()
    all('answer', first)
    expect(probing.broken(world.state, world.now)).toBe(last)
  })
})

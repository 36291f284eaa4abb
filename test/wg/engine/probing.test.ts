import { describe, expect, it } from 'vitest'
import { ASK_MS, Probing } from '../../../src/wg/engine/probing.ts'
import { DEFAULT_TUNING } from '../../../src/wg/engine/types.ts'
import type { WgState } from '../../../src/wg/machine-types.ts'
import { ABSENT, type Pair } from '../../../src/wg/pair.ts'
import { PeerTable } from '../../../src/wg/peer-table.ts'
import type { Prober } from '../../../src/wg/seams.ts'

const PEERS = 2_000
const FRESH = 10_000_000

function pair(i: number, lost = 0): Pair {
  const tunnel = { ...ABSENT, key: `key ${i}`, stamp: 1, handshaken: true, answered: true, freshAt: FRESH, lost }
  return {
    ...{ uid: `uid-${i}`, name: `node-${i}`, bootId: 'boot', twoSlots: true, probes: true, excused: false },
    ...{ tunnels: [tunnel, tunnel], egress: 0, drain: null, announced: undefined, announcedAt: 0, mode: 'active' },
  }
}

function stateOf(peers: PeerTable<Pair>): WgState {
  const own = { publicKey: 'own', generation: 0, since: 0, bornAt: 0, toldAt: 0 }
  const state = { peers, slots: [own, own], target: 'active', leavingSince: 0, rotation: { phase: 'idle', dueAt: 0 } }
  return state as unknown as WgState
}

/** When which tunnel was asked, and how many at each look. */
class Asked {
  readonly at = new Map<string, number[]>()
  readonly looks: number[] = []
  now = FRESH
  readonly prober: Prober = {
    ask: (uid: string, slot: number) => {
      const id = `${uid} ${slot}`
      this.at.set(id, [...(this.at.get(id) ?? []), this.now])
      this.looks.push((this.looks.pop() ?? 0) + 1)
    },
  } as unknown as Prober

  run(probing: Probing, state: WgState, ms: number): void {
    for (const end = this.now + ms; this.now < end; this.now += ASK_MS) {
      this.looks.push(0)
      probing.askDue(state, this.prober, this.now)
    }
  }
}

describe('questions to thousands of peers', () => {
  const state = stateOf(PeerTable.of(Array.from({ length: PEERS }, (_, i) => pair(i))))
  const spread = (PEERS * 2 * ASK_MS) / DEFAULT_TUNING.idleProbeMs

  it('are spread over the time, also when all have become due at one moment', () => {
    const asked = new Asked()
    const probing = new Probing(DEFAULT_TUNING)
    asked.run(probing, state, 20_000)
    // Nobody looked for a minute: all are due.
    asked.now += 60_000
    asked.looks.length = 0
    asked.at.clear()
    asked.run(probing, state, 40_000)
    expect(Math.max(...asked.looks)).toBeLessThanOrEqual(1.5 * spread)
    expect(asked.at.size).toBe(PEERS * 2)
    for (const times of asked.at.values()) {
      const gaps = times.slice(1).map((at, i) => at - (times[i] ?? 0))
      expect(Math.max(...gaps)).toBeLessThanOrEqual(DEFAULT_TUNING.idleProbeMs + 2 * ASK_MS)
    }
  })

  it('that lost one wait for nobody', () => {
    const asked = new Asked()
    const probing = new Probing(DEFAULT_TUNING)
    asked.run(probing, state, 1_000)
    asked.now += 60_000
    asked.at.clear()
    const last = PEERS - 1
    asked.run(probing, stateOf(state.peers.with(pair(last, 1))), ASK_MS)
    expect([...asked.at.keys()]).toContain(`uid-${last} 1`)
  })

  it('are as often as ever to a few', () => {
    const asked = new Asked()
    const few = stateOf(PeerTable.of([pair(1), pair(2)]))
    const probing = new Probing(DEFAULT_TUNING)
    asked.run(probing, few, 1_000)
    asked.now += 60_000
    asked.looks.length = 0
    asked.run(probing, few, ASK_MS)
    expect(asked.looks).toEqual([4])
  })
})

describe('whether a tunnel is new', () => {
  it('is looked up ten times a second at most, however often it is asked for', () => {
    let walks = 0
    const peers = PeerTable.of([pair(1)])
    const state = stateOf(peers)
    const counted = {
      ...state,
      peers: {
        size: 1,
        *[Symbol.iterator]() {
          walks++
          yield* peers
        },
      },
    } as unknown as WgState
    const probing = new Probing(DEFAULT_TUNING)
    expect(probing.transitional(counted, FRESH)).toBe(false)
    expect(walks).toBe(0)
    // Peers that are asked for the first time.
    probing.askDue(counted, { ask: () => undefined } as unknown as Prober, FRESH)
    walks = 0
    for (let i = 0; i < 1_000; i++) probing.transitional(counted, FRESH + i)
    expect(walks).toBe(10)
    expect(probing.transitional(counted, FRESH + 1_000)).toBe(false)
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { beginsAt, comesFirst, REACH_MS, UNTOLD_MS, yields, YIELD_MS } from '../../src/wg/first-handshake.ts'
import type { OwnSlot } from '../../src/wg/machine-types.ts'

const WALL = 1_700_000_000_000
const REKEY_TIMEOUT_MS = 5_000

/** One end of a tunnel, in true time, ms. */
interface End {
  /** What its clock said when it made its key: the clock may be wrong. */
  readonly since: number
  readonly key: string
  readonly toldAt: number
  /** The record of the other end came. */
  readonly hearsAt: number
}

const own = ({ since, key, toldAt }: End): OwnSlot => ({
  ...{ publicKey: key, generation: 0, since, bornAt: toldAt, toldAt },
})
const begins = (one: End, other: End): number => Math.max(one.hearsAt, beginsAt(own(one), other))

interface Outcome {
  /** When there is a session; undefined: not before WireGuard tries again. */
  readonly at: number | undefined
  readonly crossed: boolean
}

/** WireGuard with a wire between: an initiation is dropped by who does not know its sender, and two that cross come to nothing. */
function handshake(a: End, b: End, wireMs: number): Outcome {
  const [first, second] = begins(a, b) <= begins(b, a) ? [a, b] : [b, a]
  const [at, next] = [begins(first, second), begins(second, first)]
  if (at + wireMs >= second.hearsAt) {
    const crossed = next < at + wireMs
    return { at: crossed ? undefined : at + 2 * wireMs, crossed }
  }
  // The first was too early, and the second begins as if alone.
  return { at: next + 2 * wireMs, crossed: false }
}

const keys = fc.uniqueArray(fc.string({ minLength: 1 }), { minLength: 2, maxLength: 2 })
const wire = fc.integer({ min: 1, max: 90 })
const clock = fc.tuple(fc.integer({ min: -3, max: 3 }), fc.nat(999)).map(([ms, us]) => WALL + ms + us / 1000)

describe('who begins the first handshake', () => {
  it('is one of the two ends, and never both, whatever their clocks say', () => {
    fc.assert(
      fc.property(keys, clock, clock, ([a = '', b = ''], ofA, ofB) => {
        // A record has whole milliseconds, a clock parts of them.
        const first = comesFirst({ own: { since: ofA, publicKey: a }, peer: { since: Math.floor(ofB), key: b } })
        const second = comesFirst({ own: { since: ofB, publicKey: b }, peer: { since: Math.floor(ofA), key: a } })
        expect(first).not.toBe(second)
      }),
    )
  })

  it('is the end with the older key, which hears of the other last', () => {
    const keysOf = (mine: number, its: number): Parameters<typeof comesFirst>[0] => ({
      ...{ own: { since: mine, publicKey: 'z' }, peer: { since: its, key: 'a' } },
    })
    expect(comesFirst(keysOf(WALL, WALL + 1))).toBe(true)
    expect(comesFirst(keysOf(WALL + 1, WALL))).toBe(false)
    expect(comesFirst(keysOf(WALL, WALL))).toBe(false)
  })

  it('waits for nobody whose key is published for long: a rotation of one node costs nothing more', () => {
    fc.assert(
      fc.property(
        keys,
        wire,
        fc.integer({ min: 0, max: 60_000 }),
        fc.integer({ min: -1e6, max: 1e6 }),
        (k, ms, late, skew) => {
          const rotates: End = { since: WALL + skew, key: k[0] ?? '', toldAt: 0, hearsAt: -1e7 }
          const peer: End = { since: WALL - 1e7, key: k[1] ?? '', toldAt: -1e7, hearsAt: late }
          fc.pre(Math.abs(late - REACH_MS) > ms && Math.abs(late - YIELD_MS) > ms)
          const { at } = handshake(rotates, peer, ms)
          expect(at).toBeLessThanOrEqual(late + 2 * ms)
        },
      ),
    )
  })

  it('never crosses when both keys are new, told within 0.9 s, and each record takes as long, 0.9 s at most', () => {
    fc.assert(
      fc.property(keys, wire, fc.nat(900), fc.nat(900), fc.boolean(), (k, ms, apart, delay, reversed) => {
        // The clocks are right, or one is an hour behind and the order of keys the wrong one.
        const skew = reversed ? -3_600_000 : 0
        const a: End = { since: WALL, key: k[0] ?? '', toldAt: 0, hearsAt: apart + delay }
        const b: End = { since: WALL + apart + skew, key: k[1] ?? '', toldAt: apart, hearsAt: delay }
        const { at, crossed } = handshake(a, b, ms)
        expect(crossed).toBe(false)
        expect(at).toBeLessThanOrEqual(apart + delay + YIELD_MS + 2 * ms)
      }),
      { numRuns: 2_000 },
    )
  })

  it('is always somebody, sooner than WireGuard would try again, however late each end hears of the other', () => {
    let crossings = 0
    const runs = 5_000
    const late = fc.nat(4_000)
    fc.assert(
      fc.property(keys, late, late, fc.integer({ min: -4_000, max: 4_000 }), late, late, (k, ta, tb, skew, da, db) => {
        const a: End = { since: WALL, key: k[0] ?? '', toldAt: ta, hearsAt: tb + db }
        const b: End = { since: WALL + skew, key: k[1] ?? '', toldAt: tb, hearsAt: ta + da }
        const { at, crossed } = handshake(a, b, 10)
        if (crossed) crossings++
        else expect(at).toBeLessThanOrEqual(Math.max(a.hearsAt, b.hearsAt) + YIELD_MS + 20)
      }),
      { numRuns: runs },
    )
    // By chance alone: the end that waits hears of the other when its time is up, to the ten milliseconds.
    expect(crossings).toBeLessThan(runs / 50)
    expect(YIELD_MS + REACH_MS).toBeLessThan(REKEY_TIMEOUT_MS / 2)
  })
})

describe('an end that yields', () => {
  const slot: OwnSlot = { publicKey: 'a', generation: 0, since: WALL, bornAt: 0, toldAt: 1_000 }
  const older = { key: 'b', since: WALL - 1, handshaken: false }
  const newer = { key: 'b', since: WALL + 1, handshaken: false }

  it('does so until the other one had its time, and not once there was a handshake', () => {
    expect([1_000, 2_499, 2_500].map((now) => yields(slot, older, now))).toEqual([true, true, false])
    expect([1_000, 1_499, 1_500].map((now) => yields(slot, newer, now))).toEqual([true, true, false])
    expect(yields(slot, { ...older, handshaken: true }, 1_000)).toBe(false)
  })

  it('begins nothing with a key that nobody can know, but not for ever', () => {
    const untold: OwnSlot = { ...slot, toldAt: undefined }
    for (const tunnel of [older, newer]) {
      expect(yields(untold, tunnel, UNTOLD_MS - 1)).toBe(true)
      expect(yields(untold, tunnel, UNTOLD_MS)).toBe(false)
    }
  })
})

import { describe, expect, it } from 'vitest'
import { ABSENT, everProven, observeProbe, observeStamp, type Pair } from '../../src/wg/pair.ts'

const HOUR = 3_600_000
const KEY_AT = 100 * HOUR

const pair = (provesAfter: number, stamp: number): Pair => ({
  uid: 'a',
  name: 'a',
  bootId: 'b',
  twoSlots: true,
  probes: true,
  excused: false,
  tunnels: [{ ...ABSENT, key: 'k', provesAfter, stamp, answered: true }, ABSENT],
  egress: 0,
  drain: null,
  announced: undefined,
  announcedAt: 0,
  mode: 'off',
})

describe('a wall clock that goes back after our key was made', () => {
  it('does not hide a handshake with a peer that had none before', () => {
    const now = 1_000_000
    const wall = KEY_AT - 2 * HOUR
    const seen = observeStamp(pair(KEY_AT, 0), 0, wall - 500, wall, now)
    expect(everProven(observeProbe(seen, 0, true), 0)).toBe(true)
    expect(seen.tunnels[0].freshAt).toBe(now - 500)
  })

  it('does not take a handshake of before the change for one with the new key', () => {
    // Both of the clock of before: the stamp is later than what the clock says now.
    const seen = observeStamp(pair(KEY_AT, 0), 0, KEY_AT - 1_000, KEY_AT - 2 * HOUR, 1_000_000)
    expect(everProven(seen, 0)).toBe(false)
    // Nor where the clock did not move.
    expect(everProven(observeStamp(pair(KEY_AT, 0), 0, KEY_AT - 1_000, KEY_AT + 500, 1_000_000), 0)).toBe(false)
  })

  it('forward does not age a handshake that is seen again', () => {
    const before = observeStamp(pair(0, 0), 0, KEY_AT, KEY_AT, 1_000_000)
    const after = observeStamp(before, 0, KEY_AT, KEY_AT + 5 * HOUR, 1_001_000)
    expect(after.tunnels[0].freshAt).toBe(1_000_000)
  })
})

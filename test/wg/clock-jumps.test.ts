import { describe, expect, it } from 'vitest'
import { adopt } from '../../src/wg/adopt.ts'
import type { NodeRecord } from '../../src/wg/directory/record.ts'
import { DEFAULT_MACHINE, type WgState } from '../../src/wg/machine-types.ts'
import { step } from '../../src/wg/machine.ts'
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

describe('a wall clock that was set after a boot in the past', () => {
  const now = 5 * 60_000
  const since = 1_000
  const key = { id: 0, port: 1, publicKey: 'k0', gen: 3, since } as const
  const own: NodeRecord = {
    ...{ domain: 'test', node: 'a', nodeUID: 'a', bootID: 'b', created: 1, revision: 4, drain: null, caps: [] },
    ...{ endpoints: [], prefixes: [], nodeIPs: [], slots: [key, { ...key, id: 1, port: 2, publicKey: 'k1' }] },
  }
  const wallMs = 100 * 365 * 24 * HOUR
  const adopted = (record: NodeRecord | undefined): WgState =>
    adopt(
      {
        ...{ uid: 'a', bootId: 'b', config: DEFAULT_MACHINE, keys: ['k0', 'k1'], found: [true, true] },
        ...{ own: record, target: 'active', wallMs },
      },
      now,
    ).state

  it('makes no key older than the kernel that has it', () => {
    expect(adopted(own).slots.map(({ bornAt }) => bornAt)).toEqual([0, 0])
  })

  it('nor where the record comes later', () => {
    const late = step(adopted(undefined), { kind: 'own', record: own, wallMs }, now).state
    expect(late.slots.map(({ bornAt, generation }) => [bornAt, generation])).toEqual([
      [0, 3],
      [0, 3],
    ])
  })
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

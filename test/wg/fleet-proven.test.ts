import { describe, expect, it } from 'vitest'
import { DEFAULT_MACHINE } from '../../src/wg/machine-types.ts'
import { slotState, type Pair } from '../../src/wg/pair.ts'
import { SLOTS } from '../../src/wg/slots.ts'
import { Fleet, type FleetOptions } from '../support/wg/fleet.ts'

const HOUR_MS = 3_600_000
const NODES = 12

const options: FleetOptions = {
  nodes: NODES,
  seed: 1,
  config: DEFAULT_MACHINE,
  directoryDelayMs: 500,
  directoryLoss: 0,
  resyncMs: 30_000,
  probeLoss: 0,
  crash: 0,
  traffic: 1,
  // Half of them rotate slot 0, half slot 1.
  keyAgesMs: (node) => (node % 2 === 0 ? [HOUR_MS, 13 * HOUR_MS] : [13 * HOUR_MS, HOUR_MS]),
}

/** Looks, and those that found a pair without a proven slot, while all rotate at once: at every change, and once a second. */
function unproven(fault?: FleetOptions['fault']): { readonly ever: number; readonly bySecond: number } {
  const fleet = new Fleet({ ...options, ...(fault === undefined ? {} : { fault }) })
  fleet.run(30_000)
  expect(fleet.settled).toBe(true)
  const without = (pair: Pair): boolean => !SLOTS.some((slot) => slotState(pair, slot, fleet.now) === 'proven')
  let [changes, ever, bySecond] = [0, 0, 0]
  fleet.changed = (before, after) => {
    changes++
    for (const pair of [before, after]) if (without(pair)) ever++
  }
  for (let i = 0; i < NODES; i++) fleet.post(i, { kind: 'rotate', reason: 'Rotate', wallMs: fleet.wall(i) })
  for (let second = 0; second < 120; second++) {
    fleet.run(1000)
    for (const { state } of fleet.nodes) for (const pair of state?.peers ?? []) if (without(pair)) bySecond++
  }
  expect(changes).toBeGreaterThan(1_000)
  return { ever, bySecond }
}

describe('a fleet that rotates different slots at once', () => {
  it('has no pair without a proven slot at any instant', () => {
    expect(unproven()).toEqual({ ever: 0, bySecond: 0 })
  })

  it('has some where keys change without a drain, more than are seen once a second', () => {
    const { ever, bySecond } = unproven('new-key-at-once')
    expect(ever).toBeGreaterThan(bySecond)
  })
})

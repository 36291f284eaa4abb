import { describe, expect, it } from 'vitest'
import { DEFAULT_MACHINE } from '../../src/wg/machine-types.ts'
import { Fleet, type FleetOptions } from '../support/wg/fleet.ts'

const calm: FleetOptions = {
  nodes: 4,
  seed: 1,
  config: DEFAULT_MACHINE,
  directoryDelayMs: 500,
  directoryLoss: 0,
  resyncMs: 30_000,
  probeLoss: 0,
  crash: 0,
  traffic: 1,
}

const generations = (fleet: Fleet): number[][] =>
  fleet.nodes.map(({ state }) => state?.slots.map((s) => s.generation) ?? [])

describe('a fleet', () => {
  it('proves every tunnel after the start and rotates both slots of every node on demand', () => {
    const fleet = new Fleet(calm)
    fleet.run(30_000)
    expect(fleet.settled).toBe(true)
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 4; i++) fleet.post(i, { kind: 'rotate', reason: 'Rotate', wallMs: fleet.wall(i) })
      fleet.run(180_000)
      expect(fleet.nodes.map(({ state }) => state?.rotation.phase)).toEqual(['idle', 'idle', 'idle', 'idle'])
    }
    expect(generations(fleet)).toEqual([
      [1, 1],
      [1, 1],
      [1, 1],
      [1, 1],
    ])
    expect(fleet.losses).toEqual([])
  })
})

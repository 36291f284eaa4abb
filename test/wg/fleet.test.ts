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

  describe('when an agent dies before any one effect of a rotation', () => {
    /** All rotate; from and to: numbers of the effects meanwhile. */
    const rotated = (options: Partial<FleetOptions>): { fleet: Fleet; from: number; to: number } => {
      const fleet = new Fleet({ ...calm, nodes: 3, ...options })
      fleet.run(30_000)
      const from = fleet.effects
      for (let i = 0; i < 3; i++) fleet.post(i, { kind: 'rotate', reason: 'Rotate', wallMs: fleet.wall(i) })
      fleet.run(240_000)
      return { fleet, from, to: fleet.effects }
    }
    /** One run for each effect. */
    function* deaths(options: Partial<FleetOptions>): Generator<{ number: number; fleet: Fleet }> {
      const { from, to } = rotated(options)
      for (let number = from; number < to; number++)
        yield { number, fleet: rotated({ ...options, dieBefore: number }).fleet }
    }

    it('loses nothing and ends, also where it is between two effects of one event', () => {
      let amid = 0
      for (const seed of [1, 2, 3])
        for (const { number, fleet } of deaths({ seed })) {
          expect({ seed, number, crashes: fleet.crashes, losses: fleet.losses, settled: fleet.settled }).toEqual({
            ...{ seed, number, crashes: 1, losses: [], settled: true },
          })
          amid += fleet.amid
        }
      expect(amid).toBeGreaterThan(30)
    })

    it('does not, when the next agent ignores what it finds', () => {
      const good = ({ fleet }: { fleet: Fleet }): boolean => fleet.losses.length === 0 && fleet.settled
      const bad = [...deaths({ seed: 1, fault: 'no-adoption' })].filter((one) => !good(one))
      expect(bad).not.toEqual([])
    })
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DEFAULT_MACHINE } from '../../src/wg/machine-types.ts'
import { Fleet, type FleetOptions } from '../support/wg/fleet.ts'

const NODES = 4

type Action =
  | { readonly do: 'rotate'; readonly node: number }
  | { readonly do: 'rotate-all' }
  | { readonly do: 'crash'; readonly node: number }
  | { readonly do: 'cut'; readonly node: number; readonly seconds: number; readonly directory: boolean }
  | { readonly do: 'wait'; readonly seconds: number }

const node = fc.nat(NODES - 1)
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('rotate' as const), node }) },
  { weight: 1, arbitrary: fc.constant({ do: 'rotate-all' as const }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('crash' as const), node }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('cut' as const),
      node,
      seconds: fc.oneof(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 190, max: 600 })),
      directory: fc.boolean(),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('wait' as const), seconds: fc.integer({ min: 1, max: 120 }) }) },
)

const world = fc.record({
  seed: fc.integer(),
  directoryDelayMs: fc.constantFrom(100, 5_000, 60_000, 400_000),
  directoryLoss: fc.constantFrom(0, 0.3),
  probeLoss: fc.constantFrom(0, 0.1),
  crash: fc.constantFrom(0, 0.01),
  traffic: fc.constantFrom(0.05, 1),
  /** By the clock once a day, or one rotation on the heels of the other. */
  keyLifeMs: fc.constantFrom(DEFAULT_MACHINE.keyLifeMs, 120_000),
})

type World = typeof world extends fc.Arbitrary<infer T> ? T : never

const CALM = { directoryLoss: 0, directoryDelayMs: 500, probeLoss: 0, crash: 0 }

/** A mesh that stands, and then the world. */
function fleetOf(options: World, fault?: FleetOptions['fault']): Fleet {
  const config = { ...DEFAULT_MACHINE, keyLifeMs: options.keyLifeMs }
  const all = { nodes: NODES, config, resyncMs: 400_000, ...options }
  const fleet = new Fleet({ ...all, ...CALM, ...(fault === undefined ? {} : { fault }) })
  fleet.run(20_000)
  fleet.options = { ...fleet.options, ...options }
  return fleet
}

function act(fleet: Fleet, actions: readonly Action[]): void {
  for (const step of actions) {
    switch (step.do) {
      case 'rotate':
        fleet.post(step.node, { kind: 'rotate', reason: 'Rotate', wallMs: fleet.wall(step.node) })
        break
      case 'rotate-all':
        for (let i = 0; i < NODES; i++) fleet.post(i, { kind: 'rotate', reason: 'Rotate', wallMs: fleet.wall(i) })
        break
      case 'crash':
        fleet.crash(step.node)
        break
      case 'cut':
        // Others go on meanwhile.
        fleet.cut(step.node, step.seconds * 1000, step.directory)
        break
      case 'wait':
        fleet.run(step.seconds * 1000)
    }
  }
}

/** Everything is delivered from here on, and nobody dies. */
function calmDown(fleet: Fleet): void {
  fleet.options = { ...fleet.options, ...CALM }
  for (let minutes = 0; minutes < 60 && !fleet.settled; minutes++) fleet.run(60_000)
}

const story = fc.array(action, { minLength: 1, maxLength: 12 })
const runs = { numRuns: Number(process.env['SEKISHO_RUNS'] ?? 60), seed: 20_261_124 }

/** Deaths of agents in all runs: at all, and between two effects of one event. */
const deaths = { all: 0, amid: 0 }

/** Nothing is lost, and everything ends. */
function holds(options: World, actions: readonly Action[], fault?: FleetOptions['fault']): boolean {
  const fleet = fleetOf(options, fault)
  act(fleet, actions)
  calmDown(fleet)
  deaths.all += fleet.crashes
  deaths.amid += fleet.amid
  return fleet.losses.length === 0 && fleet.settled && fleet.packets > 0
}

// Seconds of the processor; by the clock a machine that does other things may take ten times as long.
describe('any order of rotations, crashes, cuts, and late or lost messages', { timeout: 120_000 }, () => {
  it('never leaves a pair without a slot that works, and every rotation ends', () => {
    fc.assert(
      fc.property(world, story, (options, actions) => holds(options, actions)),
      runs,
    )
    // What verify/README.md leaves to this.
    expect(deaths.amid).toBeGreaterThan(0)
  })

  it.each(['peers-excused', 'no-adoption', 'new-key-at-once'] as const)('is broken by the fault %s', (fault) => {
    const result = fc.check(
      fc.property(world, story, (options, actions) => holds(options, actions, fault)),
      { ...runs, numRuns: 300, endOnFailure: true },
    )
    expect(result.failed).toBe(true)
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Target } from '../../src/wg/activation.ts'
import { EngineWorld } from '../support/wg/engine-world.ts'
import { randomFrom } from '../support/wg/event-queue.ts'

const NODES = 3

type Action =
  | { readonly do: 'rotate'; readonly node: number; readonly compromised: boolean }
  | { readonly do: 'delete' | 'key'; readonly node: number; readonly slot: 0 | 1 }
  | { readonly do: 'peers' | 'restart'; readonly node: number }
  | { readonly do: 'wait'; readonly seconds: number }

const node = fc.nat(NODES - 1)
const slot = fc.constantFrom(0 as const, 1 as const)
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('rotate' as const), node, compromised: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('delete' as const, 'key' as const), node, slot }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('peers' as const, 'restart' as const), node }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('wait' as const), seconds: fc.integer({ min: 1, max: 20 }) }) },
)

/** Starts until it works: a process that cannot start is started again. */
async function start(world: EngineWorld, index: number, target: Target): Promise<void> {
  for (;;) {
    try {
      await world.start(index, { target })
      return
    } catch {
      await world.stop(index)
    }
  }
}

async function act(world: EngineWorld, step: Action, target: Target): Promise<void> {
  switch (step.do) {
    case 'rotate':
      return world.agent(step.node).engine.rotate(step.compromised)
    case 'delete':
      return world.kernel(step.node).deleteDevice(step.slot)
    case 'key':
      return world.kernel(step.node).foreignKey(step.slot)
    case 'peers':
      return world.kernel(step.node).device(0)?.peers.clear()
    case 'restart':
      await world.stop(step.node)
      return start(world, step.node, target)
    case 'wait':
      return world.clock.advance(step.seconds * 1000)
  }
}

describe('calls of every part that fail anywhere', () => {
  it('never stop the engine, and all is as it must be soon after they end', async () => {
    const scene = fc.record({
      seed: fc.integer(),
      failing: fc.constantFrom(0.02, 0.1, 0.3),
      target: fc.constantFrom('active' as const, 'strict' as const),
      actions: fc.array(action, { maxLength: 8 }),
    })
    await fc.assert(
      fc.asyncProperty(scene, async ({ seed, failing, target, actions }) => {
        const world = new EngineWorld(NODES)
        const random = randomFrom(seed)
        let failed = 0
        const perhaps = (): void => {
          if (random() >= failing) return
          failed++
          throw new Error('made to fail')
        }
        world.hook = perhaps
        world.directory.beforeWrite = perhaps
        for (let i = 0; i < NODES; i++) await start(world, i, target)
        for (const step of actions) await act(world, step, target)
        world.hook = () => undefined
        world.directory.beforeWrite = () => undefined
        const took = await world.clock.until(() => world.sealed && world.idle, 400_000)
        expect({ took, sealed: world.sealed, idle: world.idle }).toMatchObject({ sealed: true, idle: true })
        await world.clock.advance(20_000)
        world.net.forgive()
        await world.clock.advance(20_000)
        expect(world.net.losses).toEqual([])
        for (let i = 0; i < NODES; i++) {
          const record = world.directory.records.get(`node-${i}`)
          expect(record?.slots.map(({ publicKey }) => publicKey)).toEqual([world.key(i, 0), world.key(i, 1)])
          for (const one of [0, 1] as const) {
            const others = [0, 1, 2].filter((j) => j !== i).map((j) => world.key(j, one))
            expect(new Set(world.kernel(i).device(one)?.peers.keys())).toEqual(new Set(others))
          }
        }
        if (failing > 0.2) expect(failed).toBeGreaterThan(0)
      }),
      { numRuns: 12 },
    )
  }, 120_000)
})

import { describe, expect, it } from 'vitest'
import { EngineWorld } from '../../support/wg/engine-world.ts'

const strict = { target: 'strict' } as const

async function sealed(nodes: number): Promise<EngineWorld> {
  const world = new EngineWorld(nodes)
  await world.up(strict)
  await world.clock.advance(20_000)
  return world
}

describe('clear text in strict mode', () => {
  it('stays out while the agent starts again', async () => {
    const world = await sealed(3)
    expect(world.kernel(0).guarded.size).toBe(2)
    await world.stop(0)
    const { guard } = await world.start(0, strict)
    await world.clock.advance(30_000)
    expect(guard.told).toEqual([])
    expect(world.kernel(0).guarded.size).toBe(2)
  })

  it('stays out while the agent starts again beside a peer whose agent is dead', async () => {
    const world = await sealed(3)
    await world.stop(0)
    await world.stop(2)
    const { guard } = await world.start(0, strict)
    await world.clock.advance(60_000)
    expect(guard.told.filter((told) => told.endsWith('off'))).toEqual([])
    expect(world.kernel(0).guarded.size).toBe(2)
  })

  it('does not go to a node that was made anew under the same name', async () => {
    const world = await sealed(3)
    const { routing } = world.agent(0)
    await world.stop(2)
    world.net.forgive()
    world.reborn(2, 'uid-2b')
    const before = routing.told.length
    const open: string[] = []
    world.hook = (index, what) => {
      if (index === 0 && what.startsWith('routing') && !world.kernel(0).routes.has(world.kernel(2).prefix))
        open.push(what)
    }
    await world.start(2, strict)
    await world.clock.until(() => routing.told.length > before, 60_000)
    const guardedAt = world.kernel(0).guarded.size
    await world.clock.until(() => world.sealed, 60_000)
    const told = routing.told.slice(before).filter(({ uid }) => uid === 'uid-2b')
    expect(told.length).toBeGreaterThan(0)
    expect(open).toEqual([])
    expect(told.map(({ mode }) => mode).filter((mode) => mode === 'off' || mode === 'proven')).toEqual([])
    // Opened only by its own word, inside of the new tunnel, that it still sends clear text.
    expect(guardedAt).toBe(2)
    await world.clock.advance(30_000)
    expect(world.kernel(0).guarded.size).toBe(2)
  })
})

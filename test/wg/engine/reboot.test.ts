import { describe, expect, it } from 'vitest'
import { EngineWorld } from '../../support/wg/engine-world.ts'

const strict = { target: 'strict' } as const
const NODES = [0, 1, 2] as const

/** A minute and a half in the life of a machine that starts again. */
const DOWN_MS = 90_000

const allStrict = (world: EngineWorld): boolean =>
  world.sealed &&
  NODES.every((i) =>
    world
      .agent(i)
      .engine.peers()
      .every(({ mode }) => mode === 'strict'),
  )

async function rebooted(bootId: string): Promise<{ world: EngineWorld; keys: readonly (string | undefined)[] }> {
  const world = new EngineWorld(NODES.length)
  await world.up(strict)
  await world.clock.until(() => allStrict(world), 30_000)
  const keys = [world.key(0, 0), world.key(0, 1)]
  // What peers have heard of the clock of before is far ahead of the new one.
  await world.clock.advance(10 * 60_000)
  expect(allStrict(world)).toBe(true)
  await world.stop(0)
  world.net.cut(0, true)
  world.reboot(0, bootId)
  await world.clock.advance(DOWN_MS)
  // Nothing between the others.
  expect(world.net.losses).toEqual([])
  world.net.forgive()
  world.net.cut(0, false)
  await world.start(0, strict)
  return { world, keys }
}

describe('a node that was rebooted: the same UID, another boot id, a clock from zero', () => {
  it('is sealed and strict again with new keys, and loses nothing from its first packet on', async () => {
    const { world, keys } = await rebooted('boot-0b')
    expect(world.key(0, 0)).toBeDefined()
    expect(keys).not.toContain(world.key(0, 0))
    expect(keys).not.toContain(world.key(0, 1))
    const took = await world.clock.until(() => allStrict(world) && world.idle, 60_000)
    expect(allStrict(world)).toBe(true)
    expect(took).toBeLessThanOrEqual(15_000)
    const record = world.directory.records.get('node-0')
    expect(record).toMatchObject({ nodeUID: 'uid-0', bootID: 'boot-0b', drain: null })
    expect(record?.slots.map(({ publicKey, gen }) => [publicKey, gen])).toEqual([
      [world.key(0, 0), 1],
      [world.key(0, 1), 1],
    ])
    // Old keys are nobody's any more. What was shut opened at the node's own word inside the new tunnel, once, if at all.
    for (const i of [1, 2]) {
      for (const slot of [0, 1] as const) expect(world.kernel(i).device(slot)?.peers.size).toBe(2)
      const opened = world.agent(i).guard.told.filter((told) => told === `${world.kernel(0).prefix} off`)
      expect(opened.length).toBeLessThanOrEqual(1)
      expect(world.kernel(i).guarded.size).toBe(2)
    }
    expect(world.kernel(0).guarded.size).toBe(2)
    expect(world.net.losses).toEqual([])
  })

  it('rotates again and is waited for no longer than others, and so are those that knew it before', async () => {
    const { world } = await rebooted('boot-0b')
    await world.clock.until(() => allStrict(world) && world.idle, 60_000)
    const packets = world.net.packets
    for (const i of NODES) {
      for (const round of [1, 2]) {
        world.agent(i).engine.rotate(false)
        const took = await world.clock.until(() => world.idle, 60_000)
        expect([i, round, world.idle]).toEqual([i, round, true])
        expect(took).toBeLessThan(30_000)
        expect(world.agent(i).engine.report().rotation.completed).toBe(round)
      }
    }
    await world.clock.until(() => allStrict(world), 10_000)
    expect(allStrict(world)).toBe(true)
    expect(world.net.packets - packets).toBeGreaterThan(1_000)
    expect(world.net.losses).toEqual([])
  })
})

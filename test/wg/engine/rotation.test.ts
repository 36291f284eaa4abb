import { describe, expect, it } from 'vitest'
import { EngineWorld } from '../../support/wg/engine-world.ts'

const NODES = [0, 1, 2] as const

async function meshed(target: 'active' | 'strict' = 'active'): Promise<EngineWorld> {
  const world = new EngineWorld(3)
  await world.up({ target })
  expect(world.sealed).toBe(true)
  return world
}

const generations = (world: EngineWorld): unknown[] =>
  NODES.map((i) =>
    world
      .agent(i)
      .engine.report()
      .slots.map(({ generation }) => generation),
  )

describe('a rotation', () => {
  it('ends on one node, with every packet of every pair read, tried at every step', async () => {
    const world = await meshed()
    const [packets, keys] = [world.net.packets, [world.key(0, 0), world.key(0, 1)]]
    for (let round = 1; round <= 2; round++) {
      world.agent(0).engine.rotate(false)
      expect(world.agent(0).engine.report().rotation.phase).not.toBe('idle')
      await world.clock.until(() => world.idle, 120_000)
      const { rotation } = world.agent(0).engine.report()
      expect(rotation).toMatchObject({ phase: 'idle', completed: round })
      expect(rotation.lastSeconds).toBeGreaterThan(4)
      expect(rotation.lastSeconds).toBeLessThan(30)
    }
    expect(generations(world)).toEqual([
      [1, 1],
      [0, 0],
      [0, 0],
    ])
    expect([world.key(0, 0), world.key(0, 1)]).not.toEqual(keys)
    expect(world.net.packets - packets).toBeGreaterThan(1_000)
    expect(world.net.losses).toEqual([])
    // The peers see the last tunnel proven a moment later.
    expect(await world.clock.until(() => world.sealed, 10_000)).toBeLessThanOrEqual(3_000)
    expect(
      world
        .agent(0)
        .engine.keyEvents()
        .map(({ event, slot }) => `${event} ${slot}`),
    ).toEqual([
      'created 0',
      'created 1',
      ...['published 0', 'published 1', 'proven 0', 'proven 1'],
      ...['retired 0', 'created 0', 'published 0', 'proven 0'],
      ...['retired 1', 'created 1', 'published 1', 'proven 1'],
    ])
    const repairs = NODES.flatMap((i) => Object.values(world.agent(i).engine.counters().repairs))
    expect(repairs.every((n) => n === 0)).toBe(true)
    expect(NODES.map((i) => world.agent(i).engine.counters().failovers)).toEqual([0, 0, 0])
  })

  it('ends on all nodes at once, over a directory that is late and loses', async () => {
    const world = await meshed('strict')
    let n = 0
    world.directory.options = {
      delayMs: () => (n++ * 7_919) % 3_000,
      lose: () => n++ % 4 === 0,
      resyncMs: 10_000,
    }
    for (const i of NODES) world.agent(i).engine.rotate(false)
    await world.clock.until(() => world.idle, 600_000)
    for (const i of NODES) world.agent(i).engine.rotate(false)
    await world.clock.until(() => world.idle, 600_000)
    expect(generations(world)).toEqual([
      [1, 1],
      [1, 1],
      [1, 1],
    ])
    expect(world.net.losses).toEqual([])
  })

  it('of a compromised node ends the sessions of both old keys', async () => {
    const world = await meshed()
    world.agent(0).engine.rotate(true)
    await world.clock.until(() => world.idle && world.agent(0).engine.report().rotation.completed === 2, 200_000)
    expect(world.agent(0).driver.calls.filter(({ what }) => what === 'restart').length).toBe(2)
    await world.clock.until(() => world.sealed, 30_000)
    expect(world.sealed).toBe(true)
    expect(generations(world)[0]).toEqual([1, 1])
  })

  it('goes on where it was when the agent ends in any of its steps', async () => {
    for (const after of [500, 2_000, 6_000, 7_000, 8_000]) {
      const world = await meshed()
      world.agent(0).engine.rotate(false)
      await world.clock.advance(after)
      await world.stop(0)
      await world.clock.advance(3_000)
      await world.start(0)
      await world.clock.until(() => world.idle && world.sealed, 120_000)
      expect(world.idle && world.sealed).toBe(true)
      expect(world.net.losses).toEqual([])
      const published = world.directory.records.get('node-0')?.slots.map(({ publicKey }) => publicKey)
      expect(published).toEqual([world.key(0, 0), world.key(0, 1)])
    }
  })

  it('waits for a peer that has not proven the other slot, and names it', async () => {
    const world = await meshed()
    world.agent(0).engine.rotate(false)
    await world.clock.until(() => world.idle, 120_000)
    world.net.cut(2, true)
    await world.clock.advance(200_000)
    world.agent(0).engine.rotate(false)
    await world.clock.until(() => world.agent(0).engine.report().rotation.phase === 'idle', 120_000)
    world.agent(0).engine.rotate(false)
    await world.clock.advance(120_000)
    expect(world.agent(0).engine.report().rotation).toMatchObject({
      phase: 'waiting',
      awaited: [{ why: 'unproven', count: 1, names: ['node-2'] }],
    })
    world.net.forgive()
    world.net.cut(2, false)
    await world.clock.until(() => world.idle && world.sealed, 120_000)
    expect(world.idle && world.sealed).toBe(true)
  })
})

describe('what is written into a device', () => {
  it('takes an old key out in the call that puts the new one in, and moves egress before', async () => {
    const world = await meshed()
    const old = world.key(0, 0)
    const { driver, routing } = world.agent(1)
    driver.calls.length = 0
    const egressAtInstall: (number | undefined)[] = []
    const told = (): number | undefined => routing.told.findLast(({ uid }) => uid === 'uid-0')?.egress
    world.hook = (index, what) => {
      if (index === 1 && what === 'driver.setPeers before') egressAtInstall.push(told())
    }
    world.agent(0).engine.rotate(false)
    await world.clock.until(() => world.idle, 120_000)
    const batches = driver.calls.flatMap(({ batch }) => batch ?? [])
    const replacing = batches.filter(({ remove }) => remove?.includes(old ?? ''))
    expect(replacing).toEqual([
      {
        set: [
          {
            publicKey: world.key(0, 0),
            endpoint: { ip: world.kernel(0).underlay, port: 51_871 },
            keepalive: 25,
            addAllowedIps: [expect.anything()],
          },
        ],
        remove: [old],
      },
    ])
    expect(egressAtInstall[batches.findIndex((batch) => batch === replacing[0])]).toBe(1)
  })

  it('puts many peers into a device in few calls', async () => {
    const world = new EngineWorld(24)
    world.net.trying = false
    for (let i = 0; i < 24; i++) {
      if (i !== 5) await world.start(i)
    }
    await world.clock.advance(3_000)
    const { driver } = await world.start(5)
    await world.clock.advance(200)
    const installs = driver.calls.filter(({ batch }) => batch?.set?.some(({ addAllowedIps }) => addAllowedIps) === true)
    expect(installs.flatMap(({ batch }) => batch?.set ?? []).length).toBe(46)
    expect(installs.length).toBeLessThanOrEqual(4)
  })
})

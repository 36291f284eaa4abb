import { describe, expect, it } from 'vitest'
import { DEFAULT_MACHINE, type MachineConfig } from '../../../src/wg/machine-types.ts'
import type { WgPeerReport } from '../../../src/wg/report.ts'
import { EngineWorld } from '../../support/wg/engine-world.ts'
import { deviceName } from '../../support/wg/fake-kernel.ts'
import { OldAgent } from '../../support/wg/old-agent.ts'

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
describe('a rotation that waits for a peer', () => {
  /** Node 2 is cut off, and has not proven slot 1 of node 0; a rotation of slot 0 was asked for. */
  async function held(machine: Partial<MachineConfig> = {}): Promise<EngineWorld> {
    const world = new EngineWorld(3)
    await world.up({ machine: { ...DEFAULT_MACHINE, ...machine } })
    world.agent(0).engine.rotate(false)
    await world.clock.until(() => world.idle, 120_000)
    world.net.cut(2, true)
    await world.clock.advance(200_000)
    world.agent(0).engine.rotate(false)
    await world.clock.until(() => world.agent(0).engine.report().rotation.phase === 'idle', 120_000)
    world.net.losses.length = 0
    return world
  }

  async function comesBack(world: EngineWorld): Promise<void> {
    // The packets between the others: `cut` ones are not tried.
    expect(world.net.losses).toEqual([])
    world.net.forgive()
    world.net.cut(2, false)
    await world.clock.until(() => world.idle && world.sealed, 120_000)
    expect(world.idle && world.sealed).toBe(true)
  }

  it('waits no longer once its key is past the age cap, and then a minute for the drain', async () => {
    const cap = 8 * 60_000
    const world = await held({ maxKeyAgeMs: cap })
    const { engine, driver } = world.agent(0)
    const old = [world.key(0, 0), world.key(0, 1)]
    engine.rotate(false)
    await world.clock.advance(1_000)
    const ageSeconds = engine.report().slots[0]?.keyAgeSeconds ?? 0
    expect(ageSeconds).toBeLessThan(cap / 1000 - 60)
    await world.clock.advance(cap - ageSeconds * 1000 - 5_000)
    expect(engine.report().rotation).toMatchObject({ phase: 'waiting', slot: 0, awaited: [{ names: ['node-2'] }] })
    expect(await world.clock.until(() => engine.report().rotation.phase === 'draining', 60_000)).toBeLessThan(10_000)
    const took = await world.clock.until(() => world.key(0, 0) !== old[0], 300_000)
    expect(took).toBeGreaterThanOrEqual(DEFAULT_MACHINE.compromiseCapMs - 1_000)
    expect(took).toBeLessThanOrEqual(DEFAULT_MACHINE.compromiseCapMs + 5_000)
    // An old key is not a stolen one: its sessions last until they end by themselves, and the other slot is left alone.
    expect(driver.calls.filter(({ what }) => what === 'restart')).toEqual([])
    expect(world.key(0, 1)).toBe(old[1])
    await comesBack(world)
  })

  it('waits a minute for the drain, and no more, after a compromise', async () => {
    const world = await held()
    const { engine, driver } = world.agent(0)
    const old = [world.key(0, 0), world.key(0, 1)]
    engine.rotate(false)
    await world.clock.advance(5_000)
    expect(engine.report().rotation).toMatchObject({ phase: 'waiting', slot: 0, awaited: [{ names: ['node-2'] }] })
    const begun = world.clock.monotonicMs()
    const at: number[] = []
    engine.rotate(true)
    for (const slot of [0, 1] as const) {
      await world.clock.until(() => world.key(0, slot) !== old[slot], 300_000)
      at.push(world.clock.monotonicMs() - begun)
    }
    expect(at[0]).toBeGreaterThanOrEqual(DEFAULT_MACHINE.compromiseCapMs)
    expect(at[0]).toBeLessThanOrEqual(DEFAULT_MACHINE.compromiseCapMs + 5_000)
    // The second key waits for those who live to prove the first, or a minute, and for its own drain.
    expect(at[1]).toBeLessThanOrEqual(3 * DEFAULT_MACHINE.compromiseCapMs + 10_000)
    await world.clock.until(() => driver.calls.filter(({ what }) => what === 'restart').length === 2, 30_000)
    expect(driver.calls.filter(({ what }) => what === 'restart').map(({ name }) => name)).toEqual([
      deviceName(0, 0),
      deviceName(0, 1),
    ])
    await comesBack(world)
  })

  it('does not wait for one that has one slot only, which loses packets in the rotation of slot 0 and in no other', async () => {
    const world = new EngineWorld(3)
    const old = new OldAgent(world, 2)
    await old.start()
    for (const i of [0, 1]) await world.start(i)
    const { engine } = world.agent(0)
    const node2 = (): WgPeerReport | undefined => engine.peer('node-2')
    await world.clock.until(() => [0, 1].every((i) => world.agent(i).engine.peer('node-2')?.mode === 'active'), 60_000)
    await world.clock.advance(5_000)
    expect(node2()).toMatchObject({ mode: 'active', egress: 0, tunnels: [{ slot: 0, state: 'proven' }] })
    const lost: number[] = []
    for (const slot of [0, 1]) {
      const before = world.net.losses.length
      const key = world.key(0, 0)
      engine.rotate(false)
      expect(engine.report().rotation.slot).toBe(slot)
      const took = await world.clock.until(() => engine.report().rotation.phase === 'idle', 120_000)
      expect(took).toBeLessThan(30_000)
      expect(world.key(0, 0) === key).toBe(slot === 1)
      await world.clock.advance(20_000)
      expect(node2()).toMatchObject({ mode: 'active', egress: 0, tunnels: [{ slot: 0, state: 'proven' }] })
      lost.push(world.net.losses.length - before)
    }
    expect(lost[1]).toBe(0)
    expect(lost[0]).toBeGreaterThan(0)
    const between = new Set(world.net.losses.map(({ from, to }) => [from, to].sort().join(' ')))
    expect([...between]).toEqual(['0 2'])
    // It is upgraded: the same node, its device adopted, and another beside it.
    const [before, key] = [world.net.losses.length, world.key(2, 0)]
    await old.stop()
    await world.start(2)
    await world.clock.until(() => world.sealed && world.idle, 60_000)
    expect(world.sealed).toBe(true)
    expect(world.key(2, 0)).toBe(key)
    expect(node2()?.tunnels.length).toBe(2)
    engine.rotate(false)
    await world.clock.until(() => world.idle, 120_000)
    expect(world.net.losses.length).toBe(before)
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

import { describe, expect, it } from 'vitest'
import { parseCidr, parseIp } from '../../../src/core/ip.ts'
import { cleanupEngine } from '../../../src/wg/engine.ts'
import { fingerprintOf } from '../../../src/wg/engine/key-log.ts'
import { deviceName } from '../../support/wg/fake-kernel.ts'
import { EngineWorld } from '../../support/wg/engine-world.ts'

const prefixOf = (world: EngineWorld, i: number): string => world.kernel(i).prefix

async function meshed(nodes = 3, options: Parameters<EngineWorld['up']>[0] = {}): Promise<EngineWorld> {
  const world = new EngineWorld(nodes)
  await world.up(options)
  expect(world.sealed).toBe(true)
  expect(world.net.losses).toEqual([])
  return world
}

describe('the first boot', () => {
  it('makes two devices, publishes the record, and seals every pair without losing a packet', async () => {
    const world = await meshed()
    const { engine } = world.agent(0)
    const report = engine.report()
    expect(
      report.slots.map(({ device, generation, programmed, proven }) => [device, generation, programmed, proven]),
    ).toEqual([
      [deviceName(0, 0), 0, 2, 2],
      [deviceName(0, 1), 0, 2, 2],
    ])
    expect(report.peers).toEqual({ expected: 2, active: 2, strict: 0, unproven: 0 })
    expect(report.directory).toMatchObject({ complete: true, published: true, refused: [], lost: undefined })
    expect(world.directory.records.get('node-0')).toMatchObject({ nodeUID: 'uid-0', revision: 0, drain: null })
    expect(engine.ready()).toBe(true)
    expect(engine.counters()).toMatchObject({ errors: 0, directoryWrites: 1 })
    const calls = engine.counters().calls
    for (const call of ['create', 'read', 'peers', 'routes'] as const) {
      expect(calls?.[call].counts.reduce((sum, n) => sum + n, 0)).toBeGreaterThan(1)
    }
    expect(engine.peer('node-1')?.recordAgeSeconds).toBeGreaterThan(0)
    expect(Object.values(engine.counters().repairs).every((n) => n === 0)).toBe(true)
    expect(engine.keyEvents().map(({ event, slot }) => [event, slot])).toEqual([
      ['created', 0],
      ['created', 1],
      ['published', 0],
      ['published', 1],
      ['proven', 0],
      ['proven', 1],
    ])
    expect(engine.keyEvents()[0]?.fingerprint).toMatch(/^SHA256:[A-Za-z0-9+/]{43}$/)
    expect(engine.peer('node-1')).toMatchObject({
      uid: 'uid-1',
      mode: 'active',
      prefixes: [prefixOf(world, 1)],
      tunnels: [{ state: 'proven', endpoint: '192.0.2.2:51871', rttMs: 20 }, { endpoint: '192.0.2.2:51872' }],
    })
    expect(engine.peer('uid-1')?.name).toBe('node-1')
  })

  it('reaches strict on demand, and goes back to clear text, without losing a packet', async () => {
    const world = await meshed(2, { target: 'strict' })
    await world.clock.advance(30_000)
    expect([0, 1].map((i) => world.agent(i).engine.report().peers.strict)).toEqual([1, 1])
    expect([...world.kernel(0).guarded]).toEqual([prefixOf(world, 1)])
    const clear = world.net.clearText
    await world.clock.advance(10_000)
    expect(world.net.clearText).toBe(clear)
    for (let i = 0; i < 2; i++) world.agent(i).engine.setTarget('off')
    await world.clock.advance(60_000)
    expect([...world.kernel(0).guarded, ...world.kernel(0).routes]).toEqual([])
    expect(world.net.clearText).toBeGreaterThan(clear)
    expect(world.net.losses).toEqual([])
  })

  it('goes on without the directory, and publishes when it is back', async () => {
    const world = new EngineWorld(2)
    await world.start(0)
    world.directory.partition('node-1', true)
    await world.start(1)
    expect(world.agent(1).engine.report().directory).toMatchObject({ complete: false, lost: 'partitioned' })
    await world.clock.advance(20_000)
    expect(world.directory.records.has('node-1')).toBe(false)
    world.directory.partition('node-1', false)
    await world.clock.until(() => world.sealed, 30_000)
    expect(world.sealed).toBe(true)
  })

  it('refuses to start where there is no WireGuard', async () => {
    const world = new EngineWorld(1)
    const { engine } = world.make(0)
    world.hook = (_, what) => {
      if (what.startsWith('driver.create')) throw Object.assign(new Error('no'), { code: 'SEKISHO_WG_UNSUPPORTED' })
    }
    await expect(world.wait(engine.start())).rejects.toThrow('no')
  })
})

describe('a restart', () => {
  it('adopts keys, peers, routes and guard, and loses nothing', async () => {
    const world = await meshed(3, { target: 'strict' })
    await world.clock.advance(20_000)
    const keys = [world.key(0, 0), world.key(0, 1)]
    const writes = world.directory.writes
    await world.stop(0)
    await world.clock.advance(20_000)
    const { engine, driver, routing } = await world.start(0, { target: 'strict' })
    await world.clock.advance(30_000)
    expect([world.key(0, 0), world.key(0, 1)]).toEqual(keys)
    expect(world.directory.writes).toBe(writes)
    expect(world.sealed).toBe(true)
    expect(world.net.losses).toEqual([])
    expect(driver.calls.flatMap(({ batch }) => batch?.remove ?? [])).toEqual([])
    expect(routing.told.every(({ mode }) => mode === 'active' || mode === 'strict')).toBe(true)
    expect(engine.counters()).toMatchObject({ errors: 0, directoryWrites: 0 })
    // An earlier run told of how they came to be.
    expect(engine.keyEvents().map(({ event, slot, fingerprint }) => [event, slot, fingerprint])).toEqual([
      ['adopted', 0, fingerprintOf(keys[0] ?? '')],
      ['adopted', 1, fingerprintOf(keys[1] ?? '')],
    ])
  })

  it('keeps peers that are away for ten minutes where the directory has lost its own record as theirs', async () => {
    const world = await meshed()
    await world.stop(0)
    await world.stop(1)
    for (const node of ['node-0', 'node-1']) world.directory.remove(node)
    await world.clock.advance(10_000)
    await world.start(0)
    const known = (): boolean[] => [
      world
        .kernel(0)
        .device(0)
        ?.peers.has(world.key(1, 0) ?? '') === true,
      world.kernel(0).routes.has(world.kernel(1).prefix),
    ]
    await world.clock.advance(9 * 60_000)
    expect(known()).toEqual([true, true])
    // Node 2 was told that the two are gone, and believed it.
    expect(world.net.losses.filter(({ from, to }) => from !== 2 && to !== 2)).toEqual([])
    await world.clock.advance(2 * 60_000)
    expect(known()).toEqual([false, false])
  })

  it('forgets a peer that only its own record has outlived after the usual grace', async () => {
    const world = await meshed()
    await world.stop(0)
    await world.stop(1)
    world.directory.remove('node-1')
    await world.start(0)
    await world.clock.advance(60_000)
    expect(
      world
        .kernel(0)
        .device(0)
        ?.peers.has(world.key(1, 0) ?? ''),
    ).toBe(false)
  })

  it('removes nothing while the directory is lost', async () => {
    const world = await meshed()
    await world.stop(0)
    world.directory.partition('node-0', true)
    const { driver, engine } = await world.start(0)
    await world.clock.advance(120_000)
    expect(driver.calls.flatMap(({ batch }) => batch?.remove ?? [])).toEqual([])
    // Devices that were there have keys that were made before, whatever the directory cannot say.
    expect(engine.keyEvents().map(({ event }) => event)).toEqual(['adopted', 'adopted'])
    expect(world.kernel(0).device(0)?.peers.size).toBe(2)
    expect(world.net.losses).toEqual([])
    world.directory.partition('node-0', false)
    await world.clock.until(() => world.sealed, 60_000)
    expect(world.sealed).toBe(true)
    expect(world.net.losses).toEqual([])
    // The record is known again with its age and generation, and written above what stood.
    expect(world.directory.records.get('node-0')?.slots.map(({ gen }) => gen)).toEqual([0, 0])
    await world.clock.advance(5_000)
    expect(world.agent(0).engine.report().directory.published).toBe(true)
  })

  it('takes out a peer whose node went while it was away, after a grace', async () => {
    const world = await meshed()
    await world.stop(0)
    await world.stop(2)
    world.directory.remove('node-2')
    await world.clock.advance(1_000)
    await world.start(0)
    await world.clock.advance(8_000)
    expect(world.kernel(0).device(0)?.peers.size).toBe(2)
    expect(world.kernel(0).routes.has(prefixOf(world, 2))).toBe(true)
    await world.clock.advance(20_000)
    expect(world.kernel(0).device(0)?.peers.size).toBe(1)
    expect(world.kernel(0).routes.has(prefixOf(world, 2))).toBe(false)
    expect(world.kernel(0).routes.has(prefixOf(world, 1))).toBe(true)
  })

  it('leaves a peer alone whose record is refused: its node exists', async () => {
    const world = await meshed()
    for (const i of [0, 2]) await world.stop(i)
    const [first, second] = [world.directory.records.get('node-1'), world.directory.records.get('node-2')]
    if (first === undefined || second === undefined) throw new Error('there is no record')
    const greedy = { ...second, created: first.created + 1, prefixes: [...second.prefixes, ...first.prefixes] }
    world.directory.records.set('node-2', { ...greedy, revision: second.revision + 1 })
    const { engine } = await world.start(0)
    await world.clock.advance(40_000)
    expect(engine.report().directory.refused).toMatchObject([{ name: 'node-2', reason: 'prefix-taken' }])
    for (const slot of [0, 1] as const) {
      expect(
        world
          .kernel(0)
          .device(slot)
          ?.peers.has(world.key(2, slot) ?? ''),
      ).toBe(true)
    }
    expect(world.kernel(0).routes.get(prefixOf(world, 2))).toBeDefined()
  })

  it('publishes a key that was made just before the end', async () => {
    const world = await meshed()
    world.directory.partition('node-0', true)
    world.agent(0).engine.rotate(true)
    await world.clock.until(
      () => world.key(0, 0) !== world.directory.records.get('node-0')?.slots[0]?.publicKey,
      200_000,
    )
    await world.stop(0)
    world.directory.partition('node-0', false)
    await world.start(0)
    await world.clock.until(() => world.sealed, 60_000)
    await world.clock.advance(2_000)
    const published = world.directory.records.get('node-0')?.slots.map(({ publicKey }) => publicKey)
    expect(published).toEqual([world.key(0, 0), world.key(0, 1)])
  })
})

describe('nodes that come and go', () => {
  it('gives a node that was made again under its name new tunnels, and the old ones up', async () => {
    const world = await meshed()
    await world.stop(2)
    const old = world.key(2, 0)
    world.net.forgive()
    world.reborn(2, 'uid-2b')
    await world.start(2)
    await world.clock.until(() => world.sealed, 60_000)
    expect(world.sealed).toBe(true)
    await world.clock.advance(5_000)
    expect(
      world
        .kernel(0)
        .device(0)
        ?.peers.has(old ?? ''),
    ).toBe(false)
    expect(world.kernel(0).device(0)?.peers.size).toBe(2)
    expect(
      world
        .agent(0)
        .engine.peers()
        .map(({ uid }) => uid)
        .sort(),
    ).toEqual(['uid-1', 'uid-2b'])
  })

  it('takes everything of a removed node out', async () => {
    const world = await meshed(3, { target: 'strict' })
    await world.clock.advance(20_000)
    await world.stop(2)
    world.net.forgive()
    world.directory.remove('node-2')
    await world.clock.advance(5_000)
    expect(
      world
        .agent(0)
        .engine.peers()
        .map(({ name }) => name),
    ).toEqual(['node-1'])
    expect([...world.kernel(0).routes.keys()]).toEqual([prefixOf(world, 1)])
    expect([...world.kernel(0).guarded]).toEqual([prefixOf(world, 1)])
    for (const slot of [0, 1] as const) expect(world.kernel(0).device(slot)?.peers.size).toBe(1)
  })

  it('follows new prefixes and endpoints of a peer, and writes its own', async () => {
    const world = await meshed()
    const before = prefixOf(world, 1)
    const more = '10.9.1.0/24'
    world.agent(1).engine.changed({
      endpoints: [parseIp('192.0.2.2'), parseIp('2001:db8::2')],
      prefixes: [parseCidr(before), parseCidr(more)],
      nodeIPs: [],
    })
    await world.clock.advance(3_000)
    const peer = (): unknown => world.agent(0).engine.peer('node-1')
    expect(peer()).toMatchObject({ prefixes: [before, more] })
    for (const slot of [0, 1] as const) {
      const entry = world
        .kernel(0)
        .device(slot)
        ?.peers.get(world.key(1, slot) ?? '')
      expect([...(entry?.allowedIps.keys() ?? [])].sort()).toEqual([before, more])
    }
    expect(world.kernel(0).routes.get(more)).toBeDefined()
    // It is in the devices before anything is routed to it.
    const { driver, routing } = world.agent(0)
    expect(driver.calls.length).toBeGreaterThan(0)
    expect(routing.told.at(-1)?.prefixes.length).toBe(2)
    world.agent(1).engine.changed({ endpoints: [parseIp('192.0.2.2')], prefixes: [parseCidr(before)], nodeIPs: [] })
    await world.clock.advance(3_000)
    expect(world.kernel(0).routes.has(more)).toBe(false)
    for (const slot of [0, 1] as const) {
      const entry = world
        .kernel(0)
        .device(slot)
        ?.peers.get(world.key(1, slot) ?? '')
      expect([...(entry?.allowedIps.keys() ?? [])]).toEqual([before])
    }
    expect(world.agent(0).engine.counters().repairs.peer).toBe(0)
    expect(world.net.losses).toEqual([])
  })

  it('sends traffic of nodes through tunnels only when the pair is active', async () => {
    const world = await meshed(2, { encryptNodes: true })
    const { routing } = world.agent(0)
    const node = '192.0.2.2/32'
    for (const { mode, prefixes } of routing.told) {
      const has = prefixes.some(({ ip, bits }) => bits === 32 && ip.bytes.join('.') === '192.0.2.2')
      expect(has).toBe(mode === 'active')
    }
    expect(world.kernel(0).routes.get(node)).toBeDefined()
    expect(
      world
        .kernel(0)
        .device(0)
        ?.peers.get(world.key(1, 0) ?? '')
        ?.allowedIps.has(node),
    ).toBe(true)
  })

  it('excuses a peer that has had no session for long, and not when it is back', async () => {
    const world = await meshed(2, { excuseAfterMs: 60_000 })
    world.net.cut(1, true)
    await world.clock.advance(300_000)
    expect(world.agent(0).engine.peer('node-1')).toMatchObject({ excused: true, mode: 'active' })
    world.net.cut(1, false)
    await world.clock.advance(20_000)
    expect(world.agent(0).engine.peer('node-1')?.excused).toBe(false)
  })
})

describe('the end', () => {
  it('stops with work in flight and leaves the kernel as it is', async () => {
    const world = await meshed()
    world.agent(0).engine.rotate(true)
    world.agent(1).driver.keyMs = 5_000
    world.agent(1).engine.rotate(true)
    await world.clock.advance(1_000)
    for (let i = 0; i < 3; i++) await world.stop(i)
    const calls = world.net.kernels.map((kernel) => [...kernel.devices.keys()])
    await world.clock.advance(60_000)
    expect(world.net.kernels.map((kernel) => [...kernel.devices.keys()])).toEqual(calls)
    expect(calls.every((names) => names.length === 2)).toBe(true)
  })

  it('cleans up everything of ours', async () => {
    const world = await meshed(2, { target: 'strict' })
    const { driver, routing, guard } = world.agent(0)
    await world.stop(0)
    const directory = world.directory.node('node-0')
    await world.wait(cleanupEngine([deviceName(0, 0), deviceName(0, 1)], { driver, routing, guard, directory }))
    const kernel = world.kernel(0)
    expect([kernel.devices.size, kernel.routes.size, kernel.guarded.size]).toEqual([0, 0, 0])
    expect(world.directory.records.has('node-0')).toBe(false)
  })
})

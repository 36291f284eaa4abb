import { describe, expect, it } from 'vitest'
import { formatCidr, parseCidr } from '../../../src/core/ip.ts'
import type { NodeRecord } from '../../../src/wg/directory/record.ts'
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

describe('a node that lies', () => {
  /** Its agent is another's by now, and does not put its record right. */
  const lie = async (world: EngineWorld, from: number, change: Partial<NodeRecord>): Promise<void> => {
    if (world.agents[from] !== undefined) await world.stop(from)
    const own = world.directory.records.get(`node-${from}`)
    if (own === undefined) throw new Error('it has not published')
    world.directory.put(`node-${from}`, { ...own, created: 0, revision: own.revision + 1, ...change })
  }
  const names = (world: EngineWorld): string[] =>
    world
      .agent(0)
      .engine.peers()
      .map(({ name }) => name)
      .sort()

  it('draws nothing to itself that nodes may not claim', async () => {
    const world = new EngineWorld(2)
    await world.up({ accept: [parseCidr('10.0.0.0/8'), parseCidr('192.0.2.0/28')], encryptNodes: true })
    const own = world.directory.records.get('node-1')
    expect(own).toBeDefined()
    await lie(world, 1, { prefixes: [world.kernel(1).prefix, '198.51.100.53/32'] })
    await world.clock.advance(5_000)
    expect(world.agent(0).engine.report().directory.refused).toMatchObject([{ name: 'node-1', reason: 'bad-prefix' }])
    await lie(world, 1, { nodeIPs: [...(own?.nodeIPs ?? []), '198.51.100.6'], revision: (own?.revision ?? 0) + 2 })
    await world.clock.advance(5_000)
    expect([...world.kernel(0).routes.keys()].sort()).toEqual([world.kernel(1).prefix, '192.0.2.2/32'].sort())
  })

  it.each(['lives', 'starts again'])('cannot use up the revisions of a node that %s', async (what) => {
    const world = new EngineWorld(3)
    await world.up()
    const poison = (): void => {
      const own = world.directory.records.get('node-1')
      if (own === undefined) throw new Error('it has not published')
      world.directory.put('node-1', { ...own, revision: Number.MAX_SAFE_INTEGER })
    }
    if (what === 'lives') poison()
    else {
      await world.stop(1)
      poison()
      await world.clock.advance(1000)
      await world.start(1)
    }
    await world.clock.advance(30_000)
    expect(world.directory.records.get('node-1')?.revision).toBeLessThan(1000)
    expect(world.agent(1).engine.report().directory.published).toBe(true)
    // Others believe it within minutes, and hear of its next keys at once.
    await world.clock.advance(6 * 60_000)
    for (const key of ['first', 'second']) {
      world.agent(1).engine.rotate(false)
      await world.clock.until(
        () => world.agent(1).engine.report().rotation.completed === (key === 'first' ? 1 : 2),
        60_000,
      )
    }
    await world.clock.until(() => world.sealed, 60_000)
    expect(world.sealed).toBe(true)
    expect(world.net.losses).toEqual([])
    const peers = world.kernel(0).device(0)?.peers
    expect(peers?.has(world.key(1, 0) ?? '')).toBe(true)
  })

  it('does not get the address of another node', async () => {
    const world = new EngineWorld(3)
    await world.up({ encryptNodes: true })
    await lie(world, 2, { nodeIPs: ['192.0.2.2'] })
    await world.clock.advance(10_000)
    for (const slot of [0, 1] as const) {
      const peers = world.kernel(0).device(slot)?.peers
      expect(peers?.get(world.key(1, slot) ?? '')?.allowedIps.has('192.0.2.2/32')).toBe(true)
    }
  })

  it('is said in the log, once in a while', async () => {
    const world = new EngineWorld(3)
    const lines: object[] = []
    world.log = { ...world.log, warn: (fields) => void lines.push(fields) }
    await world.up()
    for (let i = 0; i < 5; i++) {
      await lie(world, 2, { prefixes: [world.kernel(1).prefix], revision: 100 + i })
      await world.clock.advance(1_000)
    }
    const said = lines.filter((line) => 'reason' in line)
    expect(said.slice(0, 1)).toMatchObject([{ node: 'node-2', reason: 'prefix-taken' }])
    // Once by each of the two that read it.
    expect(said.length).toBeLessThanOrEqual(2)
  })

  it('does not displace a node by its UID', async () => {
    const world = await sealed(3)
    await lie(world, 2, { nodeUID: 'uid-1' })
    await world.clock.advance(10_000)
    expect(names(world)).toEqual(['node-1', 'node-2'])
  })

  it.each([
    ['the prefix of another', (world: EngineWorld) => ({ prefixes: [world.kernel(1).prefix] })],
    ['a prefix around those of all', () => ({ prefixes: ['10.0.0.0/12'] })],
    [
      'a prefix within that of another, beside its own',
      (world: EngineWorld) => ({ prefixes: [world.kernel(2).prefix, world.kernel(1).prefix.replace('/24', '/25')] }),
    ],
    ['the keys of another', (world: EngineWorld) => ({ slots: world.directory.records.get('node-1')?.slots ?? [] })],
  ])('does not get %s by saying that it was first', async (_, change) => {
    const world = await sealed(3)
    const { routing, driver } = world.agent(0)
    const [told, calls] = [routing.told.length, driver.calls.length]
    await lie(world, 2, change(world))
    await world.clock.advance(10_000)
    expect(names(world)).toEqual(['node-1', 'node-2'])
    for (const { uid, prefixes } of routing.told.slice(told)) {
      expect([uid, ...prefixes.map(formatCidr)]).toEqual(['uid-2', world.kernel(2).prefix])
    }
    const added = driver.calls
      .slice(calls)
      .flatMap(({ batch }) => batch?.set?.flatMap((set) => set.addAllowedIps ?? []))
    expect(added.filter((cidr) => cidr !== undefined && formatCidr(cidr) !== world.kernel(2).prefix)).toEqual([])
    // Nor from an agent that starts again: what its kernel knows counts.
    await world.stop(0)
    await world.start(0, strict)
    await world.clock.advance(10_000)
    expect(world.agent(0).engine.peer('node-1')).toMatchObject({ mode: 'strict', prefixes: [world.kernel(1).prefix] })
    for (const slot of [0, 1] as const) {
      const key = world.key(1, slot) ?? ''
      expect([...(world.kernel(0).device(slot)?.peers.get(key)?.allowedIps.keys() ?? [])]).toEqual([
        world.kernel(1).prefix,
      ])
    }
  })
})

describe('a part that throws', () => {
  it('ends neither the engine nor its turns', async () => {
    const world = await sealed(2)
    const { engine, prober } = world.agent(0)
    const before = engine.counters().errors
    prober.ask = () => {
      throw new Error('no socket')
    }
    prober.setTargets = () => {
      throw new Error('no memory')
    }
    const own = world.directory.records.get('node-1')
    if (own === undefined) throw new Error('it has not published')
    world.directory.put('node-1', { ...own, revision: own.revision + 1 })
    await world.clock.advance(20_000)
    expect(engine.counters().errors).toBeGreaterThan(before)
    engine.rotate(false)
    await world.clock.advance(2_000)
    expect(engine.report().rotation.phase).not.toBe('idle')
  })
})

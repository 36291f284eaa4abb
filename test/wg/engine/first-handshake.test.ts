import { describe, expect, it } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import { Executor, type ExecutorParts } from '../../../src/wg/engine/executor.ts'
import { Faults } from '../../../src/wg/engine/faults.ts'
import { Probing } from '../../../src/wg/engine/probing.ts'
import { DEFAULT_TUNING } from '../../../src/wg/engine/types.ts'
import { YIELD_MS } from '../../../src/wg/first-handshake.ts'
import { step } from '../../../src/wg/machine.ts'
import { DEFAULT_MACHINE, type OwnSlot, type WgState } from '../../../src/wg/machine-types.ts'
import { ABSENT, NEVER, type Pair, type Tunnel } from '../../../src/wg/pair.ts'
import { PeerTable } from '../../../src/wg/peer-table.ts'
import type { WgPeerBatch } from '../../../src/wg/ports.ts'
import type { Prober } from '../../../src/wg/seams.ts'
import type { Slot } from '../../../src/wg/slots.ts'
import { EngineWorld } from '../../support/wg/engine-world.ts'
import { randomFrom } from '../../support/wg/event-queue.ts'
import { FakeClock } from '../../support/wg/fake-clock.ts'

/** WireGuard tries again after this, ms. */
const RETRY_MS = 5_000
const NODES = [0, 1, 2] as const

/** Real engines above kernels whose handshakes take time and may cross. A record takes up to `delayMs` to each reader by itself. */
function wired(seed: number, delayMs: number): { world: EngineWorld; random: (below: number) => number } {
  const next = randomFrom(seed)
  const random = (below: number): number => Math.floor(next() * below)
  const world = new EngineWorld(NODES.length)
  world.net.wireMs = 10
  world.directory.options = { delayMs: () => random(delayMs), lose: () => false, resyncMs: 30_000 }
  return { world, random }
}

async function begin(world: EngineWorld, apartMs: () => number): Promise<number> {
  const starts: Promise<void>[] = []
  for (const i of NODES) {
    starts.push(world.make(i).engine.start())
    await world.clock.advance(apartMs())
  }
  await world.wait(Promise.all(starts))
  return world.clock.until(() => world.sealed, 60_000)
}

describe('first handshakes', () => {
  it.each([5, 50, 200, 500])(
    'of nodes that start together do not cross, with records up to %i ms late',
    async (late) => {
      for (let seed = 1; seed <= 5; seed++) {
        const { world, random } = wired(seed, late)
        const took = await begin(world, () => random(300))
        expect(world.net.crossed).toBe(0)
        expect(took).toBeLessThan(RETRY_MS / 2)
        expect(world.net.losses).toEqual([])
      }
    },
  )

  it.each([5, 50, 200, 500])(
    'of nodes that rotate together do not cross, with records up to %i ms late',
    async (late) => {
      const { world, random } = wired(late, late)
      await begin(world, () => random(300))
      // Sessions are as old as one wants them: the first packets of the test are not the last of the start.
      await world.clock.advance(3_000)
      for (let round = 0; round < 4; round++) {
        for (const i of NODES) {
          world.agent(i).engine.rotate(false)
          await world.clock.advance(random(100))
        }
        // Quiet for 5 s (machine-types.ts), and then less than one more try of WireGuard.
        expect(await world.clock.until(() => world.idle && world.sealed, 60_000)).toBeLessThan(2 * RETRY_MS)
      }
      expect(world.net.crossed).toBe(0)
      expect(world.net.losses).toEqual([])
    },
  )

  it('of a node whose peer is away begin all the same, and its peer is put into the device whole', async () => {
    const { world } = wired(1, 50)
    await begin(world, () => 200)
    world.net.cut(2, true)
    world.agent(0).engine.rotate(false)
    await world.clock.until(() => world.agent(0).engine.report().rotation.phase === 'settling', 300_000)
    await world.clock.advance(3_000)
    for (const slot of [0, 1] as const) {
      const peers = [...(world.kernel(0).device(slot)?.peers.values() ?? [])]
      expect(peers.map(({ keepalive }) => keepalive)).toEqual([25, 25])
    }
    expect([...(world.kernel(0).device(0)?.peers.values() ?? [])].some(({ begunAt }) => begunAt !== undefined)).toBe(
      true,
    )
  })

  it('of a device that was made again are left to the others, who hear of its key', async () => {
    const { world } = wired(1, 100)
    await begin(world, () => 200)
    await world.clock.advance(5_000)
    world.net.forgive()
    world.kernel(0).deleteDevice(0)
    await world.clock.until(() => !world.sealed, 10_000)
    expect(await world.clock.until(() => world.sealed, 60_000)).toBeLessThan(RETRY_MS)
    await world.clock.advance(2_000)
    expect([world.net.crossed, world.net.unknown]).toEqual([0, 0])
    const keepalives = [...(world.kernel(0).device(0)?.peers.values() ?? [])].map(({ keepalive }) => keepalive)
    expect(keepalives).toEqual([25, 25])
    expect(Object.values(world.agent(0).engine.counters().repairs).reduce((sum, n) => sum + n, 0)).toBe(1)
  })
})

const WALL = 1_700_000_000_000

/** Our keys were made at `bornAt` and told at once; slot 0 of the peer had a handshake with them, slot 1 has not. */
function stateOf(bornAt: number, change: Partial<OwnSlot> = {}): WgState {
  const own: OwnSlot = { publicKey: 'own', generation: 1, since: WALL, bornAt, toldAt: bornAt, ...change }
  const tunnel = (slot: Slot): Tunnel => ({ ...ABSENT, key: `key ${slot}`, since: WALL - 1 })
  const worked = { ...tunnel(0), stamp: WALL + 1, handshaken: true, answered: true, freshAt: bornAt }
  const pair: Pair = {
    ...{ uid: 'peer', name: 'peer', bootId: 'boot', twoSlots: true, probes: true, excused: false },
    ...{
      tunnels: [worked, tunnel(1)],
      egress: 0,
      drain: null,
      announced: undefined,
      announcedAt: NEVER,
      mode: 'active',
    },
  }
  return {
    ...{ uid: 'own', config: DEFAULT_MACHINE, slots: [own, own], drain: null, revision: 1, acknowledged: 1 },
    ...{ publishedAt: bornAt, rotation: { phase: 'idle', dueAt: Infinity }, queue: [], peers: PeerTable.of([pair]) },
    ...{ target: 'active', leavingSince: NEVER },
  }
}

describe('a tunnel whose other end begins', () => {
  const BORN = 1_000_000

  it('is not asked through until that had its time, while others are', () => {
    const asked: string[] = []
    const probing = new Probing(DEFAULT_TUNING)
    const prober = { ask: (_: string, slot: Slot) => asked.push(`${slot} ${now - BORN}`) } as unknown as Prober
    let now = BORN
    for (; now <= BORN + YIELD_MS; now += 250) probing.askDue(stateOf(BORN), prober, now)
    expect(asked.filter((text) => text.startsWith('1'))).toEqual([`1 ${YIELD_MS}`])
    expect(asked.filter((text) => text.startsWith('0')).length).toBeGreaterThan(0)
  })

  it('is asked at once with a key that it was not asked with, however lately it was', () => {
    const asked: number[] = []
    const probing = new Probing(DEFAULT_TUNING)
    const prober = { ask: (_: string, slot: Slot) => slot === 1 && asked.push(now) } as unknown as Prober
    let now = BORN
    probing.askDue(stateOf(BORN - 60_000), prober, now)
    now += 1
    probing.askDue(stateOf(BORN - 60_000), prober, now)
    const own = { bornAt: BORN + 1, toldAt: BORN - 60_000 }
    probing.askDue(stateOf(BORN - 60_000, own), prober, ++now)
    expect(asked).toEqual([BORN, BORN + 2])
  })

  it('is kicked when that had its time', () => {
    const kicks = (now: number): unknown[] =>
      step(stateOf(BORN), { kind: 'tick', wallMs: WALL }, now).effects.filter(({ kind }) => kind === 'kick')
    expect(kicks(BORN + YIELD_MS - 1)).toEqual([])
    expect(kicks(BORN + YIELD_MS)).toEqual([{ kind: 'kick', uid: 'peer', slot: 1 }])
  })

  it('gets no keepalive before, also when it was put into a device whose key the machine heard of later', async () => {
    const clock = new FakeClock()
    const began = clock.monotonicMs()
    const sets: [number, number | undefined][] = []
    let state = stateOf(began - 60_000)
    const parts = {
      driver: {
        async setPeers(_: string, { set = [] }: WgPeerBatch) {
          for (const { keepalive } of set) sets.push([clock.monotonicMs() - began, keepalive])
        },
      },
      devices: ['a', 'b'],
      peers: {
        keepalive: 25,
        wanted: (uid: string) => ({ uid, publicKey: 'key 1', endpoints: [], allowedIps: [], keepalive: 25 }),
        routes: () => undefined,
        get: () => undefined,
      },
      routes: { egress: () => undefined },
      state: () => state,
      dump: () => undefined,
      clock,
      faults: new Faults(silentLog, clock),
      retryMs: 250,
    } as unknown as ExecutorParts
    const executor = new Executor(parts)
    executor.pause(1, true)
    await executor.programAll(1)
    await clock.advance(1_000)
    state = stateOf(began + 1_000)
    executor.pause(1, false)
    await clock.advance(YIELD_MS - 1)
    expect(sets).toEqual([[0, 0]])
    expect([executor.idle, executor.silent('peer', 1), executor.silent('peer', 0)]).toEqual([false, true, false])
    await clock.advance(200)
    expect(sets.slice(1)).toEqual([[expect.any(Number), 25]])
    expect([executor.idle, executor.silent('peer', 1)]).toEqual([true, false])
    await executor.stop()
  })

  it('is not answered through with a key that may have no session, and a look at the device shows when it has', async () => {
    const { world } = wired(1, 50)
    await begin(world, () => 200)
    world.directory.partition('node-1', true)
    const { engine, prober, driver } = world.agent(0)
    engine.rotate(false)
    const { slot } = engine.report().rotation
    if (slot === undefined) throw new Error('no rotation')
    expect(prober.announce('uid-1', slot)).toBeDefined()
    await world.clock.until(() => engine.report().rotation.phase === 'settling', 60_000)
    const { reads } = driver
    expect([prober.announce('uid-1', slot), prober.announce('uid-1', slot === 0 ? 1 : 0)]).toEqual([
      undefined,
      expect.anything(),
    ])
    await world.clock.advance(200)
    expect(driver.reads).toBeGreaterThan(reads)
    await world.clock.advance(YIELD_MS)
    expect(prober.announce('uid-1', slot)).toBeDefined()
  })
})

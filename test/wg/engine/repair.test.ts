import { describe, expect, it } from 'vitest'
import { parseCidr, parseIp } from '../../../src/core/ip.ts'
import type { WgCounters } from '../../../src/wg/report.ts'
import { EngineWorld } from '../../support/wg/engine-world.ts'
import { allowed, type FakePeer } from '../../support/wg/fake-kernel.ts'

async function meshed(): Promise<EngineWorld> {
  const world = new EngineWorld(3)
  await world.up()
  await world.clock.advance(2 * 60_000)
  expect(world.sealed).toBe(true)
  expect(world.agent(0).engine.counters().repairs).toMatchObject({ peer: 0, device: 0, key: 0, route: 0 })
  return world
}

/** Does something to node 0 by hand; gives how long the engine needs to mend it. */
async function mended(world: EngineWorld, harm: () => void, right: () => boolean): Promise<number> {
  await world.clock.advance(137)
  harm()
  expect(right()).toBe(false)
  return world.clock.until(right, 30_000)
}

const repairs = (world: EngineWorld): WgCounters['repairs'] => world.agent(0).engine.counters().repairs

function peerOf(world: EngineWorld, slot: 0 | 1 = 0): FakePeer {
  const peer = world
    .kernel(0)
    .device(slot)
    ?.peers.get(world.key(1, slot) ?? '')
  if (peer === undefined) throw new Error('node 1 is no peer of node 0')
  return peer
}

const strange = Buffer.alloc(32, 7).toString('base64')

describe('what others do to the kernel is mended within two seconds, and counted', () => {
  it('a peer that was removed', async () => {
    const world = await meshed()
    const has = (): boolean =>
      world
        .kernel(0)
        .device(0)
        ?.peers.has(world.key(1, 0) ?? '') === true
    const took = await mended(
      world,
      () =>
        world
          .kernel(0)
          .device(0)
          ?.peers.delete(world.key(1, 0) ?? ''),
      has,
    )
    expect(took).toBeLessThanOrEqual(2_000)
    expect(peerOf(world).keepalive).toBe(25)
    expect(repairs(world).peer).toBe(1)
  })

  it('a peer that was removed, where dumps wait for a processor: so few peers are no reason to look seldom', async () => {
    const world = await meshed()
    const { driver } = world.agent(0)
    driver.readMs = 200
    await world.clock.advance(20_000)
    const has = (): boolean =>
      world
        .kernel(0)
        .device(1)
        ?.peers.has(world.key(1, 1) ?? '') === true
    const harm = (): void =>
      void world
        .kernel(0)
        .device(1)
        ?.peers.delete(world.key(1, 1) ?? '')
    expect(await mended(world, harm, has)).toBeLessThanOrEqual(2_000 + 2 * driver.readMs)
    // Nor is it looked at without a pause where a look takes as long as it may be to the next.
    driver.readMs = 2_000
    await world.clock.advance(20_000)
    const before = driver.reads
    await world.clock.advance(100_000)
    expect((driver.reads - before) * driver.readMs).toBeLessThan(85_000)
  })

  it('a stranger that took the addresses of a peer', async () => {
    const world = await meshed()
    const prefix = world.kernel(1).prefix
    const right = (): boolean =>
      world.kernel(0).device(0)?.peers.has(strange) === false && peerOf(world).allowedIps.has(prefix)
    const harm = (): void => {
      peerOf(world).allowedIps.delete(prefix)
      world
        .kernel(0)
        .device(0)
        ?.peers.set(strange, {
          ...peerOf(world),
          allowedIps: allowed([parseCidr(prefix)]),
          send: undefined,
          receive: [],
        })
    }
    expect(await mended(world, harm, right)).toBeLessThanOrEqual(2_000)
    expect(repairs(world).peer).toBe(2)
  })

  it('addresses that are not the peer’s, and a keepalive that is off', async () => {
    const world = await meshed()
    const right = (): boolean => !peerOf(world).allowedIps.has('10.77.0.0/16') && peerOf(world).keepalive === 25
    const harm = (): void => {
      peerOf(world).allowedIps.set('10.77.0.0/16', parseCidr('10.77.0.0/16'))
      peerOf(world).keepalive = 0
    }
    expect(await mended(world, harm, right)).toBeLessThanOrEqual(2_000)
    expect(peerOf(world).allowedIps.size).toBe(1)
  })

  it('an endpoint that the peer never had; one that its packets come from again is left', async () => {
    const world = await meshed()
    const elsewhere = { ip: parseIp('198.51.100.9'), port: 4444 }
    const right = (): boolean => peerOf(world).endpoint?.port === 51_871
    const harm = (): void => {
      peerOf(world).endpoint = elsewhere
    }
    expect(await mended(world, harm, right)).toBeLessThanOrEqual(2_000)
    // Until the tunnel is known to work again.
    await world.clock.advance(2_500)
    harm()
    // Longer than from one look to the next, and less than three probes take to be lost.
    await world.clock.advance(1_900)
    expect(right()).toBe(false)
  })

  it('another key in a device: it is told to all, and nothing else changes', async () => {
    const world = await meshed()
    const published = (): boolean => world.directory.records.get('node-0')?.slots[0]?.publicKey === world.key(0, 0)
    expect(await mended(world, () => world.kernel(0).foreignKey(0), published)).toBeLessThanOrEqual(2_000)
    await world.clock.until(() => world.sealed, 30_000)
    expect(world.sealed).toBe(true)
    expect(repairs(world)).toMatchObject({ key: 1, device: 0 })
  })

  it('another key in the slot that is drained: it counts as the one that was to be made', async () => {
    const world = await meshed()
    world.agent(0).engine.rotate(false)
    await world.clock.advance(2_000)
    const { phase, slot = 0 } = world.agent(0).engine.report().rotation
    expect(phase).toBe('draining')
    world.kernel(0).foreignKey(slot)
    await world.clock.until(() => repairs(world).key === 1, 2_000)
    expect(world.agent(0).engine.report().rotation).toMatchObject({ phase: 'settling', slot, reason: 'Rotate' })
    await world.clock.until(() => world.idle && world.sealed, 60_000)
    expect(world.agent(0).engine.report().slots[slot]?.generation).toBe(1)
    expect(world.directory.records.get('node-0')?.drain).toBe(null)
  })

  it('a port and a mark', async () => {
    const world = await meshed()
    const device = world.kernel(0).device(1)
    const right = (): boolean => device?.listenPort === 51_872 && device.fwmark === 0x1e00
    const harm = (): void => void Object.assign(device ?? {}, { listenPort: 9, fwmark: 0 })
    expect(await mended(world, harm, right)).toBeLessThanOrEqual(2_000)
    expect(repairs(world).device).toBe(1)
  })

  it('routes that are gone, and an MTU', async () => {
    const world = await meshed()
    const kernel = world.kernel(0)
    const right = (): boolean => [0, 1].includes(kernel.routes.get(world.kernel(1).prefix) as number)
    const harm = (): void => {
      kernel.flush(0)
      kernel.flush(1)
    }
    expect(await mended(world, harm, right)).toBeLessThanOrEqual(2_000)
    expect(repairs(world).route).toBeGreaterThanOrEqual(1)
    const device = kernel.device(0)
    const set = (): void => void Object.assign(device ?? {}, { mtu: 1500 })
    expect(await mended(world, set, () => device?.mtu === 1408)).toBeLessThanOrEqual(2_000)
    expect(repairs(world).mtu).toBe(1)
  })

  it('programs of the guard that are gone', async () => {
    const world = await meshed()
    world.agent(0).guard.mended = 2
    await world.clock.advance(2_000)
    expect(repairs(world).guard).toBe(2)
  })

  it('a device that was deleted: egress leaves at once, and it stands again with its peers', async () => {
    for (const slot of [0, 1] as const) {
      const world = await meshed()
      const kernel = world.kernel(0)
      const other = slot === 0 ? 1 : 0
      const moved = (): boolean => [1, 2].every((i) => kernel.routes.get(world.kernel(i).prefix) === other)
      await world.clock.advance(137)
      kernel.deleteDevice(slot)
      expect(await world.clock.until(moved, 5_000)).toBeLessThanOrEqual(200)
      const stands = (): boolean => kernel.device(slot)?.peers.size === 2
      expect(await world.clock.until(stands, 5_000)).toBeLessThanOrEqual(2_000)
      await world.clock.until(() => world.sealed && world.idle, 60_000)
      expect(world.sealed && world.idle).toBe(true)
      expect(repairs(world)).toMatchObject({ device: 1, key: 0 })
      const { recreations, recreatedFor } = world.agent(0).engine.report().slots[slot] ?? {}
      expect([recreations, recreatedFor]).toEqual([1, { missing: 1, broken: 0 }])
    }
  })

  it('a device deleted while the other slot settles, and in the middle of its own rotation', async () => {
    for (const after of [2_000, 5_500, 6_500]) {
      const world = await meshed()
      world.agent(0).engine.rotate(false)
      await world.clock.advance(after)
      const slot = world.agent(0).engine.report().rotation.slot ?? 0
      for (const gone of [slot, slot === 0 ? 1 : 0] as const) {
        world.kernel(0).deleteDevice(gone)
        const stands = (): boolean => world.kernel(0).device(gone)?.peers.size === 2
        expect(await world.clock.until(stands, 20_000)).toBeLessThanOrEqual(4_000)
      }
      await world.clock.until(() => world.sealed && world.idle, 120_000)
      expect(world.sealed && world.idle).toBe(true)
    }
  })

  it('a device that is deleted again before the new one has settled', async () => {
    const world = await meshed()
    const kernel = world.kernel(0)
    // What the others say of the new key is late, so that the rotation settles for long.
    world.directory.partition('node-1', true)
    kernel.deleteDevice(0)
    await world.clock.until(() => kernel.device(0)?.peers.size === 2, 10_000)
    await world.clock.advance(1_000)
    expect(world.agent(0).engine.report().rotation).toMatchObject({ phase: 'settling', slot: 0 })
    kernel.deleteDevice(0)
    expect(await world.clock.until(() => kernel.device(0)?.peers.size === 2, 120_000)).toBeLessThanOrEqual(4_000)
    world.directory.partition('node-1', false)
    await world.clock.until(() => world.sealed && world.idle, 120_000)
    expect(world.sealed && world.idle).toBe(true)
  })

  it('a device that is deleted, when routes through it can be had only at the sixth attempt', async () => {
    const world = await meshed()
    let failed = 0
    const done: string[] = []
    world.hook = (index, what) => {
      if (index !== 0 || !what.includes('slotReplaced') || !what.endsWith(' before')) return
      if (what.startsWith('routing') && failed < 5) {
        failed++
        throw new Error('made to fail')
      }
      done.push(what)
    }
    world.kernel(0).deleteDevice(1)
    await world.clock.until(() => done.length > 0, 60_000)
    await world.clock.until(() => world.sealed && world.idle, 120_000)
    expect(failed).toBe(5)
    // Sockets are bound to the number of an interface.
    expect(done).toEqual(expect.arrayContaining(['routing.slotReplaced before', 'prober.slotReplaced before']))
    expect(world.sealed && world.idle).toBe(true)
  })

  it('a device that is deleted before the sessions of a compromised key could be ended', async () => {
    const world = await meshed()
    let failed = 0
    world.hook = (index, what) => {
      if (index !== 0 || what !== 'driver.restart before') return
      failed++
      throw new Error('made to fail')
    }
    world.agent(0).engine.rotate(true)
    await world.clock.until(() => failed > 0, 60_000)
    expect(failed).toBeGreaterThan(0)
    for (const slot of [0, 1] as const) world.kernel(0).deleteDevice(slot)
    world.hook = () => undefined
    await world.clock.until(() => world.sealed && world.idle, 120_000)
    expect(world.sealed && world.idle).toBe(true)
  })

  it('its record, removed or written by another', async () => {
    const world = await meshed()
    const key = (): unknown => world.directory.records.get('node-0')?.slots[0]?.publicKey
    world.directory.remove('node-0')
    await world.clock.advance(15_000)
    expect(key()).toBe(world.key(0, 0))
    const record = world.directory.records.get('node-0')
    if (record === undefined) throw new Error('there is no record')
    world.directory.put('node-0', { ...record, nodeUID: 'uid-of-another', revision: 0 })
    await world.clock.advance(15_000)
    expect(world.directory.records.get('node-0')?.nodeUID).toBe('uid-0')
    expect(world.agent(0).engine.counters().refused.writer).toBe(1)
    await world.clock.until(() => world.sealed, 60_000)
    expect(world.sealed).toBe(true)
  })
})

describe('a tunnel that carries one way only', () => {
  it.each([0, 200, 400, 600, 800, 1000])('is left within three seconds, %i ms after a question', async (later) => {
    const world = await meshed()
    await world.clock.advance(later)
    const device = world.kernel(0).device(0)
    if (device === undefined) throw new Error('there is no device')
    const onSlot0 = (i: number): boolean => world.kernel(i).routes.get(world.kernel(0).prefix) === 0
    expect([1, 2].some(onSlot0)).toBe(true)
    device.deaf = true
    expect(await world.clock.until(() => ![1, 2].some(onSlot0), 60_000)).toBeLessThanOrEqual(3_000)
  })

  it('is left within three seconds, and its device is made again, once in five minutes', async () => {
    const world = await meshed()
    const device = world.kernel(0).device(0)
    if (device === undefined) throw new Error('there is no device')
    const onSlot0 = (i: number): boolean => world.kernel(i).routes.get(world.kernel(0).prefix) === 0
    expect([1, 2].some(onSlot0)).toBe(true)
    device.deaf = true
    const took = await world.clock.until(() => ![1, 2].some(onSlot0), 60_000)
    expect(took).toBeLessThanOrEqual(3_000)
    expect(world.agent(1).engine.counters().failovers).toBe(1)
    await world.clock.until(() => world.kernel(0).device(0) !== device, 60_000)
    expect(world.kernel(0).device(0)).not.toBe(device)
    await world.clock.until(() => world.sealed && world.idle, 60_000)
    expect(world.sealed && world.idle).toBe(true)
    expect(world.agent(0).engine.report().slots[0]?.recreatedFor).toEqual({ missing: 0, broken: 1 })
    const again = world.kernel(0).device(0)
    if (again !== undefined) again.deaf = true
    await world.clock.advance(120_000)
    expect(world.agent(0).engine.report().slots[0]?.recreations).toBe(1)
  })
})

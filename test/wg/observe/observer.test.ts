import { expect, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import { parseCidr, parseIp } from '../../../src/core/ip.ts'
import type { ExpectedNode } from '../../../src/wg/observe/findings.ts'
import { createObserver, type Observer, type ObserverDeps } from '../../../src/wg/observe/observer.ts'
import type { WgDevice, WgDriver, WgPeer } from '../../../src/wg/ports.ts'

const NODES: readonly ExpectedNode[] = [1, 2, 3].map((n) => ({
  name: `n${n}`,
  endpoints: [parseIp(`192.0.2.${n}`)],
  prefixes: [parseCidr(`10.1.${n}.0/24`)],
  publicKey: `key-${n}`,
}))

class World {
  monotonic = 1000
  wall = Date.UTC(2026, 0, 2)
  device: WgDevice | undefined | Error
  nodes: readonly ExpectedNode[] | undefined = NODES
  readonly called: string[] = []
  readonly logged: string[] = []
  reads = 0

  constructor() {
    this.device = this.made()
  }

  peer(n: number, over: Partial<WgPeer> = {}): WgPeer {
    return {
      publicKey: `key-${n}`,
      endpoint: { ip: parseIp(`192.0.2.${n}`), port: 51_871 },
      allowedIps: [parseCidr(`10.1.${n}.0/24`)],
      keepalive: 0,
      lastHandshakeNs: BigInt(this.wall - 20_000) * 1_000_000n,
      rxBytes: 10,
      txBytes: 20,
      ...over,
    }
  }

  made(peers: readonly WgPeer[] = [this.peer(2), this.peer(3)]): WgDevice {
    return { name: 'cilium_wg0', publicKey: 'key-1', listenPort: 51_871, fwmark: 0x1e00, peers }
  }

  /** A driver of which anything but reading is a failure. */
  driver(): WgDriver {
    const reading = {
      kind: 'kernel',
      read: async (name: string): Promise<WgDevice | undefined> => {
        this.called.push(name)
        this.reads++
        if (this.device instanceof Error) throw this.device
        return this.device
      },
    }
    return new Proxy(reading as unknown as WgDriver, {
      get: (target, property) => {
        if (property === 'kind' || property === 'read') return Reflect.get(target, property) as unknown
        throw new Error(`the observer asked for ${String(property)}`)
      },
      set: (_target, property) => {
        throw new Error(`the observer set ${String(property)}`)
      },
    })
  }

  observer(intervalMs = 1000): Observer {
    const deps: ObserverDeps = {
      driver: this.driver(),
      nodes: () => this.nodes,
      clock: { monotonicMs: () => this.monotonic, wallMs: () => this.wall },
      log: { ...silentLog, warn: (_fields, message) => this.logged.push(message) },
      mtuOf: () => 1420,
    }
    return createObserver({ device: 'cilium_wg0', intervalMs, node: 'n1', domain: 'prod' }, deps)
  }
}

test('a healthy device: a report in observe mode, peers by name, nothing found', async () => {
  const world = new World()
  const observer = world.observer()
  await observer.look()
  expect(observer.report()).toMatchObject({
    mode: 'observe',
    driver: 'kernel',
    node: 'n1',
    slots: [{ slot: 0, device: 'cilium_wg0', publicKey: 'key-1', port: 51_871, programmed: 2, proven: 2, mtu: 1420 }],
    peers: { expected: 2, active: 2, strict: 0, unproven: 0 },
    findings: [],
    warnings: [],
  })
  expect(observer.peer('n3')).toMatchObject({
    uid: 'key-3',
    mode: 'active',
    tunnels: [{ state: 'proven', endpoint: '192.0.2.3:51871', handshakeAgeSeconds: 20, rxBytes: 10 }],
  })
  expect(world.called).toEqual(['cilium_wg0'])
})

test('the node itself is no peer, and one that is missing is unproven', async () => {
  const world = new World()
  world.device = world.made([world.peer(2)])
  const observer = world.observer()
  await observer.look()
  const { findings, peers } = observer.report()
  expect(findings.map(({ code, peer }) => [code, peer])).toEqual([['peer-missing', 'n3']])
  expect(peers).toEqual({ expected: 2, active: 1, strict: 0, unproven: 1 })
  expect(observer.peer('n3')).toMatchObject({ mode: 'off', tunnels: [{ state: 'absent' }] })
})

test('an old handshake counts once packets are sent between two looks', async () => {
  const world = new World()
  const old = { lastHandshakeNs: BigInt(world.wall - 200_000) * 1_000_000n }
  const observer = world.observer()
  world.device = world.made([world.peer(2, old), world.peer(3)])
  await observer.look()
  expect(observer.report().findings).toEqual([])
  expect(observer.peer('n2')?.tunnels[0]?.state).toBe('suspect')
  world.device = world.made([world.peer(2, { ...old, txBytes: 168 }), world.peer(3)])
  await observer.look()
  expect(observer.report().findings.map(({ code }) => code)).toEqual(['handshake-stale'])
  expect(observer.peer('n2')?.tunnels[0]?.state).toBe('dead')
})

test('while nodes are not known no peer is missing or strange', async () => {
  const world = new World()
  world.nodes = undefined
  const observer = world.observer()
  await observer.look()
  expect(observer.report()).toMatchObject({ findings: [], directory: { complete: false }, peers: { expected: 0 } })
  expect(observer.report().warnings).toHaveLength(1)
})

test('no device, and one that cannot be read, are findings; the log tells once', async () => {
  const world = new World()
  const observer = world.observer()
  world.device = undefined
  await observer.look()
  expect(observer.report().findings.map(({ code }) => code)).toEqual(['no-device'])
  expect(observer.report().slots[0]?.publicKey).toBeUndefined()
  world.device = new Error('EPERM')
  await observer.look()
  await observer.look()
  expect(observer.report().findings).toEqual([
    { code: 'unreadable', peer: '', text: 'cilium_wg0 cannot be read: EPERM' },
  ])
  expect([observer.counters().errors, world.logged.length]).toEqual([2, 1])
})

test('a key that changes starts anew', async () => {
  const world = new World()
  const observer = world.observer()
  await observer.look()
  world.monotonic += 5000
  await observer.look()
  expect(observer.report().slots[0]).toMatchObject({ generation: 0, keyAgeSeconds: 5 })
  world.device = { ...world.made(), publicKey: 'another' }
  await observer.look()
  expect(observer.report().slots[0]).toMatchObject({ generation: 1, keyAgeSeconds: 0 })
})

test('nothing is written: a rotation is refused, and the driver is asked for nothing but reads', async () => {
  const world = new World()
  const observer = world.observer(5)
  expect(() => world.driver().setPeers('x', {})).toThrow('the observer asked for setPeers')
  await observer.start()
  expect(() => observer.rotate(true)).toThrow('cilium_wg0')
  observer.report()
  observer.peers()
  observer.keyEvents()
  await expect.poll(() => world.reads).toBeGreaterThan(2)
  await observer.stop()
  const { reads } = world
  await new Promise((done) => setTimeout(done, 30))
  expect(world.reads).toBe(reads)
  expect(new Set(world.called)).toEqual(new Set(['cilium_wg0']))
  expect(world.logged).toEqual([])
})

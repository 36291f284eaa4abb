/**
 * What every driver of WireGuard must do, on real devices: run over the kernel's and over the userspace one. Needs a network
 * namespace of its own with lo up, and the wg program as second opinion.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Cidr, formatCidr, formatIp, parseCidr, parseIp } from '../../src/core/ip.ts'
import type { WgDevice, WgDriver, WgPeer } from '../../src/wg/ports.ts'

export interface Bed {
  readonly driver: WgDriver
  /** Names of devices: the prefix and one digit. */
  readonly prefix: string
}

export interface Case {
  readonly name: string
  run(bed: Bed): Promise<void>
}

const OPTIONS = { listenPort: 51871, fwmark: 0x1e00, mtu: 1408 }
const run = (...command: readonly string[]): string =>
  execFileSync(command[0] ?? '', command.slice(1), { encoding: 'utf8' }).trim()
const cidrs = (...list: readonly string[]): Cidr[] => list.map((text) => parseCidr(text))

export function newPublicKey(): string {
  const { x } = generateKeyPairSync('x25519').publicKey.export({ format: 'jwk' })
  return Buffer.from(x ?? '', 'base64url').toString('base64')
}

const plain = (peer: WgPeer): object => ({
  endpoint: peer.endpoint && `${formatIp(peer.endpoint.ip)} ${peer.endpoint.port}`,
  keepalive: peer.keepalive,
  allowedIps: peer.allowedIps.map(formatCidr).sort(),
})

async function mustRead(driver: WgDriver, name: string): Promise<WgDevice> {
  const device = await driver.read(name)
  assert.ok(device !== undefined, `${name} is not there`)
  return device
}

async function allowed(driver: WgDriver, name: string, publicKey: string): Promise<string[]> {
  const peer = (await mustRead(driver, name)).peers.find((one) => one.publicKey === publicKey)
  assert.ok(peer !== undefined, `${name} has no peer ${publicKey}`)
  return peer.allowedIps.map(formatCidr).sort()
}

/** A device that is deleted afterwards, whatever happens. */
const withDevice =
  (act: (driver: WgDriver, name: string) => Promise<void>) =>
  async ({ driver, prefix }: Bed): Promise<void> => {
    const name = `${prefix}0`
    await driver.create(name, OPTIONS)
    try {
      await act(driver, name)
    } finally {
      await driver.delete(name)
    }
  }

async function handshakeAfter(driver: WgDriver, name: string, peerKey: string, sinceNs: bigint): Promise<WgPeer> {
  for (const end = performance.now() + 12_000; performance.now() < end; await sleep(50)) {
    const peer = (await mustRead(driver, name)).peers.find((one) => one.publicKey === peerKey)
    if (peer !== undefined && peer.lastHandshakeNs > sinceNs) return peer
  }
  throw new Error(`${name}: no handshake with ${peerKey}`)
}

const nowNs = (): bigint => BigInt(Date.now()) * 1_000_000n
const toward = (publicKey: string, port: number, ...list: string[]) => ({
  publicKey,
  endpoint: { ip: parseIp('127.0.0.1'), port },
  keepalive: 25,
  addAllowedIps: cidrs(...list),
})

export const CASES: readonly Case[] = [
  {
    name: 'a new device is up, has port, mark, MTU and a key that wg(8) sees too',
    run: withDevice(async (driver, name) => {
      const device = await mustRead(driver, name)
      assert.equal(device.listenPort, OPTIONS.listenPort)
      assert.equal(device.fwmark, OPTIONS.fwmark)
      assert.deepEqual(device.peers, [])
      assert.equal(run('wg', 'show', name, 'public-key'), device.publicKey)
      assert.equal(run('wg', 'show', name, 'listen-port'), '51871')
      assert.equal(run('wg', 'show', name, 'fwmark'), '0x1e00')
      assert.match(run('ip', 'link', 'show', 'dev', name), /[<,]UP[,>].* mtu 1408 /)
    }),
  },
  {
    name: 'a device that stands is adopted with its key and peers, and what differs is put right',
    run: withDevice(async (driver, name) => {
      const peer = newPublicKey()
      await driver.setPeers(name, { set: [{ publicKey: peer, addAllowedIps: cidrs('10.1.0.0/24') }] })
      run('ip', 'link', 'set', 'dev', name, 'mtu', '1300')
      const before = await mustRead(driver, name)
      const again = await driver.create(name, { ...OPTIONS, listenPort: 51899 })
      assert.deepEqual(again, { created: false, publicKey: before.publicKey })
      assert.deepEqual(await mustRead(driver, name), { ...before, listenPort: 51899 })
      assert.match(run('ip', 'link', 'show', 'dev', name), / mtu 1408 /)
    }),
  },
  {
    name: 'a name that something else has is refused, and that is left alone',
    async run({ driver }) {
      await assert.rejects(driver.create('lo', OPTIONS), { code: 'SEKISHO_WG_DEVICE' })
      await assert.rejects(driver.delete('lo'), { code: 'SEKISHO_WG_DEVICE' })
      assert.match(run('ip', 'link', 'show', 'dev', 'lo'), /LOOPBACK,UP/)
    },
  },
  {
    name: 'a device that is not there: nothing to read or delete, and an error to change',
    async run({ driver, prefix }) {
      const name = `${prefix}9`
      assert.equal(await driver.read(name), undefined)
      assert.equal(await driver.delete(name), false)
      const set = [{ publicKey: newPublicKey() }]
      await assert.rejects(driver.setPeers(name, { set }), { code: 'SEKISHO_WG_DEVICE' })
      await assert.rejects(driver.rotateKey(name), { code: 'SEKISHO_WG_DEVICE' })
    },
  },
  {
    name: 'peers are read back as they were set, IPv4 and IPv6',
    run: withDevice(async (driver, name) => {
      const [a, b] = [newPublicKey(), newPublicKey()]
      await driver.setPeers(name, {
        set: [
          { ...toward(a, 51871, '10.1.2.0/24', 'fd10:2::/64'), endpoint: { ip: parseIp('192.0.2.7'), port: 51871 } },
          { publicKey: b, endpoint: { ip: parseIp('2001:db8::7'), port: 51872 }, addAllowedIps: cidrs('0.0.0.0/0') },
        ],
      })
      const { peers } = await mustRead(driver, name)
      assert.deepEqual(Object.fromEntries(peers.map((peer) => [peer.publicKey, plain(peer)])), {
        [a]: { endpoint: '192.0.2.7 51871', keepalive: 25, allowedIps: ['10.1.2.0/24', 'fd10:2::/64'] },
        [b]: { endpoint: '2001:db8::7 51872', keepalive: 0, allowedIps: ['0.0.0.0/0'] },
      })
      assert.deepEqual(
        peers.map((peer) => peer.lastHandshakeNs),
        [0n, 0n],
      )
      assert.match(run('wg', 'show', name, 'endpoints'), /192\.0\.2\.7:51871/)
      assert.match(run('wg', 'show', name, 'allowed-ips'), /10\.1\.2\.0\/24 fd10:2::\/64|fd10:2::\/64 10\.1\.2\.0\/24/)
    }),
  },
  {
    name: 'what a change does not name stays',
    run: withDevice(async (driver, name) => {
      const publicKey = newPublicKey()
      await driver.setPeers(name, { set: [toward(publicKey, 51871, '10.1.0.0/24')] })
      await driver.setPeers(name, { set: [{ publicKey, addAllowedIps: cidrs('10.2.0.0/24') }] })
      await driver.setPeers(name, { set: [{ publicKey, endpoint: { ip: parseIp('127.0.0.1'), port: 9 } }] })
      await driver.setPeers(name, { set: [{ publicKey, keepalive: 0 }] })
      assert.deepEqual((await mustRead(driver, name)).peers.map(plain), [
        { endpoint: '127.0.0.1 9', keepalive: 0, allowedIps: ['10.1.0.0/24', '10.2.0.0/24'] },
      ])
    }),
  },
  {
    name: 'an allowed IP moves to the peer it is given to',
    run: withDevice(async (driver, name) => {
      const [a, b] = [newPublicKey(), newPublicKey()]
      await driver.setPeers(name, { set: [{ publicKey: a, addAllowedIps: cidrs('10.1.0.0/24', '10.2.0.0/24') }] })
      await driver.setPeers(name, { set: [{ publicKey: b, addAllowedIps: cidrs('10.1.0.0/24') }] })
      assert.deepEqual(await allowed(driver, name, a), ['10.2.0.0/24'])
      assert.deepEqual(await allowed(driver, name, b), ['10.1.0.0/24'])
    }),
  },
  {
    name: 'one batch puts a new key in place of an old one',
    run: withDevice(async (driver, name) => {
      const [old, next] = [newPublicKey(), newPublicKey()]
      await driver.setPeers(name, { set: [toward(old, 51871, '10.1.0.0/24', 'fd10::/64')] })
      await driver.setPeers(name, { set: [toward(next, 51871, '10.1.0.0/24', 'fd10::/64')], remove: [old] })
      assert.deepEqual(
        (await mustRead(driver, name)).peers.map((peer) => [peer.publicKey, ...peer.allowedIps.map(formatCidr).sort()]),
        [[next, '10.1.0.0/24', 'fd10::/64']],
      )
    }),
  },
  {
    name: 'single allowed IPs are taken from their owner, and from nobody else',
    run: withDevice(async (driver, name) => {
      const [a, b] = [newPublicKey(), newPublicKey()]
      await driver.setPeers(name, {
        set: [
          { publicKey: a, addAllowedIps: cidrs('10.1.0.0/24', '10.2.0.0/24', 'fd10::/64') },
          { publicKey: b, addAllowedIps: cidrs('10.3.0.0/24') },
        ],
      })
      await driver.setPeers(name, {
        set: [
          { publicKey: a, removeAllowedIps: cidrs('10.1.0.0/24', 'fd10::/64', '10.3.0.0/24', '10.9.0.0/24') },
          { publicKey: b, addAllowedIps: cidrs('10.2.0.0/24') },
        ],
      })
      assert.deepEqual(await allowed(driver, name, a), [])
      assert.deepEqual(await allowed(driver, name, b), ['10.2.0.0/24', '10.3.0.0/24'])
      assert.equal((await mustRead(driver, name)).peers.length, 2)
    }),
  },
  {
    name: 'an allowed IP that one peer gives up and another gets in the same batch is never lost',
    run: withDevice(async (driver, name) => {
      const [a, b] = [newPublicKey(), newPublicKey()]
      await driver.setPeers(name, { set: [{ publicKey: a, addAllowedIps: cidrs('10.1.0.0/24') }] })
      await driver.setPeers(name, {
        set: [
          { publicKey: a, removeAllowedIps: cidrs('10.1.0.0/24') },
          { publicKey: b, addAllowedIps: cidrs('10.1.0.0/24') },
        ],
      })
      assert.deepEqual(await allowed(driver, name, a), [])
      assert.deepEqual(await allowed(driver, name, b), ['10.1.0.0/24'])
    }),
  },
  {
    name: 'peers that are not there: an update makes none, a removal is no error',
    run: withDevice(async (driver, name) => {
      const set = [{ ...toward(newPublicKey(), 9, '10.1.0.0/24'), updateOnly: true }]
      await driver.setPeers(name, { set, remove: [newPublicKey()] })
      assert.deepEqual((await mustRead(driver, name)).peers, [])
    }),
  },
  {
    name: 'a thousand allowed IPs of one peer and 150 peers come back whole',
    run: withDevice(async (driver, name) => {
      const many = Array.from({ length: 1500 }, (_, i) => `10.${100 + (i >> 8)}.${i & 255}.0/24`)
      const six = Array.from({ length: 300 }, (_, i) => `fd20:${(i + 1).toString(16)}::/64`)
      const big = newPublicKey()
      const others = Array.from({ length: 150 }, (_, i) =>
        toward(newPublicKey(), 9, `10.1.${i}.0/24`, `fd10:${i + 1}::/64`),
      )
      const set = [...others.slice(0, 70), toward(big, 9, ...many, ...six), ...others.slice(70)]
      await driver.setPeers(name, { set })
      const { peers } = await mustRead(driver, name)
      assert.equal(peers.length, 151)
      assert.deepEqual(await allowed(driver, name, big), [...many, ...six].sort())
      const found = new Map(peers.map((peer) => [peer.publicKey, plain(peer)]))
      for (const [i, other] of others.entries()) {
        const allowedIps = [`10.1.${i}.0/24`, `fd10:${i + 1}::/64`]
        assert.deepEqual(found.get(other.publicKey), { endpoint: '127.0.0.1 9', keepalive: 25, allowedIps })
      }
      await driver.setPeers(name, { remove: [big, ...others.slice(1).map((other) => other.publicKey)] })
      assert.equal((await mustRead(driver, name)).peers.length, 1)
    }),
  },
  {
    name: 'a key change gives another public key and keeps everything else',
    run: withDevice(async (driver, name) => {
      await driver.setPeers(name, { set: [{ publicKey: newPublicKey(), addAllowedIps: cidrs('10.1.0.0/24') }] })
      const before = await mustRead(driver, name)
      const publicKey = await driver.rotateKey(name)
      assert.notEqual(publicKey, before.publicKey)
      assert.equal(run('wg', 'show', name, 'public-key'), publicKey)
      assert.deepEqual(await mustRead(driver, name), { ...before, publicKey })
    }),
  },
  {
    name: 'the private key is clamped, new each time, and the public key belongs to it',
    run: withDevice(async (driver, name) => {
      const seen = new Set<string>()
      for (let i = 0; i < 5; i++) {
        const publicKey = await driver.rotateKey(name)
        const secret = run('wg', 'show', name, 'private-key')
        const key = Buffer.from(secret, 'base64')
        assert.equal((key[0] ?? 0) & 7, 0)
        assert.equal((key[31] ?? 0) & 0xc0, 0x40)
        assert.equal(execFileSync('wg', ['pubkey'], { input: secret, encoding: 'utf8' }).trim(), publicKey)
        seen.add(secret)
      }
      assert.equal(seen.size, 5)
    }),
  },
  {
    name: 'port and mark of a running device are changed',
    run: withDevice(async (driver, name) => {
      await driver.configure(name, { listenPort: 51900, fwmark: 0 })
      const { listenPort, fwmark } = await mustRead(driver, name)
      assert.deepEqual([listenPort, fwmark], [51900, 0])
    }),
  },
  {
    name: 'two devices shake hands when keepalive is set, and again after a key change that both are told of',
    async run({ driver, prefix }) {
      const [one, two] = [`${prefix}1`, `${prefix}2`]
      try {
        const a = await driver.create(one, { ...OPTIONS, fwmark: 0 })
        const b = await driver.create(two, { ...OPTIONS, fwmark: 0, listenPort: 51872 })
        const start = nowNs() - 1_000_000_000n
        await driver.setPeers(two, { set: [{ publicKey: a.publicKey, addAllowedIps: cidrs('10.1.0.0/24') }] })
        await driver.setPeers(one, { set: [toward(b.publicKey, 51872, '10.2.0.0/24')] })
        const proven = await handshakeAfter(driver, one, b.publicKey, start)
        assert.ok(proven.rxBytes >= 92 && proven.txBytes >= 148, 'counters of octets')
        const back = await handshakeAfter(driver, two, a.publicKey, start)
        // The responder has learned where the initiator is.
        assert.equal(back.endpoint?.port, 51871)

        const fresh = await driver.rotateKey(one)
        await driver.setPeers(two, { set: [toward(fresh, 51871, '10.1.0.0/24')], remove: [a.publicKey] })
        await handshakeAfter(driver, two, fresh, start)
        assert.deepEqual(await allowed(driver, two, fresh), ['10.1.0.0/24'])
        await handshakeAfter(driver, one, b.publicKey, proven.lastHandshakeNs)
      } finally {
        await driver.delete(one)
        await driver.delete(two)
      }
    },
  },
  {
    name: 'a device whose sessions are ended keeps key and peers, and shakes hands anew',
    async run({ driver, prefix }) {
      const [one, two] = [`${prefix}1`, `${prefix}2`]
      try {
        await assert.rejects(driver.restart(one), { code: 'SEKISHO_WG_DEVICE' })
        const a = await driver.create(one, { ...OPTIONS, fwmark: 0 })
        const b = await driver.create(two, { ...OPTIONS, fwmark: 0, listenPort: 51872 })
        await driver.setPeers(two, { set: [{ publicKey: a.publicKey, addAllowedIps: cidrs('10.1.0.0/24') }] })
        await driver.setPeers(one, { set: [toward(b.publicKey, 51872, '10.2.0.0/24')] })
        const before = await handshakeAfter(driver, one, b.publicKey, 0n)
        // An initiation with the stamp of the one before, or within 20 ms of it, is refused.
        await sleep(50)
        await driver.restart(one)
        const device = await mustRead(driver, one)
        assert.deepEqual([device.publicKey, device.listenPort], [a.publicKey, 51871])
        assert.deepEqual(await allowed(driver, one, b.publicKey), ['10.2.0.0/24'])
        await handshakeAfter(driver, one, b.publicKey, before.lastHandshakeNs)
      } finally {
        await driver.delete(one)
        await driver.delete(two)
      }
    },
  },
  {
    name: 'a peer with the key of the device itself is not made',
    run: withDevice(async (driver, name) => {
      const { publicKey = '' } = await mustRead(driver, name)
      await driver.setPeers(name, { set: [{ publicKey, addAllowedIps: cidrs('10.1.0.0/24') }] })
      assert.deepEqual((await mustRead(driver, name)).peers, [])
    }),
  },
  {
    name: 'what is no key never reaches the device',
    run: withDevice(async (driver, name) => {
      for (const publicKey of ['', 'AAAA', `${'A'.repeat(43)}B`, 'x\nprivate_key=00'])
        await assert.rejects(driver.setPeers(name, { set: [{ publicKey }] }), { code: 'SEKISHO_WG_DEVICE' })
      assert.deepEqual((await mustRead(driver, name)).peers, [])
    }),
  },
  {
    name: 'a device that is deleted is gone, and made anew with another key',
    async run({ driver, prefix }) {
      const name = `${prefix}0`
      const first = await driver.create(name, OPTIONS)
      assert.equal(first.created, true)
      assert.equal(await driver.delete(name), true)
      assert.equal(await driver.read(name), undefined)
      assert.ok(!run('ip', '-o', 'link').includes(`${name}:`))
      const second = await driver.create(name, OPTIONS)
      assert.notEqual(second.publicKey, first.publicKey)
      assert.equal(await driver.delete(name), true)
    },
  },
  {
    name: 'calls that are made at once are done in their order',
    run: withDevice(async (driver, name) => {
      const keys = Array.from({ length: 20 }, newPublicKey)
      await Promise.all([
        ...keys.map((publicKey) =>
          driver.setPeers(name, { set: [{ publicKey, addAllowedIps: cidrs('10.1.0.0/24') }] }),
        ),
        ...keys.slice(0, 19).map((publicKey) => driver.setPeers(name, { remove: [publicKey] })),
      ])
      assert.deepEqual(await allowed(driver, name, keys[19] ?? ''), ['10.1.0.0/24'])
      assert.equal((await mustRead(driver, name)).peers.length, 1)
    }),
  },
]

import { randomBytes } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import { Turns } from '../../../bench/turns.ts'
import { silentLog } from '../../../src/core/log.ts'
import { type Cidr, parseCidr, parseIp } from '../../../src/core/ip.ts'
import type { DirectoryEvent, NodeDirectory } from '../../../src/wg/directory/directory.ts'
import { CAP_PROBES, CAP_TWO_SLOTS, type NodeRecord } from '../../../src/wg/directory/record.ts'
import { createEngine, engineClock, type Engine } from '../../../src/wg/engine.ts'
import { DEFAULT_MACHINE } from '../../../src/wg/machine-types.ts'
import type { WgDriver, WgPeer } from '../../../src/wg/ports.ts'
import type { Guard, Prober, Routing, SlotCounter } from '../../../src/wg/seams.ts'

const PEERS = 5000
/**
 * Milliseconds of the processor, so that other work on the machine does not count; an idle machine needs 33. Work per pair of peers,
 * which this is to find, would need seconds.
 */
const LONGEST_TURN_MS = 120
const TOGETHER = 64
const STEADY_MS = 4000

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const done = (): Promise<void> => turn()

function newKey(): string {
  const bytes = randomBytes(32)
  bytes[31] = (bytes[31] ?? 0) & 0x3f
  return bytes.toString('base64')
}

const recordOf = (i: number): NodeRecord => ({
  domain: 'test',
  node: `node-${i}`,
  nodeUID: `uid-${i}`,
  bootID: 'boot',
  created: i,
  revision: 0,
  endpoints: [{ ip: '192.0.2.9' }],
  prefixes: [`10.${64 + (i >> 8)}.${i & 255}.0/24`, `fd00:64:${(i + 1).toString(16)}::/64`],
  nodeIPs: [],
  slots: ([0, 1] as const).map((id) => ({ id, port: 51_871 + id, publicKey: newKey(), gen: 0, since: 0 })),
  drain: null,
  caps: [CAP_TWO_SLOTS, CAP_PROBES],
})

type Draft = { -readonly [K in keyof WgPeer]: WgPeer[K] }

/** Devices in memory, whose handshakes are done at once. */
function memoryDriver(): WgDriver {
  const devices = new Map<string, { publicKey: string; port: number; fwmark: number; peers: Map<string, Draft> }>()
  const must = (name: string) => {
    const device = devices.get(name)
    if (device === undefined) throw new Error(name)
    return device
  }
  const blank = (publicKey: string): Draft => {
    const lastHandshakeNs = BigInt(Date.now()) * 1_000_000n
    return { publicKey, endpoint: undefined, allowedIps: [], keepalive: 0, lastHandshakeNs, rxBytes: 0, txBytes: 0 }
  }
  return {
    kind: 'kernel',
    features: () => Promise.resolve({ removeAllowedIp: true }),
    create: async (name, { listenPort, fwmark }) => {
      const device = { publicKey: newKey(), port: listenPort, fwmark, peers: new Map<string, Draft>() }
      devices.set(name, device)
      await turn()
      return { created: true, publicKey: device.publicKey }
    },
    delete: (name) => Promise.resolve(devices.delete(name)),
    read: async (name) => {
      await turn()
      const { publicKey, port, fwmark, peers } = must(name)
      return { name, publicKey, listenPort: port, fwmark, peers: [...peers.values()].map((peer) => ({ ...peer })) }
    },
    configure: done,
    setPeers: async (name, { set = [], remove = [] }) => {
      await turn()
      const { peers } = must(name)
      for (const { publicKey, endpoint, keepalive, addAllowedIps, updateOnly } of set) {
        const peer = peers.get(publicKey) ?? blank(publicKey)
        if (updateOnly !== true) peers.set(publicKey, peer)
        if (endpoint !== undefined) peer.endpoint = endpoint
        if (keepalive !== undefined) peer.keepalive = keepalive
        const fresh = (cidr: Cidr): boolean => !peer.allowedIps.includes(cidr)
        peer.allowedIps = [...peer.allowedIps, ...(addAllowedIps ?? []).filter(fresh)]
      }
      for (const key of remove) peers.delete(key)
    },
    restart: done,
    rotateKey: async (name) => {
      await turn()
      return (must(name).publicKey = newKey())
    },
    close: done,
  }
}

const routing: Routing = {
  mtu: 1408,
  start: () => Promise.resolve({ egress: new Map() }),
  setPeer: done,
  removePeer: done,
  prune: done,
  slotReplaced: done,
  check: () => Promise.resolve([]),
  watch: () => undefined,
  warnings: () => [],
  stop: done,
  cleanup: done,
}
const guard: Guard = {
  start: () => Promise.resolve(new Set<string>()),
  protect: done,
  check: () => Promise.resolve(0),
  counts: () => [],
  stop: done,
  cleanup: done,
}
const counter: SlotCounter = { slotReplaced: done, packets: () => 0, stop: done }

/** Every question is answered a little later, a few at a turn as a socket brings them. */
function kindProber(): Prober {
  let [sequence, running] = [0, false]
  let result: Parameters<Prober['start']>[0]['result'] = () => undefined
  const asked: (readonly [string, 0 | 1])[] = []
  const answer = async (): Promise<void> => {
    running = true
    for (await turn(); asked.length > 0; await turn()) {
      for (const [uid, slot] of asked.splice(0, TOGETHER)) {
        const said = {
          sequence: ++sequence,
          mode: 'active',
          leaving: false,
          ack: sequence,
          egress: 0,
          drain: null,
        } as const
        result({ uid, slot, answered: true, rttMs: 0, announcement: said })
      }
    }
    running = false
  }
  return {
    start: (handlers) => Promise.resolve(void (result = handlers.result)),
    slotReplaced: done,
    setTargets: () => undefined,
    ask: (uid, slot) => {
      asked.push([uid, slot])
      if (!running) void answer()
    },
    stop: done,
  }
}

function directoryOf(records: readonly NodeRecord[]): NodeDirectory {
  let tell: (event: DirectoryEvent) => void = () => undefined
  const list = async (): Promise<void> => {
    for (let i = 0; i < records.length; i += TOGETHER) {
      await turn()
      for (const value of records.slice(i, i + TOGETHER)) tell({ kind: 'record', name: value.node, value })
    }
    tell({ kind: 'complete' })
  }
  return {
    start: (handler) => {
      tell = handler
      void list()
      return Promise.resolve()
    },
    publish: async (record) => {
      await turn()
      tell({ kind: 'record', name: record.node, value: record })
    },
    withdraw: done,
    stop: done,
  }
}

describe(`an engine with ${PEERS} peers`, () => {
  let engine: Engine | undefined
  afterEach(() => engine?.stop())

  it('never keeps the event loop for long: not at the start, not while all are proven', async () => {
    const records = Array.from({ length: PEERS }, (_, i) => recordOf(i))
    const turns = new Turns()
    engine = createEngine(
      {
        ...{
          node: 'self',
          uid: 'self',
          bootId: 'boot',
          domain: 'test',
          devices: ['a0', 'a1'],
          ports: [51_871, 51_872],
        },
        ...{ fwmark: 0x1e00, keepalive: 25, encryptNodes: false, target: 'active', excuseAfterMs: 3_600_000 },
        endpoints: [parseIp('192.0.2.1')],
        prefixes: [parseCidr('10.1.0.0/24')],
        nodeIPs: [parseIp('192.0.2.1')],
        machine: DEFAULT_MACHINE,
      },
      {
        ...{ routing, guard, counter, clock: engineClock, log: silentLog, keyLog: () => undefined },
        driver: memoryDriver(),
        prober: kindProber(),
        directory: directoryOf(records),
      },
    )
    await engine.start()
    const until = async (holds: () => boolean): Promise<void> => {
      while (!holds()) await new Promise((resolve) => setTimeout(resolve, 50))
    }
    const proven = (): boolean => {
      const peers = engine?.report().peers
      return peers?.active === PEERS && peers.unproven === 0
    }
    await until(proven)
    // Looks at both devices, questions and answers of all.
    await new Promise((resolve) => setTimeout(resolve, STEADY_MS))
    expect(proven()).toBe(true)
    turns.stop()
    expect(engine.counters().errors).toBe(0)
    expect(turns.longest).toBeLessThan(LONGEST_TURN_MS)
  }, 110_000)
})

/**
 * A program of the bench, in a network namespace of its own: the agent's seal with thousands of peers, at rest. Machine, engine,
 * driver, prober and routing are those of the agent; routes are those of this kernel, and probes go through real sockets to
 * another process, which answers each and asks as often (`tools/peers.c`). Not real are WireGuard (`fake-wg.ts`: this kernel may
 * have none; what it costs is in the figures), the directory and the guard.
 * `node bench/steady-subject.ts PEERS ROUNDS SECONDS [silent]`; silent: peers that have no probes. Prints one line of JSON.
 */
import { randomBytes, randomFillSync } from 'node:crypto'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { systemClock } from '../src/core/clock.ts'
import { parseCidr, parseIp } from '../src/core/ip.ts'
import { silentLog } from '../src/core/log.ts'
import { loadNative } from '../src/native/load.ts'
import type { DirectoryEvent, NodeDirectory } from '../src/wg/directory/directory.ts'
import { CAP_PROBES, CAP_TWO_SLOTS, type NodeRecord } from '../src/wg/directory/record.ts'
import { KernelWgDriver } from '../src/wg/drivers/kernel.ts'
import { createEngine, engineClock } from '../src/wg/engine.ts'
import { DEFAULT_MACHINE } from '../src/wg/machine-types.ts'
import type { WgDriver } from '../src/wg/ports.ts'
import { createProber } from '../src/wg/probe/prober.ts'
import { createRouting } from '../src/wg/routing/routing.ts'
import type { Guard, SlotCounter } from '../src/wg/seams.ts'
import { SLOTS } from '../src/wg/slots.ts'
import { FakeWg } from './fake-wg.ts'
import { cpuMs, Turns } from './turns.ts'

export interface SteadyFigures {
  /** Of one core, %, of each round: the main thread, and all threads. */
  readonly main: readonly number[]
  readonly all: readonly number[]
  /** Longest turn of the event loop, ms of the processor: until all are proven, and in a minute after that. */
  readonly startTurn: number
  readonly restTurn: number
  /** Datagrams of probes a second, out and in. */
  readonly datagrams: number
}

const DEVICES = ['a0', 'a1'] as const
const PORTS = [51_871, 51_872] as const
const FWMARK = 0x1e00
const BEHIND = join(import.meta.dirname, '../build/bench/peers')
const PROBE_PORT_NUMBER = 51_873
const MTU = 1408
const OWN = [parseIp('10.1.0.1'), parseIp('fd00:1::1')]
const RECORDS_TOGETHER = 64
const SETTLE_MS = 30_000
/** Everything that the agent does by itself comes in it: all routes are read each minute. */
const REST_MS = 62_000

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const done = (): Promise<void> => Promise.resolve()

function newKey(): string {
  const bytes = randomBytes(32)
  bytes[31] = (bytes[31] ?? 0) & 0x3f
  return bytes.toString('base64')
}

const recordOf = (i: number, caps: readonly string[]): NodeRecord => ({
  domain: 'bench',
  node: `node-${i}`,
  nodeUID: `uid-${i}`,
  bootID: 'boot',
  created: i,
  revision: 0,
  endpoints: [{ ip: '192.0.2.9' }],
  prefixes: [`10.${64 + (i >> 8)}.${i & 255}.0/24`, `fd00:64:${(i + 1).toString(16)}::/64`],
  nodeIPs: [],
  slots: SLOTS.map((id) => ({ id, port: PORTS[id], publicKey: newKey(), gen: 0, since: 0 })),
  drain: null,
  caps: [...caps],
})

/** One fake a device behind the agent's own driver; making a device is not part of this. */
function driverOf(): WgDriver {
  const drivers = new Map<string, { publicKey: string; driver: KernelWgDriver }>(
    SLOTS.map((slot) => {
      const publicKey = newKey()
      const driver = new KernelWgDriver(new FakeWg(publicKey, PORTS[slot], FWMARK).door)
      return [DEVICES[slot], { publicKey, driver }]
    }),
  )
  const of = (name: string): { publicKey: string; driver: KernelWgDriver } => {
    const found = drivers.get(name)
    if (found === undefined) throw new Error(name)
    return found
  }
  const never = (): never => {
    throw new Error('not a part of this')
  }
  return {
    kind: 'kernel',
    features: () => Promise.resolve({ removeAllowedIp: true }),
    create: (name) => Promise.resolve({ created: true, publicKey: of(name).publicKey }),
    read: (name) => of(name).driver.read(name),
    configure: (name, options) => of(name).driver.configure(name, options),
    setPeers: (name, batch) => of(name).driver.setPeers(name, batch),
    delete: never,
    restart: never,
    rotateKey: never,
    close: done,
  }
}

function directoryOf(records: readonly NodeRecord[]): NodeDirectory {
  let tell: (event: DirectoryEvent) => void = () => undefined
  const list = async (): Promise<void> => {
    for (let i = 0; i < records.length; i += RECORDS_TOGETHER) {
      await sleep(0)
      for (const value of records.slice(i, i + RECORDS_TOGETHER)) tell({ kind: 'record', name: value.node, value })
    }
    tell({ kind: 'complete' })
  }
  return {
    start: (handler) => {
      tell = handler
      void list()
      return done()
    },
    publish: async (record) => {
      await sleep(0)
      tell({ kind: 'record', name: record.node, value: record })
    },
    withdraw: done,
    stop: done,
  }
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

/** As a tunnel, a tun has no neighbours; another process is the peers behind it. */
async function layGround(): Promise<void> {
  const peers = spawn(BEHIND, DEVICES, { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(peers.stdout, 'data')
  const ip = (...args: readonly string[]): void => void execFileSync('ip', args, { stdio: 'ignore' })
  ip('link', 'set', 'lo', 'up')
  // As on a node: without any route to a peer the kernel takes nothing from it, and so no answer.
  ip('route', 'add', 'default', 'dev', 'lo')
  for (const device of DEVICES) ip('link', 'set', device, 'mtu', String(MTU), 'txqueuelen', '10000', 'up')
}

async function measure(peers: number, rounds: number, seconds: number, silent: boolean): Promise<SteadyFigures> {
  await layGround()
  const native = loadNative()
  const routing = createRouting(
    {
      ...{ devices: DEVICES, table: 20_000, slotTables: [20_100, 20_101], rulePriority: 90, slotRulePriority: 80 },
      ...{
        fwmark: FWMARK,
        fwmarkMask: 0x1f00,
        protocol: 155,
        nexthopBase: 5000,
        probeAddresses: OWN,
        mtu: MTU,
        bypass: [],
      },
      slotAddresses: [parseIp('169.254.77.1'), parseIp('169.254.77.2')],
    },
    { native, log: silentLog, clock: systemClock },
  )
  const prober = createProber(
    { devices: DEVICES, port: PROBE_PORT_NUMBER, addresses: OWN, mtu: () => MTU },
    { native, clock: systemClock, random: (words) => void randomFillSync(words), log: silentLog },
  )
  const caps = silent ? [CAP_TWO_SLOTS] : [CAP_TWO_SLOTS, CAP_PROBES]
  const engine = createEngine(
    {
      ...{ node: 'self', uid: 'self', bootId: 'boot', domain: 'bench', devices: DEVICES, ports: PORTS },
      ...{ fwmark: FWMARK, keepalive: 25, encryptNodes: false, target: 'active', excuseAfterMs: 3_600_000 },
      endpoints: [parseIp('192.0.2.1')],
      prefixes: [parseCidr('10.1.0.0/24'), parseCidr('fd00:1::/64')],
      nodeIPs: [],
      machine: DEFAULT_MACHINE,
    },
    {
      ...{ routing, guard, counter, prober, clock: engineClock, log: silentLog, keyLog: () => undefined },
      driver: driverOf(),
      directory: directoryOf(Array.from({ length: peers }, (_, i) => recordOf(i, caps))),
    },
  )
  const starting = new Turns()
  await engine.start()
  const settled = (): boolean => {
    const counts = engine.report().peers
    return counts.active === peers && counts.unproven === 0
  }
  for (let waited = 0; !settled(); waited++) {
    if (waited > 600) throw new Error(`not settled: ${JSON.stringify(engine.report().peers)}`)
    await sleep(200)
  }
  const startTurn = starting.stop()
  await sleep(seconds < 10 ? 0 : SETTLE_MS)
  const [main, all]: [number[], number[]] = [[], []]
  const asked = prober.counters().asked
  const from = performance.now()
  for (let round = 0; round < rounds; round++) {
    const [start, mine, whole] = [performance.now(), cpuMs(), process.cpuUsage()]
    await sleep(seconds * 1000)
    const ms = performance.now() - start
    const { user, system } = process.cpuUsage(whole)
    main.push(((cpuMs() - mine) / ms) * 100)
    all.push(((user + system) / 1000 / ms) * 100)
  }
  // Each family of a question is one out and one in, and so is the peer's.
  const datagrams = ((prober.counters().asked - asked) * OWN.length * 4 * 1000) / (performance.now() - from)
  const resting = new Turns()
  await sleep(seconds < 10 ? seconds * 1000 : REST_MS)
  const restTurn = resting.stop()
  if (!settled() || engine.counters().errors > 0) throw new Error('it did not stay as it was')
  return { main, all, startTurn, restTurn, datagrams }
}

if (import.meta.main) {
  const [peers = '0', rounds = '0', seconds = '0', silent] = process.argv.slice(2)
  const figures = await measure(Number(peers), Number(rounds), Number(seconds), silent === 'silent')
  console.log(JSON.stringify(figures))
  process.exit(0)
}

/**
 * Entry of a guest of its own: what the parts of the agent cost with thousands of peers, in turn with wireguard-tools on an
 * equal second device. Figures are named `figure|unit|subject|round`; bench/scenarios/seal.ts makes rows of them.
 * SCALE_SIZES=1000,5000 SCALE_ROUNDS=3.
 */
import assert from 'node:assert/strict'
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { loadNative } from '../../src/native/load.ts'
import { parseCidr, parseIp } from '../../src/core/ip.ts'
import { KernelWgDriver } from '../../src/wg/drivers/kernel.ts'
import { Peer, inside, run } from '../support/datapath/in-namespace.ts'
import { type Figures, finish, sleep, test } from './harness.ts'
import { badFlows, Traffic } from './mesh/traffic.ts'
import { DEVICES, ENDPOINT, newPublicKey, prefixesOf, ScaleNode } from './scale-node.ts'

const SIZES = (process.env['SCALE_SIZES'] ?? '1000,5000').split(',').map(Number)
const ROUNDS = Number(process.env['SCALE_ROUNDS'] ?? 3)
const STALL_EVERY_MS = 2
const SMALL = 10
/** Looks and dumps come again and again: the mean of some. */
const LOOKS = 5
const TOOL = 'wgt'
const SESSION_TRIES = 20
/** RCU frees what was taken away. */
const SETTLE_MS = 1000
const FAR = 'far'
const [LEFT, RIGHT] = ['10.200.0.1', '10.201.0.1']
const ROUTES = 'ip -batch /tmp/nexthops4 && ip -6 -batch /tmp/nexthops6 && ip -batch /tmp/routes'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** A shell that waits for lines: nothing of a large process is copied for each command. */
class Shell {
  readonly #child: ChildProcessByStdio<Writable, Readable, null> = spawn('sh', [], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  #heard: (status: string) => void = () => undefined

  constructor() {
    // The guest's shell has an `ip` of its own, which knows little.
    this.#child.stdin.write('ip() { /usr/bin/ip "$@"; }; umask 077\n')
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#heard(line))
  }

  async run(command: string): Promise<void> {
    const status = await new Promise<string>((resolve) => {
      this.#heard = resolve
      this.#child.stdin.write(`${command}\necho $?\n`)
    })
    if (status !== '0') throw new Error(`${command}: ${status}`)
  }

  end(): void {
    this.#child.kill('SIGKILL')
  }
}

/** Longest time that our event loop was away, ms. */
class Stalls {
  #last = performance.now()
  #longest = 0
  readonly #timer = setInterval(() => {
    this.#look()
  }, STALL_EVERY_MS)

  #look(): void {
    const now = performance.now()
    this.#longest = Math.max(this.#longest, now - this.#last - STALL_EVERY_MS)
    this.#last = now
  }

  take(): number {
    this.#look()
    const longest = this.#longest
    this.#longest = 0
    return Math.max(0, longest)
  }

  stop(): void {
    clearInterval(this.#timer)
  }
}

const native = loadNative()
const shell = new Shell()
const stalls = new Stalls()

class Book {
  readonly figures: Record<string, number> = {}
  readonly #other: Peer
  readonly #size: string
  round = 0

  constructor(other: Peer, size: number) {
    this.#other = other
    this.#size = `${size.toLocaleString('en')} peers`
  }

  set(what: string, unit: string, subject: string, value: number): void {
    this.figures[`${what}, ${this.#size}|${unit}|${subject}|${this.round}`] = value
  }

  /** Time of a step, how long our loop stood meanwhile, and how long another process waited for the routing tables. */
  async time(what: string, subject: string, act: () => Promise<void>, repeat = 1): Promise<void> {
    await sleep(20)
    stalls.take()
    await this.#other.call('longest')
    const start = performance.now()
    for (let i = 0; i < repeat; i++) await act()
    const ms = (performance.now() - start) / repeat
    const waited = await this.#other.call<number>('longest')
    this.set(what, 'ms', subject, ms)
    if (subject === 'sekisho') this.set(`event loop away, longest: ${what}`, 'ms', subject, stalls.take())
    if (repeat === 1) this.set(`wait of another process for routing tables, longest: ${what}`, 'ms', subject, waited)
  }
}

const resident = (): number => {
  collect()
  return process.memoryUsage.rss()
}

/** Octets of the kernel's own objects: peers, allowed IPs and keys lie in slabs. What was freed lately is waited for. */
async function slabs(): Promise<number> {
  await sleep(SETTLE_MS)
  writeFileSync('/proc/sys/vm/drop_caches', '3')
  return Number(/^Slab: +(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) * 1024
}

/** Second end of the slot with the traffic. */
function build(): void {
  // Nobody makes these in a guest without udev.
  symlinkSync('/proc/self/fd/0', '/dev/stdin')
  run('ip', 'netns', 'add', FAR)
  run('ip', 'link', 'add', 'under', 'type', 'veth', 'peer', 'name', 'under', 'netns', FAR)
  run('ip', 'address', 'add', '192.168.9.1/24', 'dev', 'under')
  run('ip', 'link', 'set', 'under', 'up')
  const far = (...args: readonly string[]): string => run(...inside(FAR, 'ip', ...args))
  far('address', 'add', `${ENDPOINT}/24`, 'dev', 'under')
  for (const device of ['lo', 'under']) far('link', 'set', device, 'up')
  // The instruments want names of namespaces: this one gets one.
  run('ip', 'netns', 'attach', 'near', String(process.pid))
}

/**
 * Goes through slot 0 of the node under test all the time. Both ends may begin their first handshake in the same moment: then
 * each answers the other's and drops its own, nobody confirms a session, and packets are lost until one tries again after 5 s.
 */
async function traffic(driver: KernelWgDriver): Promise<Traffic> {
  const far = (...args: readonly string[]): string => run(...inside(FAR, ...args))
  far('ip', 'link', 'add', 'wg0', 'mtu', '1408', 'type', 'wireguard')
  far('sh', '-c', 'wg genkey | wg set wg0 listen-port 51871 private-key /dev/stdin')
  const slot = await driver.read(DEVICES[0])
  const args = ['peer', slot?.publicKey ?? '', 'endpoint', '192.168.9.1:51871', 'allowed-ips', `${LEFT}/32`]
  far('wg', 'set', 'wg0', ...args)
  far('ip', 'link', 'set', 'wg0', 'up')
  far('ip', 'address', 'add', `${RIGHT}/32`, 'dev', 'wg0')
  far('ip', 'route', 'add', `${LEFT}/32`, 'dev', 'wg0', 'src', RIGHT)
  const publicKey = far('wg', 'show', 'wg0', 'public-key').trim()
  const set = [
    {
      publicKey,
      endpoint: { ip: parseIp(ENDPOINT), port: 51_871 },
      addAllowedIps: [parseCidr(`${RIGHT}/32`)],
    },
  ]
  await driver.setPeers(DEVICES[0], { set })
  run('ip', 'address', 'add', `${LEFT}/32`, 'dev', 'lo')
  run('ip', 'route', 'replace', `${RIGHT}/32`, 'dev', DEVICES[0], 'src', LEFT)
  const flows = new Traffic()
  await flows.late(1500)
  await flows.udp('slot', { namespace: 'near', address: LEFT }, { namespace: FAR, address: RIGHT }, 50)
  await flows.start()
  for (let tries = 0; tries < SESSION_TRIES; tries++) {
    await sleep(1000)
    const { received, lost, maxGapMs } = (await flows.mark('session')).udp
    if (received > 0 && lost === 0 && maxGapMs < 1000) return flows
  }
  throw new Error('there is no session')
}

const endpoint = `${ENDPOINT}:51872`

/** What wg(8) and ip(8) read: the same peers and routes. */
function writeFiles(node: ScaleNode): void {
  const peers = node.records.map(
    ({ slots, prefixes }) =>
      `[Peer]\nPublicKey = ${slots[1]?.publicKey ?? ''}\nEndpoint = ${endpoint}\nAllowedIPs = ${prefixes.join(',')}\n`,
  )
  writeFileSync('/tmp/peers', peers.join('\n'))
  const each = (line: (prefix: string) => string): string[] =>
    node.records.flatMap(({ prefixes }) => prefixes.map(line))
  const id = (i: number, family: number): number => 500_000 + 2 * i + family
  const nexthops = [0, 1].map((family) =>
    node.records.map((_, i) => `nexthop replace id ${id(i, family)} dev ${TOOL} protocol 99`),
  )
  const routes = [
    ...each((prefix) => `route replace ${prefix} dev ${TOOL} table 30100 protocol 99 metric 1024`),
    ...each((prefix) => `route replace ${prefix} dev ${DEVICES[0]} table 30101 protocol 99 metric 1024`),
    ...node.records.flatMap(({ prefixes }, i) =>
      prefixes.flatMap((prefix, family) => [
        `route replace ${prefix} nhid ${id(i, family)} table 30000 protocol 99 metric 1024`,
        `route replace unreachable ${prefix} table 30000 protocol 99 metric 4278190080`,
      ]),
    ),
  ]
  writeFileSync('/tmp/nexthops4', `${(nexthops[0] ?? []).join('\n')}\n`)
  writeFileSync('/tmp/nexthops6', `${(nexthops[1] ?? []).join('\n')}\n`)
  writeFileSync('/tmp/routes', `${routes.join('\n')}\n`)
}

let made = 0

/** The one before goes aside, as that of the node does. */
async function device(): Promise<void> {
  if (made > 0) await shell.run(`ip link set ${TOOL} down && ip link set ${TOOL} name ${TOOL}${made}`)
  made++
  await shell.run(`ip link add ${TOOL} mtu 1408 type wireguard`)
  // The key stays in files of the guest: it never comes here.
  await shell.run(`wg genkey >/tmp/key; wg set ${TOOL} listen-port 51999 private-key /tmp/key; ip link set ${TOOL} up`)
  await shell.run(
    '{ echo [Interface]; echo ListenPort = 51999; echo PrivateKey = $(cat /tmp/key); cat /tmp/peers; } >/tmp/conf',
  )
}

/** One change after the other on each of the two devices; who begins alternates. */
async function devices(node: ScaleNode, book: Book): Promise<void> {
  const all = node.records.length
  const slabsOf = async (subject: string, act: () => Promise<void>): Promise<void> => {
    const before = await slabs()
    await act()
    book.set('memory of the kernel', 'B a peer', subject, ((await slabs()) - before) / all)
  }
  const both = async (
    what: string,
    own: () => Promise<void>,
    tool: () => Promise<void>,
    repeat = 1,
    around: typeof slabsOf = (_, act) => act(),
  ): Promise<void> => {
    const turns = [
      () => around('sekisho', () => book.time(what, 'sekisho', own, repeat)),
      () => around('wg', () => book.time(what, 'wg', tool, repeat)),
    ]
    for (const turn of book.round % 2 === 0 ? turns : turns.reverse()) await turn()
  }
  let victim = 0
  let known = node.records.map(({ slots }) => slots[1]?.publicKey ?? '')
  await both(
    'program all',
    async () => assert.equal(await node.reconcile(), all),
    () => shell.run(`wg setconf ${TOOL} /tmp/conf`),
    1,
    slabsOf,
  )
  await both(
    'look, nothing to do',
    async () => assert.equal(await node.reconcile(), 0),
    () => shell.run(`wg syncconf ${TOOL} /tmp/conf`),
    LOOKS,
  )
  await both(
    'dump, decoded',
    async () => assert.equal((await node.dump()).peers.length, all),
    () => shell.run(`wg show ${TOOL} dump >/dev/null`),
    LOOKS,
  )
  await both(
    'change the key of one peer',
    () => node.changeKey(victim++ % all),
    async () => {
      const i = victim++ % all
      const key = newPublicKey()
      const ips = prefixesOf(i).join(',')
      await shell.run(
        `wg set ${TOOL} peer ${key} endpoint ${endpoint} allowed-ips ${ips} peer ${known[i] ?? ''} remove`,
      )
      known = known.with(i, key)
    },
    SMALL,
  )
  const { publicKey } = await node.dump()
  await both(
    'rotate the private key',
    () => node.rotate(),
    () => shell.run(`wg genkey | wg set ${TOOL} private-key /dev/stdin`),
  )
  assert.notEqual((await node.dump()).publicKey, publicKey)
  await book.time('wg that does nothing', 'wg', () => shell.run('wg help >/dev/null'), SMALL)
  if (book.round > 0) return
  const most = async (command: string): Promise<number> => {
    await shell.run(`busybox time -v ${command} >/dev/null 2>/tmp/time`)
    return Number(/Maximum resident set size .*: (\d+)/.exec(readFileSync('/tmp/time', 'utf8'))?.[1]) * 1024
  }
  const least = await most('wg help')
  book.set('memory of the process', 'B a peer', 'wg', ((await most(`wg setconf ${TOOL} /tmp/conf`)) - least) / all)
}

async function routes(node: ScaleNode, book: Book): Promise<void> {
  await book.time('routes of all', 'sekisho', () => node.route())
  await book.time('routes of all', 'ip -batch', () => shell.run(ROUTES))
  assert.deepEqual(await node.routing.check(), [])
  await book.time('routes: check, nothing to do', 'sekisho', async () => {
    assert.deepEqual(await node.routing.check(), [])
  })
  await book.time('routes: move one peer', 'sekisho', () => node.moveEgress(7), SMALL)
  await book.time(
    'routes: move one peer',
    'ip -batch',
    () =>
      shell.run(
        `echo nexthop replace id 500014 dev ${DEVICES[0]} protocol 99 | ip -batch - && echo nexthop replace id 500015 dev ${DEVICES[0]} protocol 99 | ip -6 -batch -`,
      ),
    SMALL,
  )
}

/** What became of the packets of the other slot, step by step: which of them lost some is printed. */
class Watch {
  readonly #flows: Traffic
  sent = 0
  lost = 0

  constructor(flows: Traffic) {
    this.#flows = flows
  }

  async over(step: string, act: () => Promise<void>): Promise<void> {
    const from = performance.now()
    await act()
    const report = await this.#flows.mark(step)
    this.sent += report.udp.sent
    this.lost += report.udp.lost
    const { maxGapMs, txMaxGapMs } = report.udp
    const [took, gap, stall] = [performance.now() - from, maxGapMs, txMaxGapMs].map(Math.round)
    console.log(`${step}: ${took} ms, longest silence ${gap} ms, longest stall of the sender ${stall} ms`)
    if (report.udp.lost > 0) console.log(badFlows(report))
  }
}

/**
 * Octets a peer of this process with all it knows.
 */
async function memory(size: number, book: Book, watch: Watch): Promise<ScaleNode> {
  const before = resident()
  const node = new ScaleNode(native, size)
  await watch.over('start', async () => {
    await node.start()
    await node.empty()
  })
  await watch.over('first peers', async () => void (await node.reconcile()))
  await watch.over('first routes', async () => {
    await node.route()
    await node.routing.check()
  })
  book.set('memory of the process', 'B a peer', 'sekisho', (resident() - before) / size)
  await watch.over('cleared', () => clear(node))
  writeFiles(node)
  return node
}

async function clear(node: ScaleNode): Promise<void> {
  await node.unroute()
  await shell.run(
    'for t in 30000 30100 30101; do ip route flush table $t; ip -6 route flush table $t; done 2>/dev/null; true',
  )
  await shell.run('ip nexthop flush protocol 99 >/dev/null 2>&1; true')
}

async function scale(size: number, other: Peer, flows: Traffic): Promise<Figures> {
  const book = new Book(other, size)
  await flows.mark('before')
  const node = await memory(size, book, new Watch(flows))
  for (; book.round < ROUNDS; book.round++) {
    const watch = new Watch(flows)
    await watch.over('device anew', () => node.empty())
    await watch.over('device of wg anew', device)
    await watch.over('peers', () => devices(node, book))
    await watch.over('routes', () => routes(node, book))
    await watch.over('cleared', () => clear(node))
    book.set('packets through the other slot', 'packets', 'sekisho', watch.sent)
    book.set('packets through the other slot, lost', 'packets', 'sekisho', watch.lost)
    writeFiles(node)
  }
  await node.stop()
  return book.figures
}

build()
const driver = new KernelWgDriver(native)
await driver.create(DEVICES[0], { listenPort: 51_871, fwmark: 0x1e00, mtu: 1408 })
const flows = await traffic(driver)
const other = new Peer('near', join(import.meta.dirname, '../../build/vm/scale-peer.mjs'))
await other.call('longest')
for (const size of SIZES) await test(`scale ${size}`, () => scale(size, other, flows))
await Promise.all([flows.end(), other.end(), driver.close()])
stalls.stop()
shell.end()
finish()

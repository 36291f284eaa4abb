/** Two real agents without a gate keep the seal between two namespaces, on WireGuard of userspace. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { SealPeer, SealReport } from '../../src/http/wg-ports.ts'
import { inside, run } from '../support/datapath/in-namespace.ts'
import { Network, type Node, PROTECTED } from '../vm/mesh/network.ts'
import { Sniffer } from '../vm/mesh/sniffer.ts'
import { badFlows, Traffic } from '../vm/mesh/traffic.ts'

const LAUNCHER = join(import.meta.dirname, '../../bin/sekisho')
const HTTP = 19_880
const PATIENCE_MS = 40_000

const network = new Network(`wir${process.pid}`, 2)
const [first, second] = [network.node(1), network.node(2)]
const root = mkdtempSync(join(tmpdir(), 'wir-seal-'))
const keys = join(root, 'shared', 'keys')
const agents = new Map<Node, ChildProcess>()
let traffic: Traffic
let sniffer: Sniffer

const folder = (node: Node): string => join(root, node.name)
const configFile = (node: Node): string => join(folder(node), 'sekisho.yaml')
const device = (node: Node, slot: number): string => `wir${process.pid % 100_000}${node.index}k${slot}`

function configure(node: Node): void {
  mkdirSync(join(folder(node), 'bpf'), { recursive: true })
  run('mount', '-t', 'bpf', 'bpf', join(folder(node), 'bpf'))
  const config = {
    node: { name: node.name, uid: `uid-${node.name}` },
    datapath: { mode: 'off', bpffs: join(folder(node), 'bpf') },
    wireguard: {
      mode: 'manage',
      driver: 'userspace',
      target: 'strict',
      devicePrefix: device(node, 0).slice(0, -1),
      prefixes: node.prefixes,
      quiet: '1s',
      directory: { path: keys },
    },
    http: { port: HTTP },
    log: { level: 'warn' },
  }
  writeFileSync(configFile(node), JSON.stringify(config))
}

function start(node: Node): void {
  const log = openSync(join(folder(node), 'log'), 'a')
  const [command = '', ...args] = inside(node.namespace, LAUNCHER, 'agent', '--config', configFile(node))
  agents.set(node, spawn(command, args, { stdio: ['ignore', log, log] }))
  closeSync(log)
}

async function end(node: Node, signal: NodeJS.Signals): Promise<number | null> {
  const child = agents.get(node)
  agents.delete(node)
  if (child === undefined) return null
  if (child.exitCode !== null) return child.exitCode
  const exited = once(child, 'exit')
  child.kill(signal)
  return ((await exited) as [number | null])[0]
}

const said = (node: Node): string => readFileSync(join(folder(node), 'log'), 'utf8').slice(-4000)

/** As an operator does it: the command, in the namespace of the node. */
function sekisho(node: Node, ...args: readonly string[]): { status: number | null; out: string } {
  const [command = '', ...rest] = inside(node.namespace, LAUNCHER, ...args, '--config', configFile(node))
  const { status, stdout, stderr } = spawnSync(command, rest, { encoding: 'utf8' })
  return { status, out: stdout + stderr }
}

function get<T>(node: Node, path: string): T | undefined {
  const { stdout } = spawnSync('nsenter', [
    ...inside(node.namespace, 'curl', '-s', `http://127.0.0.1:${HTTP}${path}`).slice(1),
  ])
  const text = stdout.toString()
  return text.startsWith('{') ? (JSON.parse(text) as T) : undefined
}

const report = (node: Node): SealReport | undefined => get<SealReport>(node, '/v1/wg')
const peerOf = (node: Node): SealPeer | undefined => get<{ peers: SealPeer[] }>(node, '/v1/wg/peers')?.peers[0]

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const last = performance.now() + PATIENCE_MS; !holds(); await sleep(200)) {
    if (performance.now() > last) throw new Error(`not ${what}\n${network.nodes.map(said).join('\n---\n')}`)
  }
}

const sealed = (node: Node): boolean => {
  const peer = peerOf(node)
  return peer?.mode === 'strict' && peer.tunnels.every(({ state }) => state === 'proven')
}

async function window(name: string, ms: number): Promise<{ clear: number; sent: number; bad: string }> {
  await sleep(300)
  const before = (await sniffer.count()).frames
  await traffic.mark('before')
  await sleep(ms)
  const flows = await traffic.mark(name)
  return { clear: (await sniffer.count()).frames - before, sent: flows.udp.sent, bad: badFlows(flows) }
}

beforeAll(async () => {
  if (process.getuid?.() !== 0) throw new Error('this makes namespaces: run it as root')
  mkdirSync(keys, { recursive: true })
  network.build()
  for (const node of network.nodes) configure(node)
  traffic = new Traffic()
  await traffic.late(500)
  sniffer = await Sniffer.open(network.fabric, network.ports, PROTECTED)
  for (const [a, b] of network.podEnds(first, second)) {
    await traffic.udp('pod', a, b, 50)
    await traffic.tcp('pod', a, b, 20, 1000)
  }
  await traffic.start()
  await sleep(1000)
}, 60_000)

afterAll(async () => {
  for (const node of network.nodes) await end(node, 'SIGKILL')
  await traffic.end()
  await sniffer.end()
  for (const node of network.nodes) {
    for (const slot of [0, 1]) spawnSync('ip', ['-n', node.namespace, 'link', 'delete', device(node, slot)])
  }
  network.remove()
  for (const node of network.nodes) spawnSync('umount', [join(folder(node), 'bpf')])
  rmSync(root, { recursive: true, force: true })
}, 60_000)

test('without the seal all is in the clear, and the sniffer sees it', async () => {
  const { clear, sent, bad } = await window('clear', 1000)
  expect(bad).toBe('')
  expect(clear).toBeGreaterThan(sent)
})

test('two agents without a gate find each other in the folder, and seal what their pods say', async () => {
  await traffic.mark('before')
  for (const node of network.nodes) start(node)
  await until('sealed', () => network.nodes.every(sealed))
  expect(badFlows(await traffic.mark('enabling'))).toBe('')
  const { clear, sent, bad } = await window('sealed', 2000)
  expect(bad).toBe('')
  expect(sent).toBeGreaterThan(300)
  expect(clear).toBe(0)
}, 90_000)

test('the operator sees it: ready, the line people look for, and no gate', () => {
  for (const node of network.nodes) {
    expect(get(node, '/readyz')).toEqual({ ready: true, latches: [{ name: 'wireguard', ready: true }] })
    const { status, out } = sekisho(node, 'wg', 'status')
    expect(status, out).toBe(0)
    const key = report(node)?.slots[0]?.publicKey
    expect(out).toContain(`Encryption: Wireguard [${device(node, 0)} (Pubkey: ${key}, Port: 51871, Peers: 1)]`)
    const overview = sekisho(node, 'status').out
    expect(overview).toMatch(/^state +ready\nnode +n\d\nagent .*\ngate +off/)
    expect(overview).not.toMatch(/policy|endpoints|names|THREAD/)
    expect(get(node, '/v1/status')).toMatchObject({ mode: 'off', ready: true, workers: [], endpoints: { known: 0 } })
    expect(readdirSync(join(folder(node), 'bpf', 'sekisho')).filter((name) => !name.startsWith('guard'))).toEqual([])
  }
  const names = readdirSync(keys).sort()
  expect(names).toEqual(['n1.yaml', 'n2.yaml'])
})

test('a rotation changes a key and loses nothing', async () => {
  const before = report(first)?.slots.map(({ publicKey }) => publicKey)
  await traffic.mark('before')
  const frames = (await sniffer.count()).frames
  expect(sekisho(first, 'wg', 'rotate').status).toBe(0)
  await until('rotated', () => report(first)?.rotation.completed === 1)
  await sleep(500)
  expect(badFlows(await traffic.mark('rotation'))).toBe('')
  expect((await sniffer.count()).frames - frames).toBe(0)
  const after = report(first)?.slots.map(({ publicKey }) => publicKey)
  expect(after?.filter((key, slot) => key !== before?.[slot])).toHaveLength(1)
  // The key log is written though only warnings are wanted; it has fingerprints alone, also of public keys.
  const lines = said(first)
    .split('\n')
    .filter((line) => line.includes('"part":"wg-keys"'))
  const events = lines.map((line) => (JSON.parse(line) as { event: string }).event)
  expect(events.slice(0, 2)).toEqual(['created', 'created'])
  expect(events.slice(-4)).toEqual(['retired', 'created', 'published', 'proven'])
  for (const key of [...(before ?? []), ...(after ?? [])]) expect(said(first)).not.toContain(key ?? 'no key')
}, 90_000)

test('a node that gets another address is sent to there within two seconds, and says so in its record', async () => {
  const ip = (...args: readonly string[]): string => run('ip', '-n', first.namespace, ...args)
  const at = (node: Node, slot: number): string =>
    run(...inside(node.namespace, 'wg', 'show', device(node, slot), 'endpoints'))
  const moves = async (to: readonly string[], from: readonly string[]): Promise<number> => {
    const begun = performance.now()
    for (const one of to) ip('address', 'add', one, 'dev', 'eth0', ...(one.includes(':') ? ['nodad'] : []))
    for (const one of from) ip('address', 'delete', one, 'dev', 'eth0')
    const [four = '', six = ''] = to.map((one) => one.replace(/\/.*/, ''))
    await until('sent to there', () => {
      const record = readFileSync(join(keys, `${first.name}.yaml`), 'utf8')
      const sent = [0, 1].every(
        (slot) => at(second, slot).includes(`\t${four}:`) || at(second, slot).includes(`[${six}]`),
      )
      return sent && record.includes(four) && record.includes(six)
    })
    return performance.now() - begun
  }
  // Else the kernel takes all other addresses of the network away with the first.
  run(...inside(first.namespace, 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/conf/eth0/promote_secondaries'))
  const [old, fresh] = [first.addresses, ['192.168.0.101', 'fd00::101']].map(([four, six]) => [
    `${four}/24`,
    `${six}/64`,
  ])
  expect(await moves(fresh ?? [], old ?? [])).toBeLessThan(2000)
  const { clear, bad } = await window('moved', 1000)
  expect([bad, clear]).toEqual(['', 0])
  expect(await moves(old ?? [], fresh ?? [])).toBeLessThan(2000)
  await until('sealed', () => network.nodes.every(sealed))
  const metrics = run(...inside(second.namespace, 'curl', '-s', `http://127.0.0.1:${HTTP}/metrics`))
  expect(Number(/^sekisho_wg_address_changes_total (\d+)$/m.exec(metrics)?.[1])).toBeGreaterThanOrEqual(2)
}, 60_000)

test('a folder that goes away is said, and takes nobody away', async () => {
  const away = `${keys}-away`
  renameSync(keys, away)
  await until('told of it', () => report(first)?.directory.lost !== undefined)
  const { clear, bad } = await window('lost', 5000)
  expect([bad, clear]).toEqual(['', 0])
  expect(sealed(first)).toBe(true)
  renameSync(away, keys)
  await until('back', () => report(first)?.directory.lost === undefined)
}, 60_000)

test('the seal holds while no agent runs, and a restarted one adopts its keys', async () => {
  const before = network.nodes.map((node) => report(node)?.slots.map(({ publicKey }) => publicKey))
  expect(await end(first, 'SIGTERM')).toBe(0)
  await end(second, 'SIGKILL')
  const { clear, bad } = await window('alone', 3000)
  expect([bad, clear]).toEqual(['', 0])
  await traffic.mark('before')
  for (const node of network.nodes) start(node)
  await until('sealed again', () => network.nodes.every(sealed))
  expect(badFlows(await traffic.mark('adopting'))).toBe('')
  expect(network.nodes.map((node) => report(node)?.slots.map(({ publicKey }) => publicKey))).toEqual(before)
}, 90_000)

test('an agent whose settings need what is not there answers all the same, and says what is missing', async () => {
  await end(second, 'SIGTERM')
  const text = readFileSync(configFile(second), 'utf8')
  writeFileSync(
    configFile(second),
    text.replace('"driver":"userspace"', '"driver":"userspace","command":"/no/wireguard"'),
  )
  const [slot0] = [device(second, 0)]
  execFileSync('ip', ['-n', second.namespace, 'link', 'delete', slot0])
  start(second)
  await until('told', () => JSON.stringify(get(second, '/readyz') ?? '').includes('cannot start'))
  expect(get(second, '/v1/status')).toMatchObject({ ready: false })
  expect(JSON.stringify(get(second, '/readyz'))).toContain('there is no WireGuard to use')
  writeFileSync(configFile(second), text)
  expect(await end(second, 'SIGTERM')).toBe(0)
}, 60_000)

test('cleanup takes all of it away, and the record too', async () => {
  for (const node of network.nodes) {
    await end(node, 'SIGTERM')
    const { status, out } = sekisho(node, 'cleanup')
    expect(status, out).toBe(0)
    const links = run('ip', '-n', node.namespace, '-o', 'link')
    expect(links).not.toContain(device(node, 0).slice(0, -1))
    expect(run('ip', '-n', node.namespace, 'rule')).not.toContain('20000')
    expect(run('ip', '-n', node.namespace, 'nexthop')).toBe('')
    expect(readdirSync(join(folder(node), 'bpf'))).not.toContain('sekisho')
  }
  expect(readdirSync(keys)).toEqual([])
  let open = await window('open', 1000)
  // TCP tries again only after as long as it was cut off before (RFC 6298 section 5.5), and one end was cut off for seconds.
  for (let i = 0; i < 15 && open.bad !== ''; i++) open = await window('open', 1000)
  expect(open.bad).toBe('')
  expect(open.clear).toBeGreaterThan(0)
}, 90_000)

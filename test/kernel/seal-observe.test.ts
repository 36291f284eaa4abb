/** A real agent looks at another manager's device: it finds what is wrong, and leaves everything as it is. */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { documentOf } from '../../src/wg/directory/document.ts'
import type { SealReport } from '../../src/http/wg-ports.ts'
import { inside, run } from '../support/datapath/in-namespace.ts'
import { UapiRelay } from '../support/wg/uapi-relay.ts'
import { until } from '../vm/harness.ts'
import { Network, type Node } from '../vm/mesh/network.ts'

const LAUNCHER = join(import.meta.dirname, '../../bin/sekisho')
const HTTP = 19_881
const PORT = 51_871
/** The agent looks again after 2 s, and then every 10 s. */
const LOOK_MS = 15_000

const network = new Network(`sob${process.pid}`, 2)
const [here, there] = [network.node(1), network.node(2)]
const root = mkdtempSync(join(tmpdir(), 'sob-seal-'))
const keys = join(root, 'keys')
const config = join(root, 'sekisho.yaml')
const id = process.pid % 100_000
/** As Cilium names it; programs in userspace share one folder of sockets on the machine, so it must be one of a kind. */
const deviceOf = ({ index }: Node): string => `cilium${id}_${index}`
const device = deviceOf(here)
/** Past the relay. */
const real = `${id}real`

interface Party {
  readonly name: string
  readonly addresses: readonly string[]
  readonly prefixes: readonly string[]
  readonly secret: string
  readonly published: string
}

const at = ({ namespace }: Node, ...command: readonly string[]): string => run(...inside(namespace, ...command))
const input = (text: string, ...command: readonly string[]): string =>
  execFileSync(command[0] ?? '', command.slice(1), { input: text, encoding: 'utf8' }).trim()

function party({ name, addresses, prefixes }: Pick<Party, 'name' | 'addresses' | 'prefixes'>): Party {
  const secret = run('wg', 'genkey').trim()
  return { name, addresses, prefixes, secret, published: input(secret, 'wg', 'pubkey') }
}

const [first, second, third] = [
  party(here),
  party(there),
  // A node that is down.
  party({ name: 'n3', addresses: ['192.168.0.3'], prefixes: ['10.1.3.0/24'] }),
] as const

function publish({ name, addresses, prefixes, published }: Party): void {
  const record = {
    domain: 'default',
    node: name,
    nodeUID: `uid-${name}`,
    bootID: 'boot',
    created: 1,
    revision: 1,
    endpoints: addresses.slice(0, 1).map((ip) => ({ ip })),
    prefixes: [...prefixes],
    nodeIPs: [],
    slots: [{ id: 0 as const, port: PORT, publicKey: published, gen: 0, since: 1 }],
    drain: null,
    caps: [],
  }
  writeFileSync(join(keys, `${name}.yaml`), documentOf(record))
}

/** What the other manager did. */
function manage(node: Node, own: Party, others: readonly Party[]): void {
  const name = deviceOf(node)
  at(node, 'wireguard-go', name)
  // wg(8) opens what it is given, and a socket, as Node makes it, cannot be opened.
  const set = `cat | wg set ${name} listen-port ${PORT} fwmark 0xe00 private-key /dev/stdin`
  input(own.secret, ...inside(node.namespace, 'sh', '-c', set))
  at(node, 'ip', 'link', 'set', name, 'mtu', '1420', 'up')
  for (const { published, addresses, prefixes } of others) {
    // Something is sent each second, but to the node that is down nobody has sent yet.
    const keepalive = published === third.published ? [] : ['persistent-keepalive', '1']
    const options = ['endpoint', `${addresses[0]}:${PORT}`, 'allowed-ips', prefixes.join(), ...keepalive]
    at(node, 'wg', 'set', name, 'peer', published, ...options)
    for (const prefix of prefixes) at(node, 'ip', 'route', 'replace', prefix, 'dev', name)
  }
}

/** Everything that the agent could have written to; what is secret as its hash. */
function everything(): Record<string, string> {
  const shell = (line: string): string => at(here, 'sh', '-c', line)
  const files = readdirSync(keys).sort()
  // The program tells its peers in any order.
  const sections = at(here, 'wg', 'showconf', real).split('\n\n')
  const manager = sections
    .map((section) => section.trim())
    .sort()
    .join()
  return {
    device: createHash('sha256').update(manager).digest('hex'),
    links: shell('ip -d link'),
    addresses: shell('ip -d address'),
    rules: shell('ip -4 rule; ip -6 rule'),
    routes: shell('ip -4 route show table all; ip -6 route show table all; ip nexthop'),
    programs: shell('for i in $(ls /sys/class/net); do tc qdisc show dev $i; tc filter show dev $i ingress; done'),
    firewall: shell('nft list ruleset'),
    sysctls: shell('grep -rs . /proc/sys/net/ipv4 /proc/sys/net/ipv6 || [ $? = 2 ]'),
    directory: files
      .map((name) => `${name} ${statSync(join(keys, name)).mtimeMs} ${readFileSync(join(keys, name), 'utf8')}`)
      .join(),
    pins: readdirSync(join(root, 'bpf')).join(),
  }
}

let relay: UapiRelay
let agent: ChildProcess | undefined
let monitor: ChildProcess | undefined

beforeAll(async () => {
  if (process.getuid?.() !== 0) throw new Error('this makes namespaces: run it as root')
  network.build()
  for (const folder of [keys, join(root, 'bpf')]) mkdirSync(folder)
  run('mount', '-t', 'bpf', 'bpf', join(root, 'bpf'))
  for (const one of [first, second, third]) publish(one)
  // What an agent of this node left in the folder long ago is not for one that only looks to take away.
  const debris = join(keys, `.${first.name}.yaml.0123456789abcdef`)
  writeFileSync(debris, 'cut short')
  utimesSync(debris, 1, 1)
  manage(here, first, [second, third])
  manage(there, second, [first])
  const hasShaken = (): boolean => /\t[1-9]/.test(at(here, 'wg', 'show', device, 'latest-handshakes'))
  await until('a handshake', hasShaken, 10_000)
  relay = await UapiRelay.open(device, real)
  writeFileSync(
    config,
    JSON.stringify({
      node: { name: here.name, addresses: here.addresses.slice(0, 1) },
      datapath: { mode: 'off', bpffs: join(root, 'bpf') },
      wireguard: {
        mode: 'observe',
        driver: 'userspace',
        observe: { device },
        directory: { path: keys },
        metrics: { perPeer: true },
      },
      state: { dir: join(root, 'state') },
      http: { port: HTTP },
      log: { level: 'debug' },
    }),
  )
}, 60_000)

afterAll(async () => {
  for (const child of [agent, monitor]) child?.kill('SIGKILL')
  // Those that there are.
  for (const node of network.nodes) spawnSync('ip', ['-n', node.namespace, 'link', 'delete', deviceOf(node)])
  ;(relay as UapiRelay | undefined)?.close()
  network.remove()
  run('umount', join(root, 'bpf'))
  rmSync(root, { recursive: true, force: true })
})

const curl = (path: string, ...options: readonly string[]): string =>
  at(here, 'curl', '-s', ...options, `http://127.0.0.1:${HTTP}${path}`)
/** Undefined while the agent does not answer. */
function codes(): string[] | undefined {
  try {
    const { findings = [] } = JSON.parse(curl('/v1/wg')) as SealReport
    return findings.map(({ code, peer }) => `${code} ${peer}`).sort()
  } catch {
    return undefined
  }
}

function sekisho(...args: readonly string[]): { status: number | null; out: string } {
  const [command = '', ...rest] = inside(here.namespace, LAUNCHER, ...args, '--config', config)
  const { status, stdout, stderr } = spawnSync(command, rest, { encoding: 'utf8' })
  return { status, out: stdout + stderr }
}

test('it finds nothing where all is well, then a peer that is missing and a session that is over, and writes nothing', async () => {
  let before = everything()
  const heard: string[] = []
  const log = openSync(join(root, 'log'), 'a')
  const told = ['link', 'address', 'route', 'rule', 'nexthop']
  monitor = spawn('ip', ['-n', here.namespace, 'monitor', ...told], { stdio: ['ignore', 'pipe', log] })
  monitor.stdout?.on('data', (chunk) => heard.push(String(chunk)))
  const [command = '', ...args] = inside(here.namespace, LAUNCHER, 'agent', '--config', config)
  agent = spawn(command, args, { stdio: ['ignore', log, log] })
  closeSync(log)
  await until('a first look', () => relay.asked.length > 0 && codes() !== undefined, 20_000)
  expect(codes()).toEqual([])
  expect(everything()).toEqual(before)

  // The manager forgets a node, and the session with the other one is over, though packets are sent.
  at(here, 'wg', 'set', real, 'peer', third.published, 'remove')
  relay.olderSeconds = 200
  before = everything()
  await until('another look', () => codes()?.length !== 0, LOOK_MS)
  expect(codes()).toEqual(['handshake-stale n2', 'peer-missing n3'])
  const metrics = curl('/metrics')
  for (const code of ['handshake-stale', 'peer-missing'])
    expect(metrics).toContain(`sekisho_wg_findings{code="${code}"} 1`)
  expect(metrics).toContain('sekisho_wg_findings{code="unknown-peer"} 0')

  const { status, out } = sekisho('wg', 'status')
  expect(status, out).toBe(1)
  expect(out).toMatch(/^seal +observe, userspace driver/)
  expect(out).toMatch(new RegExp(`^0 +${device} +${PORT} .* 1420 `, 'm'))
  expect(out).toMatch(
    /^! n2: the last handshake is 2\d\d s ago, and packets are sent: they are lost \[handshake-stale\]$/m,
  )
  expect(out).toMatch(new RegExp(`^! n3: ${device} has no peer with its key \\[peer-missing\\]$`, 'm'))
  expect(out).toContain(`Encryption: Wireguard [${device} (Pubkey: ${first.published}, Port: ${PORT}, Peers: 1)]`)

  const rotate = ['-X', 'POST', '-H', 'content-type: application/json', '-H', 'x-sekisho-request: 1', '-d', '{}']
  const answer = curl('/v1/wg/rotate', ...rotate, '-w', '%{http_code}')
  expect(answer).toMatch(/"SEKISHO_HTTP_WG_OBSERVED".*409$/s)
  expect(sekisho('wg', 'rotate')).toMatchObject({ status: 1 })

  const exited = once(agent, 'exit')
  agent.kill('SIGTERM')
  expect((await exited)[0]).toBe(0)
  expect(everything()).toEqual(before)
  expect(heard.join('')).toBe('')
  expect(new Set(relay.asked)).toEqual(new Set(['get=1']))

  // What is compared, and the monitor, do see what is written.
  at(here, 'ip', 'link', 'set', device, 'mtu', '1400')
  at(here, 'wg', 'set', real, 'fwmark', '0')
  await until('the monitor hears', () => heard.length > 0, 5000)
  const after = everything()
  expect(Object.keys(before).filter((what) => after[what] !== before[what])).toEqual([
    'device',
    'links',
    'addresses',
    'sysctls',
  ])
}, 90_000)

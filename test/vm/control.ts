/**
 * The negative control: one device a node, as everybody has it, and a key change that the peers hear of a second later.
 * It must cost packets, or the instrument sees none.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inside, run } from '../support/datapath/in-namespace.ts'
import { type Figures, sleep, test, until } from './harness.ts'
import { figuresOf } from './mesh/figures.ts'
import { Network, type Node, PROTECTED } from './mesh/network.ts'
import { Sniffer } from './mesh/sniffer.ts'
import { badFlows, Traffic } from './mesh/traffic.ts'

const RATE = 100
const TOLD_AFTER_MS = 1000
/** Agents start meanwhile, and let packets wait. */
const LATE_MS = 2000
/** Of the first window, in which neighbours are found. */
const FIRST_LATE_MS = 300

const wg = (node: Node, ...args: readonly string[]): string => run(...inside(node.namespace, 'wg', ...args)).trim()

/** wg(8) opens it by name, and what Node makes of an input cannot be opened. */
function keyFile(key: string): string {
  const file = join(tmpdir(), 'key')
  writeFileSync(file, key, { mode: 0o600 })
  return file
}

const newKey = (): string => run('wg', 'genkey').trim()
const publicOf = (key: string): string => execFileSync('wg', ['pubkey'], { input: key, encoding: 'utf8' }).trim()

export async function testControl(): Promise<void> {
  await test(
    'control: one device, and peers that hear of its new key a second later, lose what was sent meanwhile',
    loseOnPurpose,
  )
}

async function loseOnPurpose(): Promise<Figures> {
  const network = new Network('c', 2)
  network.build()
  const [first, second] = [network.node(1), network.node(2)]
  const traffic = new Traffic()
  await traffic.late(FIRST_LATE_MS)
  const sniffer = await Sniffer.open(network.fabric, network.ports, PROTECTED)
  const keys = network.nodes.map(newKey)
  for (const [i, node] of network.nodes.entries()) {
    run('ip', '-n', node.namespace, 'link', 'add', 'one', 'mtu', '1408', 'type', 'wireguard')
    wg(node, 'set', 'one', 'private-key', keyFile(keys[i] ?? ''), 'listen-port', '51871')
    run('ip', '-n', node.namespace, 'link', 'set', 'one', 'up')
  }
  const peer = (node: Node, of: Node, key: string): void => {
    const allowed = of.prefixes.join(',')
    wg(node, 'set', 'one', 'peer', publicOf(key), 'endpoint', `${of.addresses[0]}:51871`, 'allowed-ips', allowed)
    for (const prefix of of.prefixes) run('ip', '-n', node.namespace, 'route', 'replace', prefix, 'dev', 'one')
  }
  peer(first, second, keys[1] ?? '')
  peer(second, first, keys[0] ?? '')
  // One of them begins: when both do at once each answers the other and forgets its own, and they try again after five seconds.
  wg(second, 'set', 'one', 'peer', publicOf(keys[0] ?? ''), 'persistent-keepalive', '25')
  await until('a handshake', () => !wg(second, 'show', 'one', 'latest-handshakes').endsWith('\t0'), 10_000)
  for (const [from, to] of network.podEnds(first, second)) await traffic.udp('pod', from, to, RATE)
  await traffic.start()
  await traffic.mark('begin')
  await traffic.late(LATE_MS)
  await sleep(500)
  const quiet = await traffic.mark('quiet')

  const key = newKey()
  wg(first, 'set', 'one', 'private-key', keyFile(key))
  await sleep(TOLD_AFTER_MS)
  wg(second, 'set', 'one', 'peer', publicOf(keys[0] ?? ''), 'remove')
  peer(second, first, key)
  await sleep(1000)
  const changed = await traffic.mark('changed')
  const clear = await sniffer.count()

  // The sniffer must see the same packets when they go in the clear.
  for (const node of network.nodes) {
    const other = node === first ? second : first
    for (const [i, prefix] of other.prefixes.entries())
      run('ip', '-n', node.namespace, 'route', 'replace', prefix, 'via', other.addresses[i] ?? '')
  }
  await sleep(300)
  const leaked = await sniffer.count()
  await Promise.all([traffic.end(), sniffer.end()])
  network.remove()

  assert.equal(quiet.udp.lost, 0, `a quiet tunnel loses\n${badFlows(quiet)}`)
  const sending = changed.flows.filter(({ label }) => label.includes(`>${second.pod}`))
  assert.ok(
    sending.every(({ lost, gapMs }) => lost > 30 && gapMs > 0.8 * TOLD_AFTER_MS),
    `the key change costs too little for an instrument that sees\n${JSON.stringify(sending)}`,
  )
  assert.equal(clear.frames, 0, 'clear text through a tunnel')
  assert.ok(leaked.frames > 20, 'clear text is not seen')
  return { ...figuresOf([changed], clear.frames), leakedOnPurpose: leaked.frames }
}

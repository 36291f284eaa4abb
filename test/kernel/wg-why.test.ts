/** What the counters of a real tunnel tell of a firewall, seen from both ends. */
import { execFileSync } from 'node:child_process'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { WgPeerReport } from '../../src/wg/report.ts'
import { whyPeer, type WgWhy } from '../../src/wg/why.ts'
import { inside, run } from '../support/datapath/in-namespace.ts'
import { peer, report, tunnel } from '../support/wg/fake-view.ts'

interface End {
  readonly name: string
  readonly namespace: string
  readonly device: string
  readonly address: string
  readonly keys: { readonly secret: string; readonly published: string }
}

const input = (text: string, ...command: readonly string[]): string =>
  execFileSync(command[0] ?? '', command.slice(1), { input: text, encoding: 'utf8' }).trim()

const end = (name: string, n: number): End => {
  const secret = run('wg', 'genkey').trim()
  return {
    name,
    namespace: `skwy${process.pid}${name}`,
    device: `sk${process.pid}y${n}`,
    address: `192.0.2.${n}`,
    keys: { secret, published: input(secret, 'wg', 'pubkey') },
  }
}
const A = end('a', 1)
const B = end('b', 2)
const ENDS = [A, B] as const
const PORT = 51_871

const at = ({ namespace }: End, ...command: readonly string[]): string => run(...inside(namespace, ...command))

beforeAll(() => {
  for (const { namespace } of ENDS) run('ip', 'netns', 'add', namespace)
  const link = `sk${process.pid}v`
  run('ip', 'link', 'add', `${link}a`, 'netns', A.namespace, 'type', 'veth', 'peer', `${link}b`, 'netns', B.namespace)
  for (const one of ENDS) {
    at(one, 'ip', 'address', 'add', `${one.address}/24`, 'dev', link + one.name)
    at(one, 'ip', 'link', 'set', link + one.name, 'up')
  }
})

const drop = (one: End): void => {
  try {
    at(one, 'ip', 'link', 'delete', one.device)
  } catch {
    // It never came to be.
  }
}

afterAll(() => {
  for (const one of ENDS) {
    drop(one)
    run('ip', 'netns', 'delete', one.namespace)
  }
})

/** New devices, so new counters; each end makes a handshake at once and again after 5 s. */
function tunnels(): void {
  for (const one of ENDS) {
    at(one, 'wireguard-go', one.device)
    // wg(8) opens what it is given, and a socket, as Node makes it, cannot be opened.
    const set = `cat | wg set ${one.device} listen-port ${PORT} private-key /dev/stdin`
    input(one.keys.secret, ...inside(one.namespace, 'sh', '-c', set))
    at(one, 'ip', 'link', 'set', one.device, 'up')
  }
  for (const [here, there] of [ENDS, ENDS.toReversed()] as [End, End][]) {
    const options = ['endpoint', `${there.address}:${PORT}`, 'allowed-ips', '10.1.2.0/24', 'persistent-keepalive', '25']
    at(here, 'wg', 'set', here.device, 'peer', there.keys.published, ...options)
  }
}

function why(here: End, there: End): WgWhy {
  const fields = at(here, 'wg', 'show', here.device, 'dump').trim().split('\n').at(-1)?.split('\t') ?? []
  const [handshake = 0, rxBytes = 0, txBytes = 0] = fields.slice(4, 7).map(Number)
  const age = handshake === 0 ? undefined : Math.max(0, Date.now() / 1000 - handshake)
  const one: WgPeerReport = peer({
    name: there.name,
    mode: 'off',
    endpoints: [there.address],
    prefixes: ['10.1.2.0/24'],
    announced: undefined,
    tunnels: [
      tunnel(0, {
        state: 'installed',
        endpoint: `${there.address}:${PORT}`,
        handshakeAgeSeconds: age,
        rxBytes,
        txBytes,
      }),
    ],
  })
  return whyPeer(report({ node: here.name, endpoints: [here.address] }), one, there.name)
}

const TUNNEL_CODES = ['nothing-sent', 'no-answer', 'not-heard', 'unprobed']
const verdict = ({ lines }: WgWhy): string | undefined => lines.find(({ code }) => TUNNEL_CODES.includes(code))?.code

interface Case {
  readonly what: string
  readonly shut: readonly (readonly [End, 'input' | 'output'])[]
  /** As the ends tell it. */
  readonly a: string
  readonly b: string
}

const CASES: readonly Case[] = [
  { what: 'nothing is shut', shut: [], a: 'unprobed', b: 'unprobed' },
  { what: 'inbound to a is shut', shut: [[A, 'input']], a: 'no-answer', b: 'not-heard' },
  { what: 'outbound from a is shut on a itself', shut: [[A, 'output']], a: 'nothing-sent', b: 'no-answer' },
  { what: 'inbound to b is shut', shut: [[B, 'input']], a: 'not-heard', b: 'no-answer' },
  {
    what: 'both ways are shut',
    shut: [
      [A, 'input'],
      [B, 'input'],
    ],
    a: 'no-answer',
    b: 'no-answer',
  },
]

test.each(CASES)('$what', async ({ shut, a, b }) => {
  for (const [one, hook] of shut) {
    const rules = `table ip why { chain c { type filter hook ${hook} priority 0; udp dport ${PORT} drop; }; }`
    input(rules, ...inside(one.namespace, 'nft', '-f', '-'))
  }
  try {
    tunnels()
    // The first message of the end that is there first is lost; it sends again after 5 s (REKEY_TIMEOUT).
    await expect.poll(() => [verdict(why(A, B)), verdict(why(B, A))], { timeout: 12_000 }).toEqual([a, b])
    if (b === 'not-heard') {
      expect(why(B, A).remedies[0]).toBe('allow UDP from 192.0.2.2 to 192.0.2.1 port 51871')
    }
  } finally {
    for (const one of ENDS) drop(one)
    for (const [one] of shut) at(one, 'nft', 'delete', 'table', 'ip', 'why')
  }
})

import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const GATE = `sknat-gate-${process.pid}`
const CLIENT = `sknat-client-${process.pid}`
const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url))

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' })
const inside = (namespace: string, ...command: string[]): string => ip('netns', 'exec', namespace, ...command)

/** Redirects port 53 to the listeners by TPROXY, and gives packets for a transparent source to its socket. */
const RULES = `
table inet sknat {
  counter marked4 {}
  counter marked6 {}
  chain prerouting {
    type filter hook prerouting priority mangle; policy accept;
    socket transparent 1 meta mark set 1 accept
    iifname "client" meta nfproto ipv4 meta l4proto { tcp, udp } th dport 53 tproxy ip to :10053 meta mark set 1 accept
    iifname "client" meta nfproto ipv6 meta l4proto { tcp, udp } th dport 53 tproxy ip6 to :10053 meta mark set 1 accept
  }
  chain output {
    type filter hook output priority 0; policy accept;
    meta mark 0x2a meta nfproto ipv4 counter name marked4
    meta mark 0x2a meta nfproto ipv6 counter name marked6
  }
}
`

beforeAll(() => {
  ip('netns', 'add', GATE)
  ip('netns', 'add', CLIENT)
  ip('link', 'add', 'client', 'netns', GATE, 'type', 'veth', 'peer', 'name', 'gate', 'netns', CLIENT)
  for (const [namespace, link, end] of [
    [GATE, 'client', 1],
    [CLIENT, 'gate', 2],
  ] as const) {
    const on = (...args: string[]): string => ip('-n', namespace, ...args)
    on('link', 'set', 'lo', 'up')
    on('link', 'set', link, 'up')
    on('addr', 'add', `10.99.0.${end}/24`, 'dev', link)
    on('addr', 'add', `fd99::${end}/64`, 'dev', link, 'nodad')
  }
  ip('-n', CLIENT, 'route', 'add', 'default', 'via', '10.99.0.1')
  ip('-n', CLIENT, '-6', 'route', 'add', 'default', 'via', 'fd99::1')
  for (const family of ['-4', '-6']) {
    ip('-n', GATE, family, 'rule', 'add', 'fwmark', '1', 'lookup', '100')
    ip('-n', GATE, family, 'route', 'add', 'local', 'default', 'dev', 'lo', 'table', '100')
  }
  inside(GATE, 'sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.client.rp_filter=0')
  execFileSync('ip', ['netns', 'exec', GATE, 'nft', '-f', '-'], { input: RULES })
})
afterAll(() => {
  ip('netns', 'del', CLIENT)
  ip('netns', 'del', GATE)
})

describe('through a real TPROXY redirect', () => {
  let client: Record<string, unknown>
  let gate: { udpSeen: unknown[][]; tcpSeen: unknown[][]; sendErrors: number }

  beforeAll(async () => {
    const process_ = spawn('ip', ['netns', 'exec', GATE, process.execPath, fixture('native-gate.ts')], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const lines = createInterface({ input: process_.stdout })[Symbol.asyncIterator]()
    expect((await lines.next()).value).toBe('ready')
    client = JSON.parse(inside(CLIENT, process.execPath, fixture('native-client.ts'))) as typeof client
    process_.stdin.end()
    gate = JSON.parse(String((await lines.next()).value)) as typeof gate
    if (process_.exitCode === null) await once(process_, 'exit')
  })

  test.each([
    [4, '10.99.0.2', '192.0.2.53'],
    [6, 'fd99::2', '2001:db8:53::53'],
  ] as const)('IPv%i: the listener knows who asked whom', (family, from, to) => {
    expect(gate.udpSeen).toContainEqual([family, from, to, 53, 'q'])
    expect(gate.tcpSeen).toContainEqual([to, 53, from])
    expect(client[`tcp ${family}`]).toBe(`${to} 53`)
  })

  test.each([4, 6] as const)('IPv%i: a connected client takes the reply, small and fragmented', (family) => {
    expect(client[`small ${family}`]).toBe('answer to q')
    for (const size of [0, 1, 1471, 1473, 9000, 65_000]) {
      expect([size, client[`large ${family} ${size}`]]).toEqual([size, true])
    }
    expect(gate.sendErrors).toBe(0)
  })

  test.each([
    [4, '10.99.0.1', '198.51.100.7 4004'],
    [6, 'fd99::1', '2001:db8:7::7 4006'],
  ] as const)('IPv%i: upstream sockets carry their mark, and a foreign source address', (family, own, foreign) => {
    expect(client[`upstream ${family}`]).toEqual({ marked: own, foreign })
    const listing = inside(GATE, 'nft', 'list', 'counter', 'inet', 'sknat', `marked${family}`)
    expect(listing).toContain('packets 1 ')
    const answers = gate.udpSeen.filter(([tag]) => tag === 100 + family || tag === 200 + family)
    expect(answers.map(([, source, , , text]) => [source, text]).sort()).toEqual([
      [family === 4 ? '10.99.0.2' : 'fd99::2', 'thanks, foreign'],
      [family === 4 ? '10.99.0.2' : 'fd99::2', 'thanks, marked'],
    ])
  })
})

import { execFile, execFileSync, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PATH_EPOLL, PATH_IO_URING } from '../../src/native/binding.ts'
import type { ClientResult } from './fixtures/dns-client.ts'

const run = promisify(execFile)
const TAG = `skdns${process.pid % 10_000}`
const NODE = `${TAG}n`
const POD = `${TAG}p`
const POD4 = '10.77.0.2'
const POD6 = 'fd77::2'
const SERVER4 = '10.77.9.9'
const SERVER6 = 'fd77:9::9'
const PORT = 10053
const [A, AAAA] = [1, 28]

const fixture = (name: string): string => new URL(`./fixtures/${name}`, import.meta.url).pathname
const inNode = (...args: string[]): string[] => [`--net=/run/netns/${NODE}`, '--', ...args]
const inPod = (...args: string[]): string[] => [`--net=/run/netns/${POD}`, '--', ...args]

/** Two namespaces; what the pod sends to port 53 is taken by TPROXY, as the datapath does. */
function build(): void {
  const script = `
set -e
ip netns add ${NODE}; ip netns add ${POD}
ip -n ${NODE} link set lo up; ip -n ${POD} link set lo up
ip link add ${TAG}a netns ${NODE} type veth peer name eth0 netns ${POD}
ip netns exec ${NODE} sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.${TAG}a.rp_filter=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip -n ${NODE} addr add 10.77.0.1/24 dev ${TAG}a; ip -n ${NODE} -6 addr add fd77::1/64 dev ${TAG}a nodad
ip -n ${NODE} link set ${TAG}a up
ip -n ${POD} addr add ${POD4}/24 dev eth0; ip -n ${POD} addr add 10.77.0.3/24 dev eth0; ip -n ${POD} -6 addr add ${POD6}/64 dev eth0 nodad
ip -n ${POD} link set eth0 up
ip -n ${POD} route add default via 10.77.0.1 src ${POD4}; ip -n ${POD} -6 route add default via fd77::1
ip -n ${NODE} addr add ${SERVER4}/32 dev lo; ip -n ${NODE} -6 addr add ${SERVER6}/128 dev lo nodad
ip -n ${NODE} rule add fwmark 0x200/0xf00 lookup 2004; ip -n ${NODE} route add local default dev lo table 2004
ip -n ${NODE} -6 rule add fwmark 0x200/0xf00 lookup 2004; ip -n ${NODE} -6 route add local default dev lo table 2004
`
  execFileSync('sh', ['-c', script])
  const rules = `table inet t { chain c { type filter hook prerouting priority mangle;
iifname "${TAG}a" meta nfproto ipv4 meta l4proto { tcp, udp } th dport 53 tproxy ip to 127.0.0.1:${PORT} meta mark set 0x200 accept
iifname "${TAG}a" meta nfproto ipv6 meta l4proto { tcp, udp } th dport 53 tproxy ip6 to [::1]:${PORT} meta mark set 0x200 accept
}
chain o { type filter hook output priority filter;
meta mark 0xb00 udp dport 53 counter comment "udp"
meta mark 0xb00 tcp dport 53 counter comment "tcp"
}
}
`
  execFileSync('nsenter', inNode('nft', '-f', '-'), { input: rules })
}

interface Said {
  readonly reply?: Record<string, unknown>
  readonly ready?: boolean
  readonly error?: string
  readonly from?: string
  readonly exit?: number
}

let node: ChildProcess
const said: Said[] = []
const listeners = new Set<() => void>()
let log = ''

async function hear(check: (message: Said) => boolean): Promise<Said> {
  const deadline = Date.now() + 15_000
  for (;;) {
    const at = said.findIndex(check)
    if (at >= 0) return said.splice(at, 1)[0]!
    if (Date.now() > deadline || node.exitCode !== null) throw new Error(`the node said nothing: ${log}`)
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        listeners.delete(wake)
        clearTimeout(timer)
        resolve()
      }
      const timer = setTimeout(wake, 200)
      listeners.add(wake)
    })
  }
}

async function tell(command: object): Promise<Record<string, unknown>> {
  node.stdin!.write(`${JSON.stringify(command)}\n`)
  return (await hear((message) => message.reply !== undefined)).reply!
}

async function ask(queries: readonly (readonly [string, string, number])[], waitMs = 3000): Promise<ClientResult[]> {
  const args = inPod(process.execPath, fixture('dns-client.ts'), JSON.stringify(queries), String(waitMs))
  const { stdout } = await run('nsenter', args)
  return JSON.parse(stdout) as ClientResult[]
}

const one = async (server: string, name: string, type: number, waitMs?: number): Promise<ClientResult> =>
  (await ask([[server, name, type]], waitMs))[0]!

const dig = async (...args: string[]): Promise<string> => {
  const { stdout } = await run('nsenter', inPod('dig', '+tries=1', '+time=3', ...args))
  return stdout
}

interface Counted {
  readonly learned: number
  readonly upstreamPorts: number
  readonly path: number
  readonly samples: [string, string, number][]
}

const counted = async (): Promise<Counted> => (await tell({ do: 'counters' })) as unknown as Counted
const value = (state: Counted, name: string, labels: string): number =>
  state.samples.find(([at, with_]) => at === `sekisho_dns_${name}` && with_ === labels)?.[2] ?? 0

describe.each([
  ['epoll', PATH_EPOLL],
  ['io_uring', PATH_IO_URING],
] as const)('by %s', (pump, path) => {
  beforeAll(async () => {
    if (process.getuid?.() !== 0) throw new Error('kernel tests need root')
    build()
    said.length = 0
    log = ''
    const config = { servers: [SERVER4, SERVER6], pod: [POD4, POD6], port: PORT, pump }
    node = spawn('nsenter', inNode(process.execPath, fixture('dns-node.ts'), JSON.stringify(config)), {
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    node.stderr!.on('data', (chunk) => (log += String(chunk)))
    createInterface({ input: node.stdout! }).on('line', (line) => {
      log += `${line}\n`
      said.push(JSON.parse(line) as Said)
      for (const wake of [...listeners]) wake()
    })
    await hear((message) => message.ready === true)
  })

  afterAll(async () => {
    if (node !== undefined && node.exitCode === null) {
      const gone = new Promise((resolve) => node.once('exit', resolve))
      node.stdin!.end('{"do":"quit"}\n')
      const late = setTimeout(() => node.kill('SIGKILL'), 3000)
      await gone
      clearTimeout(late)
    }
    for (const namespace of [NODE, POD]) execFileSync('ip', ['netns', 'del', namespace])
  })

  describe('a connected socket in a pod', () => {
    test.each([
      ['IPv4', SERVER4],
      ['IPv6', SERVER6],
    ])('%s: allowed names resolve, both types, and answers come from the server that was asked', async (_, server) => {
      const results = await ask([
        [server, 'www.ok.test', A],
        [server, 'www.ok.test', AAAA],
        [server, 'nx.ok.test', A],
      ])
      expect(results.map(({ rcode, answers }) => [rcode, answers])).toEqual([
        [0, 1],
        [0, 1],
        [3, 0],
      ])
    })

    test.each([
      ['IPv4', SERVER4],
      ['IPv6', SERVER6],
    ])('%s: denied names are refused, and search expansions of allowed names do not exist', async (_, server) => {
      const results = await ask([
        [server, 'www.evil.test', A],
        [server, 'www.ok.test.svc.cluster.local', A],
        [server, 'www.ok.test.default.svc.cluster.local', A],
      ])
      expect(results.map(({ rcode }) => rcode)).toEqual([5, 3, 3])
    })

    test('an answer waits for the ledger; what it refuses or loses is SERVFAIL; what stands goes at once', async () => {
      const [slow, limited, lost] = await ask([
        [SERVER4, 'slow.ok.test', A],
        [SERVER4, 'limited.ok.test', A],
        [SERVER4, 'lost.ok.test', A],
      ])
      expect(slow!.rcode).toBe(0)
      expect(slow!.ms).toBeGreaterThan(190)
      expect(limited!.rcode).toBe(2)
      expect(lost!.rcode).toBe(2)
      expect(lost!.ms).toBeGreaterThan(290)
    })

    test('a silent server is SERVFAIL after the time-out, a malformed answer at once', async () => {
      const [silent, bad] = await ask([
        [SERVER4, 'silent.ok.test', A],
        [SERVER4, 'bad.ok.test', A],
      ])
      expect(silent!.rcode).toBe(2)
      expect(silent!.ms).toBeGreaterThan(690)
      expect(silent!.ms).toBeLessThan(1200)
      expect(bad).toMatchObject({ rcode: 2, answers: 0 })
      expect(bad!.ms).toBeLessThan(500)
    })

    test('an address that is no endpoint is refused', async () => {
      const { stdout } = await run('nsenter', inPod('dig', '-b', '10.77.0.3', '+tries=1', `@${SERVER4}`, 'www.ok.test'))
      expect(stdout).toContain('status: REFUSED')
    })

    test('two hundred at once are all answered, from many upstream ports', async () => {
      const queries = Array.from(
        { length: 200 },
        (_, i) => [i % 2 === 0 ? SERVER4 : SERVER6, `n${i}.ok.test`, A] as const,
      )
      const results = await ask(queries, 4000)
      expect(results.filter(({ rcode, answers }) => rcode === 0 && answers === 1)).toHaveLength(200)
      const state = await counted()
      expect(state.upstreamPorts).toBeGreaterThan(16)
      expect(state.path).toBe(path)
      expect(value(state, 'io_uring_workers', '')).toBe(pump === 'io_uring' ? 1 : 0)
      expect(value(state, 'rejects_total', 'udp exception')).toBe(0)
    })
  })

  describe('DNS over TCP in a pod', () => {
    test.each([
      ['IPv4', SERVER4],
      ['IPv6', SERVER6],
    ])('%s: dig takes the truncated answer to TCP and gets it whole', async (_, server) => {
      const text = await dig(`@${server}`, 'big.ok.test', 'A')
      expect(text).toContain('Truncated, retrying in TCP mode')
      expect(text).toContain('ANSWER: 100')
      expect(text).toContain(`SERVER: ${server}#53`)
      expect((await one(server, 'big.ok.test', A)).truncated).toBe(true)
    })

    test('denied, waited for, and many on one connection', async () => {
      expect(await dig('+tcp', `@${SERVER4}`, 'www.evil.test')).toContain('status: REFUSED')
      expect(await dig('+tcp', `@${SERVER4}`, 'slow.ok.test', 'AAAA')).toContain('status: NOERROR')
      expect(await dig('+tcp', `@${SERVER4}`, 'limited.ok.test')).toContain('status: SERVFAIL')
      const many = await dig('+tcp', '+keepopen', `@${SERVER4}`, 'a.ok.test', 'b.ok.test', 'c.ok.test')
      expect(many.match(/status: NOERROR/g)).toHaveLength(3)
    })

    test('EDE says why to who speaks EDNS', async () => {
      expect(await dig('+edns=0', `@${SERVER4}`, 'www.evil.test')).toMatch(/EDE: 15/)
      expect(await dig('+noedns', `@${SERVER4}`, 'www.evil.test')).not.toMatch(/EDE/)
      expect(await dig('+edns=1', '+noednsneg', `@${SERVER4}`, 'www.ok.test')).toContain('status: BADVERS')
      expect(await dig('+opcode=15', `@${SERVER4}`, 'www.ok.test')).toContain('status: NOTIMP')
    })
  })

  test('sockets towards servers carry their mark, over UDP and TCP', async () => {
    await one(SERVER4, 'www.ok.test', A)
    await dig('+tcp', `@${SERVER4}`, 'www.ok.test')
    const { stdout } = await run('nsenter', inNode('nft', 'list', 'table', 'inet', 't'))
    const counts = [...stdout.matchAll(/counter packets (\d+).*comment "(udp|tcp)"/g)]
    expect(counts.map(([, , name]) => name)).toEqual(['udp', 'tcp'])
    for (const [, packets] of counts) expect(Number(packets)).toBeGreaterThan(0)
  })

  describe('threads', () => {
    test('a new policy is in force on both as soon as they say so', async () => {
      expect(await tell({ do: 'policy', pattern: '*.new.test', generation: 2 })).toEqual({ generations: [2, 2] })
      const results = await ask([
        [SERVER4, 'www.ok.test', A],
        [SERVER4, 'www.new.test', A],
      ])
      expect(results.map(({ rcode }) => rcode)).toEqual([5, 0])
      expect(await dig('+tcp', `@${SERVER4}`, 'www.ok.test')).toContain('status: REFUSED')
      await tell({ do: 'policy', pattern: '*.ok.test', generation: 3 })
    })

    test('a worker that is ended from outside loses no query: they wait in the socket for the next', async () => {
      expect(await tell({ do: 'terminate' })).toEqual({ code: 1 })
      const answer = one(SERVER4, 'www.ok.test', A)
      await new Promise((resolve) => setTimeout(resolve, 300))
      await tell({ do: 'restart' })
      expect(await answer).toMatchObject({ rcode: 0, answers: 1 })
    })

    test('told to stop, they answer what is in flight, take nothing new, and end by themselves', async () => {
      const answer = one(SERVER4, 'late.ok.test', A)
      const overTcp = dig('+tcp', `@${SERVER4}`, 'late.ok.test')
      while (value(await counted(), 'in_flight_queries', '') < 2)
        await new Promise((resolve) => setTimeout(resolve, 20))
      const stopped = await tell({ do: 'stop' })
      expect(await answer).toMatchObject({ rcode: 0, answers: 1 })
      expect(await overTcp).toContain('status: NOERROR')
      expect(stopped).toMatchObject({ codes: [0, 0], states: [3, 3] })
      expect(stopped['ms']).toBeLessThan(2000)
      expect((await one(SERVER4, 'www.ok.test', A, 500)).rcode).toBe(-1)
      expect(said.filter(({ error }) => error !== undefined)).toEqual([])
    })
  })
})

import { afterEach, expect, test } from 'vitest'
import { run } from '../../src/cli/main.ts'
import { octets } from '../../src/cli/wg-words.ts'
import { silentLog } from '../../src/core/log.ts'
import { createHttpServer, type HttpServer } from '../../src/http/server.ts'
import { createMetrics } from '../../src/metrics/registry.ts'
import type { WgReport, WgRotationReport, WgView } from '../../src/wg/report.ts'
import { fakeAgent } from '../http/fake-agent.ts'
import { fakeSeal, KEYS, peer, report, tunnel } from '../support/wg/fake-view.ts'
import { fakeIo, type World } from './fake-io.ts'

const running: HttpServer[] = []

afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.stop()))
})

interface Ran {
  readonly status: number
  readonly out: string
  readonly err: string
}

/** A command line against the real HTTP server over a fake seal. */
async function ask(seal: WgView | undefined, line: string[], world: World = {}): Promise<Ran> {
  const server = createHttpServer({
    address: '127.0.0.1',
    port: 0,
    view: fakeAgent({ wg: () => seal }),
    metrics: createMetrics({ process: false }),
    log: silentLog,
  })
  await server.start()
  running.push(server)
  const fake = fakeIo(world)
  const real = async (url: string, init: RequestInit = {}): Promise<{ status: number; body: string }> => {
    const response = await fetch(url, init)
    return { status: response.status, body: await response.text() }
  }
  const io: typeof fake = {
    ...fake,
    get: (url) => real(url),
    post: (url, body, headers) =>
      real(url, { method: 'POST', body, headers: { ...headers, 'content-type': 'application/json' } }),
  }
  const door = { root: false, load: async () => Promise.reject(new Error('not wanted')) }
  const argv = ['wg', ...line, '--url', `http://127.0.0.1:${server.port}`]
  const status = await run(argv, io, door)
  return { status, ...fake.written }
}

test('status: a table, the lines of cilium status, and the block of encrypt status', async () => {
  const { status, out } = await ask(fakeSeal(), ['status'])
  expect(out).toBe(`seal       manage, kernel driver, domain prod, target active
node       n1 192.0.2.1
peers      1 expected, 1 active, 0 strict, 0 unproven
rotation   idle, next in 10h 0m; 1 done, the last took 7.4 s
directory  read whole, our record is published, heard 3s ago
dropped    clear text: 12 ingress IPv4

SLOT  DEVICE   PORT  GENERATION  KEY AGE  PROGRAMMED  PROVEN   MTU  MADE AGAIN  PUBLIC KEY
0     kwg0    51871           3    2h 0m         1/1     1/1  1408           0  ${KEYS.own0}
1     kwg1    51872           2   14h 0m         1/1     1/1  1408           1  ${KEYS.own1}

peers
PEER  ENDPOINT         EGRESS  MODE    SLOT 0  SLOT 1  HANDSHAKE 0  HANDSHAKE 1  RECEIVED      SENT      RTT
n2    192.0.2.2:51871  0       active  proven  proven          42s          42s   4.7 MiB  30.0 MiB  0.41 ms

Encryption: Wireguard [kwg0 (Pubkey: ${KEYS.own0}, Port: 51871, Peers: 1)]
Encryption: Wireguard [kwg1 (Pubkey: ${KEYS.own1}, Port: 51872, Peers: 1)]

Encryption: Wireguard
Interface: kwg0
\tPublic key: ${KEYS.own0}
\tNumber of peers: 1
Interface: kwg1
\tPublic key: ${KEYS.own1}
\tNumber of peers: 1

Encryption: Wireguard (2/2 nodes)
`)
  expect(status).toBe(0)
})

test('status counts the nodes that it sends to encrypted, as the command line of the cluster does', async () => {
  const peers = { expected: 6, active: 4, strict: 2, unproven: 1 }
  const { out } = await ask(fakeSeal({ report: () => report({ peers }) }), ['status'])
  expect(out.split('\n').at(-2)).toBe('Encryption: Wireguard (5/7 nodes)')
})

test('status as debuginfo has the shape of cilium-dbg, and the exit status of the table', async () => {
  const { status, out } = await ask(fakeSeal(), ['status', '-o', 'debuginfo'])
  const { wireguard } = JSON.parse(out) as { wireguard: { interfaces: { peers: object[] }[] } }
  expect(wireguard).toMatchObject({ 'node-encryption': 'Disabled' })
  expect(wireguard.interfaces.map((one) => Object.keys(one).sort())).toEqual(
    [0, 1].map(() => ['listen-port', 'name', 'peer-count', 'peers', 'public-key']),
  )
  expect(wireguard.interfaces[0]).toMatchObject({ name: 'kwg0', 'listen-port': 51_871, 'public-key': KEYS.own0 })
  expect(Object.keys(wireguard.interfaces[0]?.peers[0] ?? {}).sort()).toEqual([
    'allowed-ips',
    'endpoint',
    'last-handshake-time',
    'public-key',
    'transfer-rx',
    'transfer-tx',
  ])
  expect(status).toBe(0)
  const amiss = fakeSeal({ report: () => report({ peers: { ...report().peers, unproven: 1 } }) })
  expect((await ask(amiss, ['status', '-o', 'debuginfo'])).status).toBe(1)
  expect((await ask(fakeSeal(), ['peers', '-o', 'debuginfo'])).err).toContain('use -o table or -o json')
})

const bad: readonly (readonly [string, Partial<WgReport>, string])[] = [
  ['a peer is unproven', { peers: { ...report().peers, unproven: 1 } }, '1 unproven'],
  ['a device is missing', { slots: report().slots.map((slot) => ({ ...slot, publicKey: undefined })) }, 'missing'],
  ['the directory is lost', { directory: { ...report().directory, lost: 'EIO' } }, '! directory: EIO'],
  [
    'a record is refused',
    { directory: { ...report().directory, refused: [{ name: 'n9', reason: 'key-taken', detail: 'n2 has it' }] } },
    '! the record of n9 is refused: key-taken (n2 has it)',
  ],
]

test.each(bad)('status is 1 when %s, and says so', async (_what, over, words) => {
  const { status, out } = await ask(fakeSeal({ report: () => report(over) }), ['status'])
  expect([status, out.includes(words)]).toEqual([1, true])
})

test('status in observe mode prints findings and no rotation', async () => {
  const findings = [{ code: 'unknown-peer', peer: '', text: 'no node has the key \x1b[2J' }]
  const seal = fakeSeal({ report: () => ({ ...report({ mode: 'observe' }), findings }) })
  const { status, out } = await ask(seal, ['status'])
  expect(out).toContain('! no node has the key \\x1b[2J [unknown-peer]')
  expect(out).not.toContain('\nrotation ')
  expect(status).toBe(1)
})

test('status names the phase of a rotation and who is waited for', async () => {
  const rotation: WgRotationReport = {
    ...report().rotation,
    phase: 'draining',
    slot: 1,
    reason: 'Rotate',
    seconds: 3,
    awaited: [
      { why: 'on-slot', count: 12, names: ['n3', 'n4'] },
      { why: 'unheard', count: 0, names: [] },
    ],
    queue: [{ slot: 0, reason: 'Compromise' }],
  }
  const { out } = await ask(fakeSeal({ report: () => report({ rotation }) }), ['status'])
  expect(out).toContain(
    'draining slot 1 (Rotate) for 3s, waits for 12 on-slot (n3, n4, ...); then slot 0 (Compromise); 1 done',
  )
})

test('-o json is what the agent said', async () => {
  const status = JSON.parse((await ask(fakeSeal(), ['status', '-o', 'json'])).out) as Record<string, unknown>
  expect(status).toMatchObject({ node: 'n1', slots: [{ device: 'kwg0' }, {}], worst: [{ name: 'n2' }] })
  const peers = JSON.parse((await ask(fakeSeal(), ['peers', '-o', 'json'])).out) as Record<string, unknown>
  expect(peers).toMatchObject({ peers: [{ name: 'n2' }] })
  const keys = JSON.parse((await ask(fakeSeal(), ['keys', '-o', 'json'])).out) as Record<string, unknown>
  expect(keys).toEqual({ events: fakeSeal().keyEvents() })
  const why = JSON.parse((await ask(fakeSeal(), ['why', 'n2', '-o', 'json'])).out) as Record<string, unknown>
  expect(why).toMatchObject({ peer: 'n2', verdict: 'encrypted', remedies: [] })
})

test('peers come from all pages, in columns, and cannot drive the terminal', async () => {
  const many = Array.from({ length: 2300 }, (_, i) =>
    peer({ uid: `u${i}`, name: `node-${String(i).padStart(4, '0')}` }),
  )
  many[7] = peer({ uid: 'u7', name: 'evil\x1b[2J', tunnels: [tunnel(0, { state: 'dead', rttMs: undefined })] })
  const { out } = await ask(fakeSeal({ peers: () => many }), ['peers', '--worst'])
  const lines = out.trimEnd().split('\n')
  expect(lines).toHaveLength(2301)
  expect(lines[1]).toMatch(/^evil\\x1b\[2J +192\.0\.2\.2:51871 +0 +active +dead +- +42s +- +2\.3 MiB +15\.0 MiB +-$/)
  expect((await ask(fakeSeal({ peers: () => [] }), ['peers'])).out).toBe('no peers\n')
  const odd = peer({ mode: 'x\x07' as never, tunnels: [tunnel(0, { state: 'y\x07' as never, endpoint: 'z\x07' })] })
  expect((await ask(fakeSeal({ peers: () => [odd] }), ['peers'])).out).not.toContain('\x07')
})

test('why tells which port is shut and the rule that is missing', async () => {
  const shut = { state: 'installed', handshakeAgeSeconds: undefined, rxBytes: 0, txBytes: 2960 } as const
  const far = peer({ mode: 'off', announced: undefined, tunnels: [tunnel(0, shut), tunnel(1, shut)] })
  const { status, out } = await ask(fakeSeal({ peers: () => [far] }), ['why', 'uid-2'])
  expect(status).toBe(1)
  expect(out).toContain('n2: in the clear\n')
  expect(out).toContain('slot 0: no handshake: 2960 octets went to 192.0.2.2:51871, none came back')
  expect(out).toContain('to do\n  - allow UDP 51871-51872 from 192.0.2.1 to 192.0.2.2 and back\n')
})

test('why of a peer that nobody knows, of a good one, and of an observed one', async () => {
  const unknown = await ask(fakeSeal(), ['why', '../n7'])
  expect([unknown.status, unknown.out.split('\n')[0]]).toEqual([1, '../n7: no peer'])
  expect((await ask(fakeSeal(), ['why', 'n2'])).status).toBe(0)
  const findings = [{ code: 'never-handshaken', peer: 'n2', text: 'no handshake with n2' }]
  const seal = fakeSeal({ report: () => ({ ...report({ mode: 'observe' }), findings }) })
  const observed = await ask(seal, ['why', 'n2'])
  expect([observed.status, observed.out]).toEqual([1, 'fault  no handshake with n2 [never-handshaken]\n'])
})

test('keys are listed', async () => {
  expect((await ask(fakeSeal(), ['keys'])).out).toBe(
    `TIME                      EVENT    SLOT  FINGERPRINT
2026-01-02T03:04:05.000Z  created  0     SHA256:2jmj7l5rSw0yVb/vlWAYkK/YBwk
`,
  )
})

test.each([['status'], ['peers'], ['keys'], ['why', 'n2'], ['rotate']])(
  'wg %s while encryption is off: 1, and what to set',
  async (...line) => {
    const { status, out, err } = await ask(undefined, line)
    expect([status, out, err]).toEqual([1, '', 'sekisho: encryption is off on this node [SEKISHO_HTTP_WG_OFF]\n'])
  },
)

test.each([['status'], ['peers'], ['keys'], ['why', 'n2'], ['rotate']])(
  'wg %s with nobody there: 69',
  async (...line) => {
    const io = fakeIo()
    const door = { root: false, load: async () => Promise.reject(new Error('not wanted')) }
    expect(await run(['wg', ...line], io, door)).toBe(69)
    expect(io.written.err).toContain('[SEKISHO_CLI_UNREACHABLE]')
  },
)

/** A seal whose rotation goes on by a step each time it is looked at, once it was asked for. */
function rotating(steps: readonly Partial<WgRotationReport>[], newKeyAt = steps.length): WgView {
  let at = -1
  const seal = fakeSeal({
    report() {
      if (seal.rotations.length > 0) at++
      const rotation: WgRotationReport = { ...report().rotation, slot: 1, reason: 'Rotate', ...steps[at] }
      const slots = report().slots.map((slot) =>
        slot.slot === 1 && at >= newKeyAt ? { ...slot, generation: 3 } : slot,
      )
      const after = at < 0 || at >= steps.length ? report().rotation : rotation
      return report({ rotation: after, slots, peers: { expected: 5, active: 5, strict: 0, unproven: 0 } })
    },
  })
  return seal
}

const STEPS: readonly Partial<WgRotationReport>[] = [
  { phase: 'idle', slot: undefined },
  { phase: 'waiting', awaited: [{ why: 'unproven', count: 1, names: ['n3'] }] },
  { phase: 'draining', awaited: [{ why: 'on-slot', count: 2, names: ['n3', 'n4'] }] },
  { phase: 'draining', awaited: [{ why: 'on-slot', count: 2, names: ['n3', 'n4'] }] },
  { phase: 'rekeying' },
  { phase: 'settling', awaited: [{ why: 'unsettled', count: 1, names: ['n\x1b[2J'] }] },
]

test('rotate tells each step once, and ends when the key is new and all is quiet', async () => {
  const { status, out } = await ask(rotating(STEPS, 4), ['rotate'])
  expect(out.split('\n')).toEqual([
    'the rotation is asked for',
    'waiting slot 1: awaits 1 unproven (n3)',
    'draining slot 1: 3/5 drained; awaits 2 on-slot (n3, n4)',
    'rekeying slot 1: all drained',
    'settling slot 1: 1/5 proven; awaits 1 unsettled (n\\x1b[2J)',
    'done in 3.0 s: slot 1 has key generation 3',
    '',
  ])
  expect(status).toBe(0)
})

test('on a terminal the progress is one line, no wider than it', async () => {
  const { out } = await ask(rotating(STEPS, 4), ['rotate'], { columns: 30 })
  expect(out.split('\n')).toHaveLength(2)
  const shown = out.split('\r\x1b[K').slice(1)
  expect(shown).toContain('waiting slot 1: awaits 1 unpr')
  expect(shown.at(-1)).toBe('done in 3.0 s: slot 1 has key generation 3\n')
})

test('rotate that is not done in time: 1, and what it waits for', async () => {
  const stuck = Array.from({ length: 100 }, () => STEPS[1] ?? {})
  const { status, out, err } = await ask(rotating(stuck), ['rotate', '--timeout', '25s'])
  expect(status).toBe(1)
  expect(err).toBe('sekisho: not done in 25 s: waiting slot 1: awaits 1 unproven (n3); the agent goes on with it\n')
  expect(out.trimEnd().split('\n')).toHaveLength(3)
})

test('a compromise waits for both keys', async () => {
  const seal = rotating([], 0)
  const { status } = await ask(seal, ['rotate', '--compromised', '--timeout', '2s'])
  expect(status).toBe(1)
  expect((seal as ReturnType<typeof fakeSeal>).rotations).toEqual([true])
})

test('--no-wait returns when it is taken on; -o json tells the end only', async () => {
  const seal = fakeSeal()
  const { status, out } = await ask(seal, ['rotate', '--no-wait'])
  expect([status, out, seal.rotations]).toEqual([
    0,
    'the agent rotates; sekisho wg status shows how far it is\n',
    [false],
  ])
  const json = await ask(rotating(STEPS, 4), ['rotate', '-o', 'json'])
  expect(JSON.parse(json.out)).toMatchObject({ done: true, slots: [1], seconds: 3 })
})

test('what is only observed is not rotated', async () => {
  const seal = fakeSeal({ report: () => report({ mode: 'observe' }) })
  const { status, err } = await ask(seal, ['rotate'])
  expect([status, seal.rotations]).toEqual([1, []])
  expect(err).toContain('[SEKISHO_HTTP_WG_OBSERVED]')
})

test.each([
  [['why'], 'which peer?'],
  [['why', 'a', 'b'], 'unexpected argument b'],
  [['peers', 'n2'], 'unexpected argument n2'],
  [['status', '-o', 'yaml'], 'unknown output yaml'],
  [['rotate', '--timeout', 'soon'], '"soon" is no duration'],
])('wg %j is a wrong command line', async (line, words) => {
  const { status, err } = await ask(fakeSeal(), line)
  expect([status, err.includes(words)]).toEqual([2, true])
})

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1024, '1.0 KiB'],
  [5_000_000_000, '4.7 GiB'],
])('%d octets are %s', (count, text) => {
  expect(octets(count)).toBe(text)
})

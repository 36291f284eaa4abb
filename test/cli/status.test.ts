import { expect, test } from 'vitest'
import { status, uptime } from '../../src/cli/status.ts'
import type { AgentView } from '../../src/http/ports.ts'
import { fakeAgent } from '../http/fake-agent.ts'
import { fakeIo, type FakeIo } from './fake-io.ts'

const BASE = 'http://127.0.0.1:9876'

function ioOf(over: Partial<AgentView> = {}, colour = false, base = BASE): FakeIo {
  const view = fakeAgent(over)
  const latches = view.readiness()
  const ready = latches.every((latch) => latch.ready)
  return fakeIo({
    colour,
    answers: {
      [`${base}/v1/status`]: { status: 200, body: { ...view.status(), ready } },
      [`${base}/readyz`]: { status: ready ? 200 : 503, body: { ready, latches } },
      [`${base}/v1/policy`]: { status: 200, body: view.policy() },
      [`${base}/v1/endpoints`]: { status: 200, body: { endpoints: view.endpoints() } },
    },
  })
}

test('an agent that is ready: 0 and aligned tables', async () => {
  const io = ioOf()
  expect(await status([], io)).toBe(0)
  expect(io.written.out).toBe(`state      ready
node       n1, mode standalone
agent      0.1.0, pid 7, up 1m 1s
policy     generation 3, 2 rules in 1 files
endpoints  2 known, 1 enforced
names      5 entries, 2 identities

THREAD  STATE              GENERATION  RESTARTS
dns-0   running, io_uring           3         0

ID  ENDPOINT   POLICY    PROGRAM   DROPS  ADDRESSES
 1  shop/cart  enforced  attached      4  10.0.0.2 fd00::2
`)
})

test('an agent that is not ready: 1, and what it waits for', async () => {
  const io = ioOf({ readiness: () => [{ name: 'policy', ready: false, reason: 'p.yaml:1:1: bad' }] })
  expect(await status([], io)).toBe(1)
  expect(io.written.out).toContain('state      not ready')
  expect(io.written.out).toContain('! waits for policy: p.yaml:1:1: bad')
})

test('nobody there: 69 and why', async () => {
  const io = fakeIo()
  expect(await status([], io)).toBe(69)
  expect(io.written.err).toContain('ECONNREFUSED [SEKISHO_CLI_UNREACHABLE]')
  expect(io.written.out).toBe('')
})

test('-o json is the whole report', async () => {
  const io = ioOf()
  expect(await status(['-o', 'json'], io)).toBe(0)
  const report = JSON.parse(io.written.out) as Record<string, unknown>
  expect(Object.keys(report)).toEqual(['status', 'readiness', 'policy', 'endpoints'])
  expect(report['endpoints']).toEqual(fakeAgent().endpoints())
})

test('the address comes from --url, the configuration or the environment', async () => {
  const elsewhere = 'http://[::1]:7'
  expect(await status(['--url', `${elsewhere}/`], ioOf({}, false, elsewhere))).toBe(0)
  const configured = ioOf({}, false, elsewhere)
  const text = 'datapath: { endpoints: /e }\npolicy: { paths: [/p] }\nhttp: { address: "::1", port: 7 }'
  expect(await status(['-c', '/c'], { ...configured, readText: async () => text })).toBe(0)
  const env = { SEKISHO_HTTP_ADDRESS: '::1', SEKISHO_HTTP_PORT: '7' }
  expect(await status([], { ...ioOf({}, false, elsewhere), env })).toBe(0)
})

test('colours only where the terminal shows them, and columns stay aligned', async () => {
  const [plain, painted] = [ioOf(), ioOf({}, true)]
  await status([], plain)
  await status([], painted)
  expect(plain.written.out).not.toContain('\x1b')
  expect(painted.written.out).toContain('\x1b[32mready\x1b[0m')
  expect(painted.written.out.replaceAll(/\x1b\[\d+m/g, '')).toBe(plain.written.out)
})

test('text from outside cannot drive the terminal', async () => {
  const io = ioOf({
    policy: () => ({
      ...fakeAgent().policy(),
      problems: [{ file: 'p\x1b[2J', line: 1, column: 1, severity: 'error', message: 'x\x07' }],
    }),
  })
  await status([], io)
  expect(io.written.out).toContain('p\\x1b[2J:1:1: x\\x07')
})

test.each([
  [0.4, '0s'],
  [61, '1m 1s'],
  [3600, '1h 0m'],
  [200_000, '2d 7h'],
])('%d s is %s', (seconds, text) => {
  expect(uptime(seconds)).toBe(text)
})

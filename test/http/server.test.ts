import { connect } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { silentLog, type Log } from '../../src/core/log.ts'
import { createMetrics } from '../../src/metrics/registry.ts'
import type { AgentView } from '../../src/http/ports.ts'
import { createHttpServer, type HttpServer } from '../../src/http/server.ts'
import { fakeAgent } from './fake-agent.ts'

const running: HttpServer[] = []

afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.stop()))
})

async function serve(
  over: Partial<AgentView> = {},
  log: Log = silentLog,
): Promise<{ server: HttpServer; base: string }> {
  const metrics = createMetrics({ process: false })
  const server = createHttpServer({ address: '127.0.0.1', port: 0, view: fakeAgent(over), metrics, log })
  metrics.add(server.source)
  await server.start()
  running.push(server)
  return { server, base: `http://127.0.0.1:${server.port}` }
}

const getJson = async (url: string): Promise<{ status: number; type: string; body: Record<string, unknown> }> => {
  const response = await fetch(url)
  const body = (await response.json()) as Record<string, unknown>
  return { status: response.status, type: response.headers.get('content-type') ?? '', body }
}

test('readiness names what is not ready', async () => {
  const { base } = await serve({
    readiness: () => [
      { name: 'datapath', ready: true },
      { name: 'policy', ready: false, reason: 'p.yaml:3:1: unknown field' },
    ],
  })
  const { status, body } = await getJson(`${base}/readyz`)
  expect(status).toBe(503)
  expect(body).toEqual({
    ready: false,
    latches: [
      { name: 'datapath', ready: true },
      { name: 'policy', ready: false, reason: 'p.yaml:3:1: unknown field' },
    ],
  })
})

test('a lame duck is alive and not ready', async () => {
  const { server, base } = await serve()
  expect((await getJson(`${base}/readyz`)).status).toBe(200)
  server.lameduck()
  const { status, body } = await getJson(`${base}/readyz`)
  expect(status).toBe(503)
  expect(body['latches']).toContainEqual({ name: 'lameduck', ready: false, reason: 'the agent is stopping' })
  expect((await getJson(`${base}/livez`)).status).toBe(200)
  expect((await getJson(`${base}/v1/status`)).body['ready']).toBe(false)
})

test.each(['/v1/status', '/v1/endpoints', '/v1/policy', '/v1/drops', '/v1/names?endpoint=shop/cart'])(
  '%s answers with JSON that must not be cached',
  async (path) => {
    const { base } = await serve()
    const response = await fetch(base + path)
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toContain('application/json')
    expect(response.headers.get('cache-control')).toBe('no-store')
  },
)

test('an answer carries what its schema lists and nothing else', async () => {
  const endpoint = { ...fakeAgent().endpoints()[0], privateKey: 'secret' }
  const { base } = await serve({ endpoints: () => [endpoint as never] })
  const text = await (await fetch(`${base}/v1/endpoints`)).text()
  expect(text).not.toContain('secret')
  expect(JSON.parse(text)).toEqual({ endpoints: fakeAgent().endpoints() })
})

test('names come in pages', async () => {
  const { base } = await serve()
  const { body } = await getJson(`${base}/v1/names?endpoint=shop/cart&offset=1&limit=1`)
  expect(body).toMatchObject({ endpoint: 'shop/cart', total: 2, offset: 1 })
  expect(body['names']).toEqual([{ name: 'b.example.', address: '192.0.2.2', secondsLeft: 8, identity: 16777218 }])
})

test.each([
  ['/v1/names', 400, 'SEKISHO_HTTP_PARAMETER'],
  ['/v1/names?endpoint=shop/cart&limit=0', 400, 'SEKISHO_HTTP_PARAMETER'],
  ['/v1/names?endpoint=shop/cart&limit=1001', 400, 'SEKISHO_HTTP_PARAMETER'],
  ['/v1/names?endpoint=shop/cart&offset=-1', 400, 'SEKISHO_HTTP_PARAMETER'],
  ['/v1/drops?limt=5', 400, 'SEKISHO_HTTP_PARAMETER'],
  ['/v1/names?endpoint=shop/none', 404, 'SEKISHO_HTTP_NOT_FOUND'],
  ['/v2/status', 404, 'SEKISHO_HTTP_NOT_FOUND'],
  ['/v1/%zz', 400, 'SEKISHO_HTTP_REQUEST'],
])('%s is a problem with status %i and a code', async (path, status, code) => {
  const { base } = await serve()
  const answer = await getJson(base + path)
  expect(answer.type).toContain('application/problem+json')
  expect(answer).toMatchObject({ status, body: { status, code } })
})

test.each(['POST', 'PUT', 'DELETE', 'PATCH'])('%s is refused and says what is allowed', async (method) => {
  const { base } = await serve()
  const response = await fetch(`${base}/v1/policy`, { method, body: 'x'.repeat(100) })
  expect(response.status).toBe(405)
  expect(response.headers.get('allow')).toBe('GET, HEAD')
})

test('a ledger that does not answer is 503, a fault of ours is 500, and neither tells of the inside', async () => {
  const seen: string[] = []
  const log: Log = { ...silentLog, error: (_fields, message) => seen.push(message) }
  const { base } = await serve(
    {
      names: async () => Promise.reject(new Error('ring full at 0xdead')),
      policy: () => {
        throw new Error('inner detail')
      },
    },
    log,
  )
  const names = await getJson(`${base}/v1/names?endpoint=shop/cart`)
  expect(names).toMatchObject({ status: 503, body: { code: 'SEKISHO_HTTP_UNAVAILABLE' } })
  const policy = await getJson(`${base}/v1/policy`)
  expect(policy).toMatchObject({ status: 500, body: { code: 'SEKISHO_HTTP_INTERNAL' } })
  expect(JSON.stringify([names, policy])).not.toMatch(/0xdead|inner detail/)
  expect(seen).toEqual(['a request failed'])
})

test('requests are counted by route and class, unknown paths under one label', async () => {
  const { base } = await serve()
  await fetch(`${base}/livez`)
  await fetch(`${base}/secret/${'x'.repeat(50)}`)
  await fetch(`${base}/v1/names`)
  const text = await (await fetch(`${base}/metrics`)).text()
  expect(text).toContain('sekisho_http_requests_total{route="/livez",status="2xx"} 1')
  expect(text).toContain('sekisho_http_requests_total{route="other",status="4xx"} 1')
  expect(text).toContain('sekisho_http_requests_total{route="/v1/names",status="4xx"} 1')
  expect(text).not.toContain('secret')
})

test('headers beyond the limit are refused', async () => {
  const { base } = await serve()
  const response = await fetch(`${base}/livez`, { headers: { 'x-long': 'y'.repeat(10_000) } })
  expect(response.status).toBe(431)
})

test('a stop ends idle connections at once', async () => {
  const { server } = await serve()
  const socket = connect(server.port, '127.0.0.1')
  await new Promise((done) => socket.once('connect', done))
  const closed = new Promise((done) => socket.once('close', done))
  const before = performance.now()
  await server.stop()
  await closed
  expect(performance.now() - before).toBeLessThan(1000)
})

test('an address in use is an error with a code and a hint', async () => {
  const { server } = await serve()
  const second = createHttpServer({
    address: '127.0.0.1',
    port: server.port,
    view: fakeAgent(),
    metrics: createMetrics({ process: false }),
    log: silentLog,
  })
  await expect(second.start()).rejects.toMatchObject({
    code: 'SEKISHO_HTTP_LISTEN',
    hint: expect.any(String) as string,
  })
  await second.stop()
})

test('on loopback, a name that was made to resolve here is refused', async () => {
  const { server } = await serve()
  const ask = (host: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect(server.port, '127.0.0.1', () =>
        socket.write(`GET /v1/status HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`),
      )
      let text = ''
      socket.setEncoding('utf8').on('data', (more: string) => (text += more))
      socket.on('end', () => resolve(text.split('\r\n')[0] ?? '')).on('error', reject)
    })
  for (const host of ['127.0.0.1', `127.0.0.1:${server.port}`, 'localhost:1', '[::1]:9876', '10.0.0.1'])
    expect(await ask(host), host).toBe('HTTP/1.1 200 OK')
  for (const host of ['evil.example', 'evil.example:9876', 'localhost.evil.example', ''])
    expect(await ask(host), host).toBe('HTTP/1.1 403 Forbidden')
})

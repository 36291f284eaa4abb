import { afterEach, expect, test } from 'vitest'
import { silentLog } from '../../src/core/log.ts'
import { createHttpServer, type HttpServer } from '../../src/http/server.ts'
import { createMetrics } from '../../src/metrics/registry.ts'
import type { WgPeerReport, WgView } from '../../src/wg/report.ts'
import { fakeSeal, KEYS, peer, report, tunnel } from '../support/wg/fake-view.ts'
import { fakeAgent } from './fake-agent.ts'

const running: HttpServer[] = []

afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.stop()))
})

const NOW = Date.UTC(2026, 0, 2, 3, 4, 5)

async function serve(seal: WgView | undefined): Promise<string> {
  const server = createHttpServer({
    address: '127.0.0.1',
    port: 0,
    view: fakeAgent({ wg: () => seal }),
    metrics: createMetrics({ process: false }),
    log: silentLog,
    clock: { wallMs: () => NOW },
  })
  await server.start()
  running.push(server)
  return `http://127.0.0.1:${server.port}`
}

const get = async (url: string): Promise<{ status: number; body: Record<string, unknown> }> => {
  const response = await fetch(url)
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

const GOOD = { 'content-type': 'application/json', 'x-sekisho-request': '1' }
const rotate = (base: string, headers: Record<string, string>, body = '{}', method = 'POST'): Promise<Response> =>
  fetch(`${base}/v1/wg/rotate`, { method, headers, body })

const PATHS = ['/v1/wg', '/v1/wg/peers', '/v1/wg/peers/n2', '/v1/wg/keys', '/v1/wg/debuginfo']

test.each(PATHS)('%s says that encryption is off', async (path) => {
  const { status, body } = await get((await serve(undefined)) + path)
  expect([status, body['code']]).toEqual([404, 'SEKISHO_HTTP_WG_OFF'])
})

test('a rotation cannot be asked for while encryption is off', async () => {
  const response = await rotate(await serve(undefined), GOOD)
  expect(response.status).toBe(404)
  expect(await response.json()).toMatchObject({ code: 'SEKISHO_HTTP_WG_OFF' })
})

test('the report, the peer and the key log come whole', async () => {
  const findings = [{ code: 'unknown-peer', peer: '', text: 'x' }]
  const seal = fakeSeal({ report: () => ({ ...report(), findings }) })
  const base = await serve(seal)
  const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value))
  expect((await get(`${base}/v1/wg`)).body).toEqual(plain(seal.report()))
  expect((await get(`${base}/v1/wg/peers/n2`)).body).toEqual(plain(peer()))
  expect((await get(`${base}/v1/wg/peers/uid-2`)).body).toEqual(plain(peer()))
  expect((await get(`${base}/v1/wg/keys`)).body).toEqual({ events: seal.keyEvents() })
})

test('what the schemas do not list stays inside', async () => {
  const leaky = { ...peer(), tunnels: [{ ...tunnel(0), presharedKey: 'secret' }] }
  const base = await serve(fakeSeal({ peers: () => [leaky], report: () => ({ ...report(), privateKey: 'secret' }) }))
  for (const path of PATHS) expect(await (await fetch(base + path)).text()).not.toContain('secret')
})

test('peers come in pages, by name or the worst first', async () => {
  const broken: WgPeerReport = peer({ uid: 'u9', name: 'n9', tunnels: [tunnel(0, { state: 'dead' }), tunnel(1)] })
  const excused: WgPeerReport = { ...broken, uid: 'u1', name: 'n1', excused: true }
  const half: WgPeerReport = peer({ uid: 'u5', name: 'n5', tunnels: [tunnel(0), tunnel(1, { state: 'installed' })] })
  const lossy: WgPeerReport = peer({ uid: 'u4', name: 'n4', tunnels: [tunnel(0, { probesLost: 1 }), tunnel(1)] })
  const base = await serve(fakeSeal({ peers: () => [half, broken, peer(), excused, lossy] }))
  const names = async (query: string): Promise<unknown> => {
    const { body } = await get(`${base}/v1/wg/peers${query}`)
    return { ...body, peers: (body['peers'] as WgPeerReport[]).map(({ name }) => name) }
  }
  expect(await names('')).toEqual({ total: 5, offset: 0, peers: ['n1', 'n2', 'n4', 'n5', 'n9'] })
  expect(await names('?order=worst')).toEqual({ total: 5, offset: 0, peers: ['n9', 'n1', 'n5', 'n4', 'n2'] })
  expect(await names('?order=worst&offset=1&limit=2')).toEqual({ total: 5, offset: 1, peers: ['n1', 'n5'] })
  expect((await get(`${base}/v1/wg/peers?limit=1001`)).status).toBe(400)
  expect((await get(`${base}/v1/wg/peers?order=best`)).status).toBe(400)
})

test('an unknown peer is not found, and a name longer than a name can be is no request', async () => {
  const base = await serve(fakeSeal())
  expect(await get(`${base}/v1/wg/peers/n7`)).toMatchObject({
    status: 404,
    body: { code: 'SEKISHO_HTTP_NOT_FOUND', detail: 'no peer n7' },
  })
  expect((await get(`${base}/v1/wg/peers/${'x'.repeat(254)}`)).status).toBe(400)
})

test('debuginfo has the shape of cilium-dbg', async () => {
  const never = tunnel(0, { publicKey: KEYS.n3, handshakeAgeSeconds: undefined, endpoint: undefined, rxBytes: 0 })
  const absent = tunnel(1, { state: 'absent', publicKey: undefined })
  const peers = [peer(), peer({ uid: 'u3', name: 'n3', tunnels: [never, absent] })]
  const { body } = await get(`${await serve(fakeSeal({ peers: () => peers }))}/v1/wg/debuginfo`)
  const common = { 'allowed-ips': ['10.1.2.0/24', 'fd00:2::/64'], 'transfer-tx': 15_746_568 }
  const n2 = {
    ...common,
    'last-handshake-time': '2026-01-02T03:03:22.500Z',
    'public-key': KEYS.n2,
    'transfer-rx': 2_457_024,
  }
  expect(body).toEqual({
    wireguard: {
      interfaces: [
        {
          'listen-port': 51_871,
          name: 'kwg0',
          'peer-count': 1,
          peers: [
            { ...n2, endpoint: '192.0.2.2:51871' },
            {
              ...common,
              'last-handshake-time': '0001-01-01T00:00:00.000Z',
              'public-key': KEYS.n3,
              'transfer-rx': 0,
            },
          ],
          'public-key': KEYS.own0,
        },
        {
          'listen-port': 51_872,
          name: 'kwg1',
          'peer-count': 1,
          peers: [{ ...n2, endpoint: '192.0.2.2:51872' }],
          'public-key': KEYS.own1,
        },
      ],
      'node-encryption': 'Disabled',
    },
  })
})

test('a rotation is accepted, and handed on once', async () => {
  const seal = fakeSeal()
  const base = await serve(seal)
  const plain = await rotate(base, GOOD)
  expect([plain.status, await plain.json()]).toEqual([202, { accepted: true, compromised: false }])
  const urgent = await rotate(
    base,
    { ...GOOD, 'content-type': 'application/json; charset=utf-8' },
    '{"compromised":true}',
  )
  expect([urgent.status, await urgent.json()]).toEqual([202, { accepted: true, compromised: true }])
  expect(seal.rotations).toEqual([false, true])
})

test.each([
  ['without the header', { 'content-type': 'application/json' }, 403, 'SEKISHO_HTTP_FORGED'],
  ['with another value', { ...GOOD, 'x-sekisho-request': 'yes' }, 403, 'SEKISHO_HTTP_FORGED'],
  ['of a page of another site', { ...GOOD, origin: 'https://evil.example' }, 403, 'SEKISHO_HTTP_FORGED'],
  ['of a page that took our address', { ...GOOD, 'sec-fetch-site': 'same-origin' }, 403, 'SEKISHO_HTTP_FORGED'],
  ['as a form sends it', { ...GOOD, 'content-type': 'text/plain' }, 415, 'SEKISHO_HTTP_REQUEST'],
  ['of no type', { ...GOOD, 'content-type': '' }, 415, 'SEKISHO_HTTP_REQUEST'],
])('a rotation %s is refused', async (_what, headers, status, code) => {
  const seal = fakeSeal()
  const response = await rotate(await serve(seal), headers, '{"compromised":true}')
  expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([status, code])
  expect(response.headers.get('access-control-allow-origin')).toBeNull()
  expect(seal.rotations).toEqual([])
})

test.each([
  ['no JSON', '{', 400],
  ['nothing', '', 400],
  ['no object', '[]', 400],
  ['an unknown field', '{"force":true}', 400],
  ['a wrong type', '{"compromised":"soon"}', 400],
  ['prototype poison', '{"__proto__":{"compromised":true}}', 400],
  ['too much', `{${' '.repeat(300)}}`, 413],
])('a body that is %s is refused', async (_what, body, status) => {
  const seal = fakeSeal()
  expect((await rotate(await serve(seal), GOOD, body)).status).toBe(status)
  expect(seal.rotations).toEqual([])
})

test('a page that asks whether it may is not told so', async () => {
  const base = await serve(fakeSeal())
  const response = await fetch(`${base}/v1/wg/rotate`, {
    method: 'OPTIONS',
    headers: { 'access-control-request-method': 'POST', 'access-control-request-headers': 'x-sekisho-request' },
  })
  expect(response.status).toBe(405)
  expect(response.headers.get('access-control-allow-headers')).toBeNull()
})

test('only POST rotates, and only rotate is for POST', async () => {
  const seal = fakeSeal()
  const base = await serve(seal)
  const read = await fetch(`${base}/v1/wg/rotate`)
  expect([read.status, read.headers.get('allow')]).toEqual([405, 'POST'])
  const write = await fetch(`${base}/v1/wg`, { method: 'POST', headers: GOOD, body: '{}' })
  expect([write.status, write.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
  expect(seal.rotations).toEqual([])
})

test('what another manager owns is not rotated', async () => {
  const seal = fakeSeal({ report: () => report({ mode: 'observe' }) })
  const response = await rotate(await serve(seal), GOOD)
  expect(response.status).toBe(409)
  expect(await response.json()).toMatchObject({ code: 'SEKISHO_HTTP_WG_OBSERVED' })
  expect(seal.rotations).toEqual([])
})

import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { exchange } from '../../src/cli/exchange.ts'

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('a GET gives status and text, whole letters over the borders of parts', async () => {
  const text = Buffer.from('{"pod":"\u95a2\u6240"}')
  const base = await serve((request, response) => {
    expect([request.method, request.url]).toEqual(['GET', '/v1/x?limit=2'])
    response.writeHead(503)
    // Amid the first letter.
    response.write(text.subarray(0, 9), () => response.end(text.subarray(9)))
  })
  expect(await exchange(`${base}/v1/x?limit=2`, { method: 'GET', timeoutMs: 2000 })).toEqual({
    status: 503,
    body: text.toString(),
  })
})

test('a POST sends its body and headers', async () => {
  let seen = ''
  const base = await serve((request, response) => {
    request.setEncoding('utf8').on('data', (part: string) => (seen += part))
    request.on('end', () => response.writeHead(202).end(String(request.headers['x-one'])))
  })
  const answer = await exchange(base, { method: 'POST', headers: { 'x-one': '1' }, body: '{"a":1}', timeoutMs: 2000 })
  expect([seen, answer]).toEqual(['{"a":1}', { status: 202, body: '1' }])
})

test.each([
  ['before its head', (): void => {}],
  ['amid its body', (_: unknown, response: { write(text: string): unknown }): void => void response.write('{')],
])('an answer that stops %s ends in time', async (_, listener) => {
  const base = await serve(listener)
  await expect(exchange(base, { method: 'GET', timeoutMs: 200 })).rejects.toThrow('no answer in 0.2 s')
})

test('an answer that is cut off is none', async () => {
  const base = await serve((_, response) => {
    response.writeHead(200, { 'content-length': '10' })
    response.write('{}', () => response.destroy())
  })
  await expect(exchange(base, { method: 'GET', timeoutMs: 2000 })).rejects.toMatchObject({ code: 'ECONNRESET' })
})

test('a redirect is not followed', async () => {
  let asked = 0
  const base = await serve((_, response) => {
    asked++
    response.writeHead(302, { location: '/elsewhere' }).end()
  })
  await expect(exchange(base, { method: 'GET', timeoutMs: 2000 })).rejects.toThrow('a redirect (302)')
  expect(asked).toBe(1)
})

test('an answer without end is given up', { timeout: 20_000 }, async () => {
  const base = await serve((_, response) => {
    const part = Buffer.alloc(1 << 20)
    const more = (): void => {
      while (response.write(part)) continue
      response.once('drain', more)
    }
    more()
  })
  await expect(exchange(base, { method: 'GET', timeoutMs: 15_000 })).rejects.toThrow('longer than 67108864 octets')
})

test.each([
  ['http://127.0.0.1:1', 'ECONNREFUSED'],
  ['https://127.0.0.1:1', 'ECONNREFUSED'],
  ['nowhere', 'ERR_INVALID_URL'],
  ['ftp://127.0.0.1', 'ERR_INVALID_PROTOCOL'],
])('%s: %s', async (url, code) => {
  await expect(exchange(url, { method: 'GET', timeoutMs: 2000 })).rejects.toMatchObject({ code })
})

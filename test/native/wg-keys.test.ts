import { createPrivateKey, createPublicKey } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { loadNative } from '../../src/native/load.ts'
import { attribute, attributeNested, attributeString, concatBytes } from '../../src/netlink/attributes.ts'
import { encodeMessage, splitMessages } from '../../src/netlink/message.ts'
import { openDescriptors } from './support.ts'

const native = loadNative()
const secret = new Uint8Array(32).fill(0x22)
const open = new Uint8Array(32).fill(0x33)

const dump = (...attributes: Uint8Array[]): Uint8Array =>
  encodeMessage(0x1e, 2, 1, [Uint8Array.of(0, 1, 0, 0), ...attributes])
const device = dump(
  attributeString(2, 'wg0'),
  attribute(3, secret),
  attribute(4, open),
  attributeNested(8, [
    attributeNested(0, [attribute(1, open), attribute(2, secret), attribute(3, open.subarray(0, 4))]),
    attributeNested(1, [attribute(1, open), attribute(2, secret)]),
  ]),
)
const has = (bytes: Uint8Array, octet: number): number => bytes.filter((one) => one === octet).length

describe('dumps of the kernel', () => {
  test('private and preshared keys are zeroed, everything else stays', () => {
    const blanked = concatBytes([device, device])
    native.wgBlank(blanked)
    expect(has(blanked, 0x22)).toBe(0)
    const expected = concatBytes([device, device]).map((octet) => (octet === 0x22 ? 0 : octet))
    expect(blanked).toEqual(expected)
  })

  test('what cannot be parsed is zeroed from there on', () => {
    const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer)
    // The first attribute of the message, and then the message itself, say more than there is.
    const attributes = device.slice()
    view(attributes).setUint16(20, 0xfff0, true)
    native.wgBlank(attributes)
    expect(attributes.subarray(20).every((octet) => octet === 0)).toBe(true)
    const whole = device.slice()
    view(whole).setUint32(0, device.length + 4, true)
    native.wgBlank(whole)
    expect(whole.every((octet) => octet === 0)).toBe(true)
  })

  test('a message that is cut anywhere lets no octet of a key through', () => {
    for (let length = 16; length < device.length; length++) {
      const cut = device.slice(0, length)
      new DataView(cut.buffer).setUint32(0, length, true)
      native.wgBlank(cut)
      expect(has(cut.subarray(16), 0x22), `cut to ${length}`).toBe(0)
    }
  })

  test('any octets at all are survived', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 512 }), (bytes) => {
        native.wgBlank(bytes)
      }),
      { numRuns: 2000 },
    )
  })
})

describe('requests and dumps in one trip', () => {
  const controller = (sequence: number, flags: number, ...attributes: Uint8Array[]): Uint8Array =>
    encodeMessage(16, flags, sequence, [Uint8Array.of(3, 1, 0, 0), ...attributes])
  const types = (datagrams: Uint8Array): number[] => (splitMessages(datagrams) ?? []).map(({ type }) => type)

  test('a request comes back with the answer, and a refusal with its reason', async () => {
    const fd = native.netlinkOpen(16, [])
    const families = await native.wgExchange(fd, controller(1, 1, attributeString(2, 'nlctrl')), 1000)
    expect(types(families)).toEqual([16])
    const refusal = await native.wgExchange(fd, controller(2, 5, attributeString(2, 'sekisho-none')), 1000)
    expect(types(refusal)).toEqual([2])
    // Nothing is asked: nobody answers.
    expect((await native.wgExchange(fd, encodeMessage(16, 0, 3, [Uint8Array.of(3, 1, 0, 0)]), 0)).length).toBe(0)
    native.close(fd)
    await expect(native.wgExchange(fd, controller(1, 1), 0)).rejects.toMatchObject({ errnoName: 'EBADF' })
  })

  test('several datagrams of a dump are one behind the other, as they come one by one', async () => {
    const fd = native.netlinkOpen(16, [])
    await native.netlinkSendAsync(fd, controller(1, 0x301))
    const single: number[] = []
    while (single.at(-1) !== 3) single.push(...types(await native.wgReceive(fd, 1000)))
    await native.netlinkSendAsync(fd, controller(2, 0x301))
    const joined = types(await native.wgReceive(fd, 1000, 8))
    expect(joined).toEqual(single)
    expect(joined.at(-1)).toBe(3)
    // Nothing comes after it: the first datagram alone is waited for.
    expect((await native.wgReceive(fd, 0, 8)).length).toBe(0)
    native.close(fd)
    expect(() => native.wgReceive(fd, 0, 9)).toThrow('most')
  })
})

describe('userspace sockets', () => {
  const folders: string[] = []
  const servers: Server[] = []
  afterEach(() => {
    for (const server of servers.splice(0)) server.close()
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
  })

  /** A server that answers each request with `reply`, in pieces; null leaves it waiting. */
  async function serve(reply: string | null): Promise<{ path: string; requests: string[] }> {
    const folder = mkdtempSync(join(tmpdir(), 'sekisho-uapi-'))
    folders.push(folder)
    const path = join(folder, 'wg0.sock')
    const requests: string[] = []
    const server = createServer((socket) => {
      let text = ''
      socket.on('data', (data) => {
        text += data.toString()
        if (!text.endsWith('\n\n') || reply === null) return
        requests.push(text)
        text = ''
        for (let at = 0; at < reply.length; at += 50_000) socket.write(reply.slice(at, at + 50_000))
      })
      socket.on('error', () => undefined)
    })
    servers.push(server)
    await new Promise<void>((resolve) => server.listen(path, resolve))
    return { path, requests }
  }
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString()
  const get = Buffer.from('get=1\n\n')

  test('the private key of a reply becomes the public key that belongs to it, preshared keys become 0', async () => {
    const clamped = `a0${'4a'.repeat(30)}42`
    const { path } = await serve(
      `private_key=${clamped}\nlisten_port=1\npublic_key=${'0b'.repeat(32)}\npreshared_key=${'22'.repeat(32)}\nerrno=0\n\n`,
    )
    const key = createPrivateKey({
      key: Buffer.from(`302e020100300506032b656e04220420${clamped}`, 'hex'),
      format: 'der',
      type: 'pkcs8',
    })
    const { x } = createPublicKey(key).export({ format: 'jwk' })
    const own = Buffer.from(x ?? '', 'base64url').toString('hex')
    expect(text(await native.wgUapi(path, get, 1000))).toBe(
      `public_self=${own}\nlisten_port=1\npublic_key=${'0b'.repeat(32)}\npreshared_key=${'0'.repeat(64)}\nerrno=0\n\n`,
    )
  })

  test('a private key that is none is blanked all the same', async () => {
    for (const value of ['xyz', 'A'.repeat(64), '22'.repeat(40), '']) {
      const { path } = await serve(`private_key=${value}\nerrno=0\n\n`)
      expect(text(await native.wgUapi(path, get, 1000))).toBe(`private_key=${'0'.repeat(value.length)}\nerrno=0\n\n`)
    }
  })

  test('a reply of many pieces comes whole', async () => {
    const lines = Array.from({ length: 20_000 }, (_, i) => `allowed_ip=10.${i >> 8}.${i & 255}.0/24\n`).join('')
    const { path } = await serve(`private_key=${'22'.repeat(32)}\n${lines}errno=0\n\n`)
    const reply = text(await native.wgUapi(path, get, 5000))
    expect(reply.slice(77)).toBe(`${lines}errno=0\n\n`)
    expect(reply).not.toContain('2222')
  })

  test('a new key is written after the prefix: clamped, another each time', async () => {
    const { path, requests } = await serve('errno=0\n\n')
    for (let i = 0; i < 20; i++)
      expect(text(await native.wgUapiSetNewKey(path, Buffer.from('set=1\n'), 1000))).toBe('errno=0\n\n')
    const keys = requests.map((one) =>
      Buffer.from(/^set=1\nprivate_key=([0-9a-f]{64})\n\n$/.exec(one)?.[1] ?? '', 'hex'),
    )
    for (const key of keys) {
      expect(key).toHaveLength(32)
      expect((key[0] ?? 0) & 7).toBe(0)
      expect((key[31] ?? 0) & 0xc0).toBe(0x40)
    }
    expect(new Set(keys.map((key) => key.toString('hex'))).size).toBe(20)
  })

  test('silence, a server that hangs up and no server are errors with their names', async () => {
    const before = openDescriptors()
    const silent = await serve(null)
    await expect(native.wgUapi(silent.path, get, 20)).rejects.toMatchObject({ errnoName: 'ETIMEDOUT' })
    await expect(native.wgUapi('/nonexistent/wg0.sock', get, 20)).rejects.toMatchObject({ errnoName: 'ENOENT' })
    const closing = await serve('errno=0\n')
    for (const server of servers) server.on('connection', (socket) => setTimeout(() => socket.end(), 20))
    await expect(native.wgUapi(closing.path, get, 2000)).rejects.toMatchObject({ errnoName: 'ECONNRESET' })
    for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve))
    expect(openDescriptors()).toBe(before)
  })
})

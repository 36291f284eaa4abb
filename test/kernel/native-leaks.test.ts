import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Worker } from 'node:worker_threads'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { PATH_EPOLL, PATH_IO_URING, PUMP_KICK, PUMP_LISTENER } from '../../src/native/binding.ts'
import { loadNative } from '../../src/native/load.ts'
import { attributeString } from '../../src/netlink/attributes.ts'
import { encodeMessage } from '../../src/netlink/message.ts'
import { compileProgram } from './fixtures/compile.ts'
import { UapiServer } from './fixtures/uapi-server.ts'
import { Bench, LOOPBACK4, LOOPBACK6, openDescriptors, thrownBy } from '../native/support.ts'

const ROUNDS = 1000
/** Closing a packet counter waits some 12 ms for the kernel; one that is left shows after any number. */
const SLOW_ROUNDS = 200
/** So many processes share the rounds of what mostly waits: to load an object takes some 13 ms, and they wait side by side. */
const SHARES = 10
/** A link or filter on an interface waits twice for RCU, some 27 ms, and the kernel lets no two wait at a time. */
const ATTACH_ROUNDS = 100
const PATHS = [
  ['epoll', PATH_EPOLL],
  ['io_uring', PATH_IO_URING],
] as const
const native = loadNative()
const execFileAsync = promisify(execFile)
setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void
const hash = { type: 1, keySize: 4, valueSize: 4, maxEntries: 1, flags: 0, name: 'sekisho_test' }
const tcp = native.openTcpListener({ address: LOOPBACK4, port: 0, transparent: false, backlog: 4096 })
const tcpPort = native.localPort(tcp)

/** UDP sockets of the host on a port of 127.0.0.1. */
const boundTo = (port: number): number => {
  const local = ` 0100007F:${port.toString(16).toUpperCase().padStart(4, '0')} 00000000:0000 `
  return readFileSync('/proc/net/udp', 'latin1').split(local).length - 1
}

/** Every function that gives a descriptor, and what fails after it has one. */
const KINDS: Readonly<Record<string, () => number>> = {
  'UDP listener': () =>
    native.openUdpListener({ address: LOOPBACK6, port: 0, transparent: true, mark: 1, receiveBuffer: 8192 }),
  'TCP listener': () => native.openTcpListener({ address: LOOPBACK4, port: 0, transparent: true, reusePort: true }),
  'IPv4 reply socket': () => native.openUdpReply(4, 1),
  'IPv6 reply socket': () => native.openUdpReply(6),
  'UDP upstream': () => native.openUdpUpstream({ server: LOOPBACK4, port: 9, mark: 1 }),
  'UDP upstream with a foreign source': () =>
    native.openUdpUpstream({
      server: LOOPBACK4,
      port: 9,
      source: { address: new Uint8Array([127, 0, 0, 9]), port: 0 },
    }),
  'TCP upstream': () => native.openTcpUpstream({ server: LOOPBACK4, port: tcpPort }),
  eventfd: () => native.openEvent(),
  'netlink socket': () => native.netlinkOpen(0, [1]),
  map: () => native.bpfMapCreate(hash),
  'probe socket': () => native.openProbeSocket({ device: 'lo', address: LOOPBACK6, port: 51873, buffer: 8192 }),
  'packet counter': () => native.openPacketCounter('lo', 4, 51873),
}

afterEach(() => expect(native.liveHandles()).toBe(0))

describe('descriptors', () => {
  for (const [kind, open] of Object.entries(KINDS)) {
    const rounds = kind === 'packet counter' ? SLOW_ROUNDS : ROUNDS
    test(`${kind}: ${rounds} rounds of open and close leave none`, () => {
      native.close(open())
      const before = openDescriptors()
      for (let i = 0; i < rounds; i++) native.close(open())
      expect(openDescriptors()).toBe(before)
    })
  }

  test(`programs, pins and links: ${ROUNDS} rounds of open and close, ${ATTACH_ROUNDS} of links, leave none`, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'sekisho-leaks-'))
    const script = fileURLToPath(new URL('./fixtures/native-leaks.ts', import.meta.url))
    const objects = ['native-probe', 'native-refused'].map((name) => compileProgram(name, directory))
    const rounds = [ROUNDS / SHARES, ATTACH_ROUNDS / SHARES].map(String)
    try {
      const seen = await Promise.all(
        Array.from({ length: SHARES }, async (_, i) => {
          const bpffs = join(directory, String(i))
          mkdirSync(bpffs)
          const args = ['--net', '--mount', process.execPath, script, ...objects, bpffs, ...rounds]
          return JSON.parse((await execFileAsync('unshare', args)).stdout) as Record<string, number>
        }),
      )
      const kinds = Object.keys(seen[0] ?? {})
      expect(kinds).toHaveLength(12)
      for (const one of seen) expect(one).toEqual(Object.fromEntries(kinds.map((kind) => [kind, 0])))
    } finally {
      rmSync(directory, { recursive: true })
    }
  })

  test('requests on a UAPI socket, answered and not: the same', async () => {
    const silent = await UapiServer.open(null)
    const good = await UapiServer.open(`private_key=${'22'.repeat(32)}\nerrno=0\n\n`)
    const request = Buffer.from('get=1\n\n')
    const once = (): Promise<unknown> =>
      Promise.all([
        native.wgUapi(good.path, request, 5000),
        native.wgUapiSetNewKey(good.path, Buffer.from('set=1\n'), 5000),
        expect(native.wgUapi(silent.path, request, 0)).rejects.toMatchObject({ errnoName: 'ETIMEDOUT' }),
        expect(native.wgUapi('/nonexistent', request, 5000)).rejects.toMatchObject({ errnoName: 'ENOENT' }),
      ])
    await once()
    await Promise.all([silent.idle(), good.idle()])
    const before = openDescriptors()
    for (let i = 0; i < ROUNDS; i += SHARES) await Promise.all(Array.from({ length: SHARES }, once))
    // The other ends are descriptors of this process too.
    await Promise.all([silent.idle(), good.idle()])
    expect(openDescriptors()).toBe(before)
    await Promise.all([silent.close(), good.close()])
  })

  test.each(PATHS)('pumps by %s, and rings: the same', (_, path) => {
    const ring = native.bpfMapCreate({ ...hash, type: 27, keySize: 0, valueSize: 0, maxEntries: 4096 })
    const event = native.openEvent()
    const before = openDescriptors()
    for (let i = 0; i < ROUNDS; i++) {
      const { pump } = new Bench(native, { slots: 4, stride: 64, maxOut: 4, path })
      native.pumpAdd(pump, event, PUMP_KICK, i)
      native.pumpDestroy(pump)
      native.bpfRingClose(native.bpfRingOpen(ring))
    }
    expect(openDescriptors()).toBe(before)
    native.close(ring)
    native.close(event)
  })

  test.each(PATHS)(
    'by %s: a socket that is closed after its pump, or after it was removed, is gone at once',
    (_, path) => {
      const open = (port: number): number => native.openUdpListener({ address: LOOPBACK4, port, transparent: false })
      const first = open(0)
      const port = native.localPort(first)
      native.close(first)
      const before = openDescriptors()
      for (let i = 0; i < ROUNDS; i++) {
        const fd = open(port)
        const bench = new Bench(native, { slots: 4, stride: 64, maxOut: 4, path })
        native.pumpAdd(bench.pump, fd, PUMP_LISTENER, 1)
        bench.step()
        expect(boundTo(port)).toBe(1)
        if (i % 2 === 0) native.pumpRemove(bench.pump, 1)
        else native.pumpDestroy(bench.pump)
        native.close(fd)
        expect(boundTo(port)).toBe(0)
        if (i % 2 === 0) native.pumpDestroy(bench.pump)
      }
      expect(openDescriptors()).toBe(before)
    },
  )

  test('a call that fails half way leaves none', () => {
    const taken = native.openUdpListener({ address: LOOPBACK4, port: 0, transparent: false })
    const takenPort = native.localPort(taken)
    const before = openDescriptors()
    for (let i = 0; i < ROUNDS; i++) {
      expect(
        thrownBy(() => native.openTcpListener({ address: LOOPBACK4, port: tcpPort, transparent: true })),
      ).toMatchObject({ syscall: 'bind', errnoName: 'EADDRINUSE' })
      thrownBy(() => native.openUdpUpstream({ server: LOOPBACK4, port: 9, source: { address: LOOPBACK4, port: -1 } }))
      expect(
        thrownBy(() => native.openUdpUpstream({ server: new Uint8Array([255, 255, 255, 255]), port: 9 })).syscall,
      ).toBe('connect')
      thrownBy(() => native.netlinkOpen(0, [1_000_000]))
      expect(
        thrownBy(() => native.openProbeSocket({ device: 'none', address: LOOPBACK4, port: 1, buffer: 1 })),
      ).toMatchObject({ syscall: 'setsockopt(SO_BINDTODEVICE)', errnoName: 'ENODEV' })
      expect(
        thrownBy(() => native.openProbeSocket({ device: 'lo', address: LOOPBACK4, port: takenPort, buffer: 1 })),
      ).toMatchObject({ syscall: 'bind', errnoName: 'EADDRINUSE' })
      expect(thrownBy(() => native.openPacketCounter('none', 4, 1))).toMatchObject({ errnoName: 'ENODEV' })
      thrownBy(() => native.bpfRingOpen(taken))
      thrownBy(() => new Bench(native, { reply4: taken }))
    }
    expect(openDescriptors()).toBe(before)
    native.close(taken)
  })

  test('pumps and rings that JavaScript has let go of are freed by the collector', async () => {
    const ring = native.bpfMapCreate({ ...hash, type: 27, keySize: 0, valueSize: 0, maxEntries: 4096 })
    const before = openDescriptors()
    for (let i = 0; i < 50; i++) {
      new Bench(native, { slots: 4, stride: 64, maxOut: 4 })
      native.bpfRingOpen(ring)
    }
    expect(native.liveHandles()).toBe(100)
    const deadline = performance.now() + 5000
    while (native.liveHandles() > 0 && performance.now() < deadline) {
      gc()
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(native.liveHandles()).toBe(0)
    expect(openDescriptors()).toBe(before)
    native.close(ring)
  })
})

describe('memory', () => {
  test.each(PATHS)('10,000 pumps by %s with large scratch do not make the process grow', (_, path) => {
    const round = (): void => {
      for (let i = 0; i < 100; i++) {
        native.pumpDestroy(native.pumpCreate({ ...shared.options, slots: 256, stride: 64, path }))
      }
    }
    const shared = new Bench(native, { slots: 256, stride: 64, maxOut: 1024, path })
    for (let i = 0; i < 20; i++) round()
    const before = process.memoryUsage.rss()
    for (let i = 0; i < 100; i++) round()
    // A pump of this size is about 400 KiB: 10,000 of them leaked would be 4 GiB.
    expect(process.memoryUsage.rss() - before).toBeLessThan(64 << 20)
    native.pumpDestroy(shared.pump)
  })

  describe('of requests that wait on a thread of the pool', () => {
    const MEMORY_ROUNDS = 2000
    // An octet written to a buffer that is not freed is a page: 8 MB in all. The sanitizer keeps 256 MB of what was freed.
    const LIMIT = (process.env['SEKISHO_NATIVE'] ?? '').includes('asan') ? 320 << 20 : 4 << 20
    // Families of generic netlink, asked for one and for all.
    const one = encodeMessage(16, 1, 1, [Uint8Array.of(3, 1, 0, 0), attributeString(2, 'nlctrl')])
    const refused = encodeMessage(16, 5, 1, [Uint8Array.of(3, 1, 0, 0), attributeString(2, 'sekisho-none')])
    const uapi = Buffer.from('get=1\n\n')
    let fd = -1
    let server: UapiServer
    beforeAll(async () => {
      fd = native.netlinkOpen(16, [])
      server = await UapiServer.open(`private_key=${'22'.repeat(32)}\n${'#'.repeat(30_000)}\nerrno=0\n\n`)
    })
    afterAll(async () => {
      native.close(fd)
      await server.close()
    })

    test.each<[string, () => Promise<unknown>]>([
      [
        'netlinkSendAsync and netlinkReceiveAsync',
        () => native.netlinkSendAsync(fd, one).then(() => native.netlinkReceiveAsync(fd, 1000)),
      ],
      ['wgReceive', () => native.netlinkSendAsync(fd, one).then(() => native.wgReceive(fd, 1000, 8))],
      ['wgExchange', () => native.wgExchange(fd, one, 1000)],
      ['wgExchange, refused', () => native.wgExchange(fd, refused, 1000)],
      ['wgSetNewKey, refused', () => native.wgSetNewKey(fd, refused, 1000).catch((error: unknown) => error)],
      ['wgUapi', () => native.wgUapi(server.path, uapi, 1000)],
      ['wgUapiSetNewKey', () => native.wgUapiSetNewKey(server.path, Buffer.from('set=1\n'), 1000)],
    ])(`${MEMORY_ROUNDS} of %s do not make the process grow`, async (_, once) => {
      const rounds = async (count: number): Promise<number> => {
        for (let i = 0; i < count; i++) await once()
        gc()
        return process.memoryUsage.rss()
      }
      const before = await rounds(MEMORY_ROUNDS / 5)
      const after = await rounds(MEMORY_ROUNDS)
      expect(after - before).toBeLessThan(LIMIT)
    })
  })
})

describe('ports', () => {
  test('of upstream sockets are chosen at random', () => {
    const fds = Array.from({ length: 200 }, () => native.openUdpUpstream({ server: LOOPBACK4, port: 9 }))
    const ports = fds.map((fd) => native.localPort(fd))
    for (const fd of fds) native.close(fd)
    expect(new Set(ports).size).toBe(200)
    // Random ports step up as often as down, and by thousands; a counter does neither.
    const steps = ports.slice(1).map((port, i) => port - (ports[i] ?? 0))
    const up = steps.filter((step) => step > 0).length
    expect(up).toBeGreaterThan(60)
    expect(up).toBeLessThan(140)
    expect(steps.filter((step) => Math.abs(step) > 500).length).toBeGreaterThan(150)
  })
})

describe('worker threads', () => {
  const start = (mode: string): Worker =>
    new Worker(new URL('./fixtures/native-thread.ts', import.meta.url), { workerData: { mode } })

  test('four at a time make a pump, run it and exit; nothing is left', async () => {
    const before = openDescriptors()
    for (let round = 0; round < 3; round++) {
      await Promise.all(
        Array.from({ length: 4 }, async () => {
          const worker = start('run')
          const [[message]] = (await Promise.all([once(worker, 'message'), once(worker, 'exit')])) as [
            [{ moved: number; live: number }],
            unknown,
          ]
          expect(message).toMatchObject({ moved: 500, live: 2 })
        }),
      )
    }
    expect(openDescriptors()).toBe(before)
  })

  test('one that ends, or is terminated in its pump, takes the pump with it and leaves the descriptors', async () => {
    for (const mode of ['abandon', 'stay']) {
      const before = openDescriptors()
      const worker = start(mode)
      const exit = once(worker, 'exit')
      const [{ descriptors }] = (await once(worker, 'message')) as [{ descriptors: number[] }]
      if (mode === 'stay') await worker.terminate()
      await exit
      expect(openDescriptors()).toBe(before + 2)
      for (const fd of descriptors) native.close(fd)
    }
  })
})

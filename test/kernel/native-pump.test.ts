import { once } from 'node:events'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, test } from 'vitest'
import {
  HEADER_KICKED,
  HEADER_PATH,
  HEADER_SEND_ERRORS,
  OUT_KIND,
  OUT_LENGTH,
  OUT_OFFSET,
  OUT_TAG,
  OUT_WORDS,
  PATH_EPOLL,
  PATH_IO_URING,
  PUMP_KICK,
  PUMP_LISTENER,
  PUMP_UPSTREAM,
  RX_FLAG_ERROR,
  RX_FLAG_NO_DESTINATION,
  RX_FLAG_TRUNCATED,
} from '../../src/native/binding.ts'
import { loadNative } from '../../src/native/load.ts'
import { Bench, LOOPBACK4, LOOPBACK6, collect, openDescriptors, thrownBy } from '../native/support.ts'

const ERRNO = { EBADF: 9, EINVAL: 22, EMSGSIZE: 90, EAFNOSUPPORT: 97, ECONNREFUSED: 111 } as const

const native = loadNative()
const opened: number[] = []
const benches: Bench[] = []

const own = (fd: number): number => {
  opened.push(fd)
  return fd
}
/**
 * A port of loopback that nobody has. Listeners share theirs (SO_REUSEPORT), so port 0 may be that of another one, also of another
 * process, which then gets half of what is sent; a socket that shares nothing gets one of its own.
 */
const freePort = (server = LOOPBACK4): number => {
  const fd = native.openUdpUpstream({ server, port: 9 })
  const port = native.localPort(fd)
  native.close(fd)
  return port
}
const listener = (address = LOOPBACK4, transparent = true): { fd: number; port: number } => {
  const port = freePort(address.length === 16 ? LOOPBACK6 : LOOPBACK4)
  return { fd: own(native.openUdpListener({ address, port, transparent })), port }
}
const upstream = (port: number, server = LOOPBACK4): number => own(native.openUdpUpstream({ server, port }))

afterEach(() => {
  for (const bench of benches.splice(0)) native.pumpDestroy(bench.pump)
  for (const fd of opened.splice(0)) native.close(fd)
})

describe.each([
  ['epoll', PATH_EPOLL],
  ['io_uring', PATH_IO_URING],
] as const)('by %s', (_, path) => {
  const newBench = (size: ConstructorParameters<typeof Bench>[1] = {}): Bench => {
    const bench = new Bench(native, { ...size, path })
    benches.push(bench)
    return bench
  }

  describe('receiving', () => {
    test.each([
      ['IPv4', LOOPBACK4, '127.0.0.1', 4],
      ['IPv6', LOOPBACK6, '::1', 6],
    ] as const)(
      '%s: a datagram comes with tag, source, original destination and payload',
      (_, address, text, family) => {
        const bench = newBench()
        const { fd, port } = listener(address)
        const up = upstream(port, address)
        native.pumpAdd(bench.pump, fd, PUMP_LISTENER, 0xfffffffe)
        native.pumpAdd(bench.pump, up, PUMP_UPSTREAM, 7)
        bench.sendTo(7, Buffer.from('question'))
        expect(collect(bench, 1)).toEqual([
          {
            tag: 0xfffffffe,
            length: 8,
            flags: 0,
            family,
            source: text,
            sourcePort: native.localPort(up),
            destination: text,
            destinationPort: port,
            payload: Buffer.from('question'),
          },
        ])
        expect(bench.options.header[HEADER_PATH]).toBe(path)
      },
    )

    test('an answer on an upstream socket says which server it is from', () => {
      const bench = newBench({ reply4: own(native.openUdpReply(4)) })
      const { fd, port } = listener()
      const up = upstream(port)
      native.pumpAdd(bench.pump, fd, PUMP_LISTENER, 1)
      native.pumpAdd(bench.pump, up, PUMP_UPSTREAM, 2)
      bench.sendTo(2, Buffer.from('q'))
      const [question] = collect(bench, 1)
      bench.reply('127.0.0.1', port, '127.0.0.1', question?.sourcePort ?? 0, Buffer.from('answer'))
      expect(collect(bench, 1)).toMatchObject([
        { tag: 2, source: '127.0.0.1', sourcePort: port, payload: Buffer.from('answer'), flags: 0 },
      ])
    })

    test('a listener that is not transparent has no original destination, and says so', () => {
      const bench = newBench()
      const { fd, port } = listener(LOOPBACK4, false)
      native.pumpAdd(bench.pump, fd, PUMP_LISTENER, 1)
      native.pumpAdd(bench.pump, upstream(port), PUMP_UPSTREAM, 2)
      bench.sendTo(2, Buffer.from('q'))
      expect(collect(bench, 1)).toMatchObject([
        { flags: RX_FLAG_NO_DESTINATION, destination: '::', destinationPort: 0 },
      ])
    })

    test('a datagram longer than the stride is cut and flagged; one as long is not; an empty one counts', () => {
      const bench = newBench({ slots: 8, stride: 100 })
      const { fd, port } = listener()
      native.pumpAdd(bench.pump, fd, PUMP_LISTENER, 1)
      native.pumpAdd(bench.pump, upstream(port), PUMP_UPSTREAM, 2)
      for (const length of [101, 100, 0, 5000]) bench.sendTo(2, Buffer.alloc(length, 7))
      expect(collect(bench, 4).map(({ length, flags }) => [length, flags])).toEqual([
        [100, RX_FLAG_TRUNCATED],
        [100, 0],
        [0, 0],
        [100, RX_FLAG_TRUNCATED],
      ])
    })

    test('what does not fit the slots waits in the socket, in order', () => {
      const bench = newBench({ slots: 4, stride: 64 })
      const { fd, port } = listener()
      native.pumpAdd(bench.pump, fd, PUMP_LISTENER, 1)
      native.pumpAdd(bench.pump, upstream(port), PUMP_UPSTREAM, 2)
      for (let i = 0; i < 10; i++) bench.sendTo(2, Buffer.from([i]))
      const turns = [bench.step(100), bench.step(), bench.step(), bench.step()]
      expect(turns.map((turn) => turn.length)).toEqual([4, 4, 2, 0])
      expect(turns.flat().map(({ payload }) => payload[0])).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    })

    test('a flooded socket does not starve the others, whatever their number', () => {
      const sender = newBench({ maxOut: 1024 })
      const bench = newBench({ slots: 16, stride: 64 })
      const ports: number[] = []
      for (let tag = 0; tag < 40; tag++) {
        const { fd, port } = listener()
        ports.push(port)
        native.pumpAdd(bench.pump, fd, PUMP_LISTENER, tag)
        native.pumpAdd(sender.pump, upstream(port), PUMP_UPSTREAM, tag)
      }
      // The first listener has 200 waiting, the others one each.
      for (let i = 0; i < 200; i++) sender.sendTo(0, Buffer.from([0]))
      for (let tag = 1; tag < 40; tag++) sender.sendTo(tag, Buffer.from([tag]))
      sender.step()
      const seen = new Set<number>()
      let turns = 0
      for (; seen.size < 40 && turns < 100; turns++) for (const { tag } of bench.step(50)) seen.add(tag)
      expect(seen.size).toBe(40)
      // 40 sockets, at least two of them served a turn: the flooded one takes 8 slots of 16.
      expect(turns).toBeLessThanOrEqual(8)
    })

    test('beside a flooded socket another is served in the same turn', () => {
      const sender = newBench({ maxOut: 1024 })
      const bench = newBench({ slots: 16, stride: 64 })
      for (const tag of [1, 2]) {
        const { fd, port } = listener()
        native.pumpAdd(bench.pump, fd, PUMP_LISTENER, tag)
        native.pumpAdd(sender.pump, upstream(port), PUMP_UPSTREAM, tag)
      }
      for (let i = 0; i < 200; i++) sender.sendTo(1, Buffer.from([0]))
      sender.step()
      for (let turn = 0; turn < 10; turn++) {
        sender.sendTo(2, Buffer.from([1]))
        sender.step()
        const got = bench.step(50)
        expect(got.filter(({ tag }) => tag === 2).length).toBe(1)
        expect(got.length).toBe(16)
      }
    })

    test('sockets that are all flooded have equal shares', () => {
      const sender = newBench({ maxOut: 1024 })
      const bench = newBench({ slots: 16, stride: 64 })
      for (const tag of [0, 1, 2, 3]) {
        const { fd, port } = listener()
        native.pumpAdd(bench.pump, fd, PUMP_LISTENER, tag)
        native.pumpAdd(sender.pump, upstream(port), PUMP_UPSTREAM, tag)
        for (let i = 0; i < 200; i++) sender.sendTo(tag, Buffer.from([0]))
      }
      sender.step()
      const shares = [0, 0, 0, 0]
      for (let turn = 0; turn < 20; turn++) for (const { tag } of bench.step(50)) shares[tag] = (shares[tag] ?? 0) + 1
      expect(shares.reduce((sum, share) => sum + share)).toBe(320)
      // To one share of a turn.
      for (const share of shares) expect(Math.abs(share - 80)).toBeLessThanOrEqual(8)
    })

    test('thousands of sockets are all served', () => {
      const sender = newBench({ maxOut: 4096 })
      const bench = newBench({ slots: 256, stride: 64 })
      const count = 2000
      const { fd, port } = listener()
      for (let tag = 0; tag < count; tag++) native.pumpAdd(sender.pump, upstream(port), PUMP_UPSTREAM, tag * 65536 + 3)
      native.pumpAdd(bench.pump, fd, PUMP_LISTENER, 1)
      native.pumpAdd(bench.pump, own(native.openEvent()), PUMP_KICK, 2)
      let received = 0
      for (let from = 0; from < count; from += 100) {
        for (let tag = from; tag < from + 100; tag++) sender.sendTo(tag * 65536 + 3, Buffer.from('x'))
        sender.step()
        expect(sender.options.header[HEADER_SEND_ERRORS]).toBe(0)
        received += collect(bench, 100).length
      }
      expect(received).toBe(count)
      for (let tag = 0; tag < count; tag += 2) native.pumpRemove(sender.pump, tag * 65536 + 3)
      sender.sendTo(3, Buffer.from('gone'))
      sender.sendTo(65536 + 3, Buffer.from('here'))
      sender.step()
      expect(sender.errors(2)).toEqual([ERRNO.EBADF, 0])
      expect(collect(bench, 1)).toMatchObject([{ payload: Buffer.from('here') }])
    })
  })

  describe('sending', () => {
    test('records of several sockets all leave, those of one socket in order', () => {
      const bench = newBench({ slots: 128 })
      const first = listener()
      const second = listener()
      native.pumpAdd(bench.pump, first.fd, PUMP_LISTENER, 1)
      native.pumpAdd(bench.pump, second.fd, PUMP_LISTENER, 2)
      native.pumpAdd(bench.pump, upstream(first.port), PUMP_UPSTREAM, 11)
      native.pumpAdd(bench.pump, upstream(second.port), PUMP_UPSTREAM, 12)
      for (let i = 0; i < 50; i++) bench.sendTo(11 + (i % 2), Buffer.from([i]))
      const all = collect(bench, 50)
      const by = (tag: number): (number | undefined)[] => all.filter((r) => r.tag === tag).map((r) => r.payload[0])
      expect(by(1)).toEqual(Array.from({ length: 25 }, (_, i) => 2 * i))
      expect(by(2)).toEqual(Array.from({ length: 25 }, (_, i) => 2 * i + 1))
      expect(bench.errors(50)).toEqual(Array(50).fill(0))
    })

    test('a refused datagram has its errno, is counted, and does not stop those behind it', () => {
      const bench = newBench({ reply4: own(native.openUdpReply(4)) })
      const { fd, port } = listener()
      native.pumpAdd(bench.pump, fd, PUMP_LISTENER, 1)
      native.pumpAdd(bench.pump, upstream(port), PUMP_UPSTREAM, 2)
      bench.sendTo(2, Buffer.from('a'))
      bench.sendTo(2, Buffer.alloc(65_508))
      bench.sendTo(2, Buffer.from('b'))
      bench.sendTo(99, Buffer.from('no such tag'))
      bench.sendTo(1, Buffer.from('a listener'))
      bench.reply('::1', 53, '::1', 53, Buffer.from('no v6 socket'))
      bench.reply('127.0.0.1', 0, '127.0.0.1', port, Buffer.from('no source port'))
      bench.reply('127.0.0.1', 53, '127.0.0.1', 65_536, Buffer.from('no such port'))
      bench.reply('127.0.0.1', 53, '127.0.0.1', port, Buffer.alloc(65_508))
      bench.reply('127.0.0.1', 53, '127.0.0.1', port, Buffer.from('c'))
      const got = bench.step(100)
      const { EBADF, EINVAL, EMSGSIZE, EAFNOSUPPORT } = ERRNO
      expect(bench.errors(10)).toEqual([0, EMSGSIZE, 0, EBADF, EBADF, EAFNOSUPPORT, EINVAL, EINVAL, EMSGSIZE, 0])
      expect(bench.options.header[HEADER_SEND_ERRORS]).toBe(7)
      expect([...got, ...collect(bench, 3 - got.length)].map(({ payload }) => payload.toString())).toEqual([
        'a',
        'b',
        'c',
      ])
    })

    test('a record that points outside the buffer is refused, never read', () => {
      const bench = newBench()
      const { fd, port } = listener()
      native.pumpAdd(bench.pump, fd, PUMP_LISTENER, 1)
      native.pumpAdd(bench.pump, upstream(port), PUMP_UPSTREAM, 2)
      const size = bench.options.buffer.length
      const bad: [number, number][] = [
        [size, 1],
        [size - 1, 2],
        [0xffffffff, 1],
        [0xffffffff, 0xffffffff],
        [1, 0xffffffff],
        [size + 1, 0],
      ]
      for (const [i, [offset, length]] of bad.entries()) {
        bench.options.out[i * OUT_WORDS + OUT_KIND] = 1
        bench.options.out[i * OUT_WORDS + OUT_TAG] = 2
        bench.options.out[i * OUT_WORDS + OUT_OFFSET] = offset
        bench.options.out[i * OUT_WORDS + OUT_LENGTH] = length
      }
      expect(native.pumpStep(bench.pump, bad.length, 0)).toBe(0)
      expect(bench.errors(bad.length)).toEqual(bad.map(() => ERRNO.EINVAL))
      bench.options.out[OUT_KIND] = 3
      native.pumpStep(bench.pump, 1, 0)
      expect(bench.errors(1)).toEqual([ERRNO.EINVAL])
    })

    test('addresses of the wrong family in a reply are refused', () => {
      const bench = newBench({ reply4: own(native.openUdpReply(4)), reply6: own(native.openUdpReply(6)) })
      bench.reply('::1', 53, '127.0.0.1', 53, Buffer.from('x'))
      bench.reply('127.0.0.1', 53, '::1', 53, Buffer.from('x'))
      bench.step()
      expect(bench.errors(2)).toEqual([ERRNO.EINVAL, ERRNO.EINVAL])
    })

    test('a refusal is reported, and the socket serves again when somebody listens', () => {
      const bench = newBench()
      const port = freePort()
      native.pumpAdd(bench.pump, upstream(port), PUMP_UPSTREAM, 5)
      for (const text of ['one', 'two', 'three']) bench.sendTo(5, Buffer.from(text))
      const refused = collect(bench, 1)
      // Refused datagrams were taken by the kernel all the same.
      expect(bench.errors(3)).toEqual([0, 0, 0])
      // Three were refused; the kernel keeps one refusal a socket until it is asked.
      for (let more; (more = bench.step(20)).length > 0;) refused.push(...more)
      expect(refused.length).toBeLessThanOrEqual(3)
      for (const record of refused) {
        expect(record).toMatchObject({ tag: 5, flags: RX_FLAG_ERROR, length: ERRNO.ECONNREFUSED })
      }
      expect(refused.length).toBeGreaterThan(0)
      const again = own(native.openUdpListener({ address: LOOPBACK4, port, transparent: true }))
      native.pumpAdd(bench.pump, again, PUMP_LISTENER, 8)
      bench.sendTo(5, Buffer.from('four'))
      expect(collect(bench, 1)).toMatchObject([{ tag: 8, payload: Buffer.from('four') }])
    })

    test('a send that runs into the refusal of an earlier datagram is made again, and the refusal reported', () => {
      // One slot: of two refusals one stays in its socket until the next step sends there.
      const bench = newBench({ slots: 1 })
      const port = freePort()
      for (const tag of [1, 2]) native.pumpAdd(bench.pump, upstream(port), PUMP_UPSTREAM, tag)
      for (const tag of [1, 2]) bench.sendTo(tag, Buffer.from('x'))
      const [first] = bench.step(50)
      expect(first).toMatchObject({ flags: RX_FLAG_ERROR, length: ERRNO.ECONNREFUSED })
      const other = first?.tag === 1 ? 2 : 1
      bench.sendTo(other, Buffer.from('x'))
      const records = bench.step(50)
      expect(bench.errors(1)).toEqual([0])
      expect(bench.options.header[HEADER_SEND_ERRORS]).toBe(0)
      records.push(...bench.step(50), ...bench.step(50))
      // The refusal that was in the way, and that of the datagram itself.
      expect(records.map(({ tag, flags }) => [tag, flags])).toEqual([
        [other, RX_FLAG_ERROR],
        [other, RX_FLAG_ERROR],
      ])
    })
  })

  describe('waiting', () => {
    test('the time-out is kept, and clamped to 0..1000', () => {
      const bench = newBench()
      const { fd, port } = listener()
      native.pumpAdd(bench.pump, fd, PUMP_LISTENER, 1)
      native.pumpAdd(bench.pump, upstream(port), PUMP_UPSTREAM, 2)
      const timed = (timeoutMs: number): number => {
        const start = performance.now()
        bench.step(timeoutMs)
        return performance.now() - start
      }
      expect(timed(-5)).toBeLessThan(20)
      expect(timed(50)).toBeGreaterThanOrEqual(49)
      const longest = timed(100_000)
      expect(longest).toBeGreaterThanOrEqual(999)
      expect(longest).toBeLessThan(1500)
      // Shorter than one before it that something else ended.
      bench.sendTo(2, Buffer.from('x'))
      expect(bench.step(1000)).toHaveLength(1)
      expect(timed(50)).toBeLessThan(500)
      expect(Math.abs((bench.options.now[0] ?? 0) - native.monotonicMs())).toBeLessThan(50)
    })

    test('a kick from another thread ends the wait; the flag lasts one step', async () => {
      const bench = newBench()
      const event = own(native.openEvent())
      native.pumpAdd(bench.pump, event, PUMP_KICK, 1)
      const worker = new Worker(new URL('./fixtures/kicker.ts', import.meta.url), {
        workerData: { event, afterMs: 100 },
      })
      await once(worker, 'online')
      const start = performance.now()
      let turns = 0
      do bench.step(1000)
      while (bench.options.header[HEADER_KICKED] === 0 && ++turns < 10)
      expect(bench.options.header[HEADER_KICKED]).toBe(1)
      expect(performance.now() - start).toBeLessThan(2000)
      bench.step(0)
      expect(bench.options.header[HEADER_KICKED]).toBe(0)
      await worker.terminate()
    })

    test('a full eventfd can still be kicked', () => {
      const event = own(native.openEvent())
      for (let i = 0; i < 10; i++) native.kick(event)
      const bench = newBench()
      native.pumpAdd(bench.pump, event, PUMP_KICK, 1)
      expect(bench.step()).toEqual([])
      expect(bench.options.header[HEADER_KICKED]).toBe(1)
    })
  })

  describe('members', () => {
    test('a tag is unique, and free again when removed', () => {
      const bench = newBench()
      const { fd } = listener()
      native.pumpAdd(bench.pump, fd, PUMP_LISTENER, 1)
      expect(thrownBy(() => native.pumpAdd(bench.pump, listener().fd, PUMP_LISTENER, 1))).toMatchObject({
        code: 'SEKISHO_NATIVE_ARGUMENT',
      })
      expect(thrownBy(() => native.pumpAdd(bench.pump, fd, PUMP_LISTENER, 2))).toMatchObject({ errnoName: 'EEXIST' })
      native.pumpRemove(bench.pump, 1)
      native.pumpAdd(bench.pump, fd, PUMP_LISTENER, 2)
      expect(thrownBy(() => native.pumpRemove(bench.pump, 1)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
    })

    test('a socket that is not what its kind says is refused', () => {
      const bench = newBench()
      const event = own(native.openEvent())
      const tcp = own(native.openTcpListener({ address: LOOPBACK4, port: 0, transparent: false }))
      const { fd } = listener()
      expect(thrownBy(() => native.pumpAdd(bench.pump, event, PUMP_LISTENER, 1)).errnoName).toBe('ENOTSOCK')
      expect(thrownBy(() => native.pumpAdd(bench.pump, tcp, PUMP_LISTENER, 1)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
      expect(thrownBy(() => native.pumpAdd(bench.pump, fd, PUMP_UPSTREAM, 1)).errnoName).toBe('ENOTCONN')
      for (const bad of [fd, tcp, own(native.openUdpReply(6))]) {
        expect(thrownBy(() => new Bench(native, { reply4: bad, path })).code).toBe('SEKISHO_NATIVE_ARGUMENT')
      }
      expect(native.liveHandles()).toBe(1)
    })

    test('a removed socket is silent; one closed before it is removed does no harm', () => {
      const bench = newBench()
      const { fd, port } = listener()
      native.pumpAdd(bench.pump, fd, PUMP_LISTENER, 1)
      native.pumpAdd(bench.pump, upstream(port), PUMP_UPSTREAM, 2)
      bench.sendTo(2, Buffer.from('x'))
      native.pumpRemove(bench.pump, 1)
      expect(bench.step(50)).toEqual([])
      const closed = native.openUdpUpstream({ server: LOOPBACK4, port })
      native.pumpAdd(bench.pump, closed, PUMP_UPSTREAM, 3)
      native.close(closed)
      bench.sendTo(3, Buffer.from('x'))
      bench.step()
      expect(bench.errors(1)).toEqual([ERRNO.EBADF])
      native.pumpRemove(bench.pump, 3)
      expect(bench.step()).toEqual([])
    })

    test('one socket may be in two pumps; each datagram comes once', () => {
      const { fd, port } = listener()
      const [a, b] = [newBench(), newBench()]
      native.pumpAdd(a.pump, fd, PUMP_LISTENER, 1)
      native.pumpAdd(b.pump, fd, PUMP_LISTENER, 1)
      native.pumpAdd(a.pump, upstream(port), PUMP_UPSTREAM, 2)
      for (let i = 0; i < 10; i++) a.sendTo(2, Buffer.from([i]))
      const got = [...a.step(50), ...b.step(50)]
      expect(got.map(({ payload }) => payload[0])).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    })
  })

  describe('memory', () => {
    test('detached memory is an error of the next step, not a crash', () => {
      for (const name of ['buffer', 'rx', 'out', 'header', 'now'] as const) {
        const bench = newBench()
        const { buffer } = bench.options[name]
        structuredClone(buffer, { transfer: [buffer as ArrayBuffer] })
        expect(thrownBy(() => native.pumpStep(bench.pump, 0, 0)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
      }
    })

    test('memory that could shrink or is shared, and memory too small, is refused', () => {
      const good = newBench().options
      const wrong = [
        { ...good, buffer: new Uint8Array(new ArrayBuffer(1 << 20, { maxByteLength: 1 << 21 })) },
        { ...good, buffer: new Uint8Array(new SharedArrayBuffer(1 << 20)) },
        { ...good, buffer: new Uint8Array(good.slots * good.stride - 1) },
        { ...good, rx: new Uint32Array(good.slots * 16 - 1) },
        { ...good, out: new Uint32Array(17) },
        { ...good, header: new Int32Array(15) },
        { ...good, now: new Float64Array(0) },
        { ...good, slots: 0 },
        { ...good, slots: 65_537 },
        { ...good, stride: 0 },
      ]
      for (const options of wrong) {
        expect(thrownBy(() => native.pumpCreate(options)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
      }
    })

    test('a pump that is destroyed can only be refused', () => {
      const before = openDescriptors()
      const bench = new Bench(native, { path })
      expect(openDescriptors()).toBe(before + 1)
      native.pumpDestroy(bench.pump)
      expect(openDescriptors()).toBe(before)
      const { pump } = bench
      expect(thrownBy(() => native.pumpStep(pump, 0, 0)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
      expect(thrownBy(() => native.pumpDestroy(pump)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
      expect(thrownBy(() => native.pumpRemove(pump, 1)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
    })

    test('the memory lives as long as the pump, also when JavaScript has let go of it', () => {
      setFlagsFromString('--expose-gc')
      const collectGarbage = runInNewContext('gc') as () => void
      const { fd, port } = listener()
      const up = upstream(port)
      const pump = ((): Bench['pump'] => new Bench(native, { path }).pump)()
      native.pumpAdd(pump, fd, PUMP_LISTENER, 1)
      const sender = newBench()
      native.pumpAdd(sender.pump, up, PUMP_UPSTREAM, 1)
      for (let i = 0; i < 50; i++) {
        collectGarbage()
        new Uint8Array(1 << 20).fill(i)
        sender.sendTo(1, Buffer.alloc(1000, 0xff))
        sender.step()
        expect(native.pumpStep(pump, 0, 100)).toBe(1)
      }
      native.pumpDestroy(pump)
    })
  })
})

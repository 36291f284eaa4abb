/** The dns workers' pump on this kernel: io_uring is there from 6.1 on, and both paths behave the same. */
import {
  HEADER_KICKED,
  HEADER_PATH,
  PATH_EPOLL,
  PATH_IO_URING,
  PUMP_KICK,
  PUMP_LISTENER,
  PUMP_UPSTREAM,
  RX_FLAG_ERROR,
  RX_FLAG_TRUNCATED,
} from '../../src/native/binding.ts'
import type { Native } from '../../src/native/binding.ts'
import { loadNative } from '../../src/native/load.ts'
import { Bench, LOOPBACK4, collect, openDescriptors } from '../native/support.ts'
import { test, wanted } from './harness.ts'
import type { Figures } from './harness.ts'

const ROUNDS = 20
const IDLE_TURNS = 500

function same(what: string, found: unknown, expected: unknown): void {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)]
  if (a !== b) throw new Error(`${what}: ${a}, expected ${b}`)
}

/** Lengths and flags, many at once, a kick, a refusal, a removed socket. */
function oneRound(native: Native, path: number): void {
  const bench = new Bench(native, { slots: 64, stride: 100, path })
  same('path', bench.options.header[HEADER_PATH], path)
  const fd = native.openUdpListener({ address: LOOPBACK4, port: 0, transparent: true })
  const port = native.localPort(fd)
  const up = native.openUdpUpstream({ server: LOOPBACK4, port })
  const event = native.openEvent()
  native.pumpAdd(bench.pump, fd, PUMP_LISTENER, 1)
  native.pumpAdd(bench.pump, up, PUMP_UPSTREAM, 2)
  native.pumpAdd(bench.pump, event, PUMP_KICK, 3)
  for (const length of [101, 100, 0, 40]) bench.sendTo(2, Buffer.alloc(length, 7))
  const lengths = collect(bench, 4).map((r) => [r.tag, r.length, r.flags, r.destination, r.destinationPort])
  const expected = [
    [100, RX_FLAG_TRUNCATED],
    [100, 0],
    [0, 0],
    [40, 0],
  ].map((r) => [1, ...r, '127.0.0.1', port])
  same('lengths', lengths, expected)
  // More than a turn takes, and more than the ring has buffers.
  for (let i = 0; i < 40; i++) bench.sendTo(2, Buffer.from([i]))
  const order = collect(bench, 40).map(({ payload }) => payload[0])
  same(
    'order',
    order,
    Array.from({ length: 40 }, (_, i) => i),
  )
  native.kick(event)
  bench.step(100)
  same('kick', bench.options.header[HEADER_KICKED], 1)
  native.pumpRemove(bench.pump, 1)
  native.close(fd)
  bench.sendTo(2, Buffer.from('nobody'))
  const refused = collect(bench, 1).map(({ tag, flags }) => [tag, flags])
  same('refusal', refused, [[2, RX_FLAG_ERROR]])
  native.pumpDestroy(bench.pump)
  for (const open of [up, event]) native.close(open)
}

/** Nothing comes, or only now and then: the wait ends by its time-out, and that of one wait may end a later one. */
function idle(native: Native, path: number): void {
  const bench = new Bench(native, { slots: 4, stride: 64, path })
  const fd = native.openUdpListener({ address: LOOPBACK4, port: 0, transparent: true })
  const up = native.openUdpUpstream({ server: LOOPBACK4, port: native.localPort(fd) })
  native.pumpAdd(bench.pump, fd, PUMP_LISTENER, 1)
  native.pumpAdd(bench.pump, up, PUMP_UPSTREAM, 2)
  for (let i = 0; i < IDLE_TURNS; i++) {
    if (i % 7 === 0) bench.sendTo(2, Buffer.from([i & 255]))
    bench.step(1 + (i % 3))
  }
  native.pumpDestroy(bench.pump)
  for (const open of [fd, up]) native.close(open)
}

/** More datagrams than the ring has buffers, from two sockets: none is lost that its socket took, none is starved. */
function flood(native: Native, path: number): void {
  const bench = new Bench(native, { slots: 16, stride: 64, path })
  const sender = new Bench(native, { maxOut: 1024, path })
  const fds: number[] = []
  for (const tag of [1, 2]) {
    const fd = native.openUdpListener({ address: LOOPBACK4, port: 0, transparent: true, receiveBuffer: 1 << 20 })
    const up = native.openUdpUpstream({ server: LOOPBACK4, port: native.localPort(fd) })
    native.pumpAdd(bench.pump, fd, PUMP_LISTENER, tag)
    native.pumpAdd(sender.pump, up, PUMP_UPSTREAM, tag)
    fds.push(fd, up)
  }
  bench.step()
  for (let i = 0; i < 500; i++) for (const tag of [1, 2]) sender.sendTo(tag, Buffer.from([i & 255]))
  sender.step()
  const got = collect(bench, 1000)
  for (const tag of [1, 2]) {
    const mine = got.filter((r) => r.tag === tag).map(({ payload }) => payload[0])
    same(
      `socket ${tag}`,
      mine,
      Array.from({ length: 500 }, (_, i) => i & 255),
    )
  }
  for (const { pump } of [bench, sender]) native.pumpDestroy(pump)
  for (const fd of fds) native.close(fd)
}

export async function testPump(): Promise<void> {
  if (!wanted('pump by epoll', 'pump by io_uring')) return
  const native = loadNative()
  for (const [name, path] of [
    ['epoll', PATH_EPOLL],
    ['io_uring', PATH_IO_URING],
  ] as const) {
    await test(`pump by ${name}`, async (): Promise<Figures> => {
      flood(native, path)
      oneRound(native, path)
      idle(native, path)
      const before = openDescriptors()
      for (let i = 0; i < ROUNDS; i++) oneRound(native, path)
      same('descriptors', openDescriptors(), before)
      return { rounds: ROUNDS, turns: IDLE_TURNS }
    })
  }
}

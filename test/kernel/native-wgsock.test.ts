import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { formatIp, parseIp, readAddr16, writeAddr16 } from '../../src/core/ip.ts'
import {
  PROBE_ADDRESS,
  PROBE_AGE,
  PROBE_ERRNO,
  PROBE_LENGTH,
  PROBE_PORT,
  PROBE_WORDS,
} from '../../src/native/binding.ts'
import { loadNative } from '../../src/native/load.ts'
import { LOOPBACK4, LOOPBACK6, thrownBy } from '../native/support.ts'

const native = loadNative()
const open: number[] = []
const socket = (address: Uint8Array, port: number): number => {
  const fd = native.openProbeSocket({ device: 'lo', address, port, buffer: 1 << 18 })
  open.push(fd)
  return fd
}
afterAll(() => {
  for (const fd of open) native.close(fd)
})

const PORTS = [41873, 41874] as const
const records = (count: number): Uint32Array => new Uint32Array(count * PROBE_WORDS)
function address(list: Uint32Array, i: number, text: string): void {
  writeAddr16(parseIp(text), new Uint8Array(list.buffer), 4 * (i * PROBE_WORDS + PROBE_ADDRESS))
}

describe.each([
  ['127.0.0.1', LOOPBACK4],
  ['::1', LOOPBACK6],
] as const)('probe sockets on %s', (text, bytes) => {
  const [from, to] = [socket(bytes, PORTS[0]), socket(bytes, PORTS[1])]

  // The kernel begins to stamp what it receives a while after the first socket asks (net_enable_timestamp, in a work queue).
  beforeAll(() => new Promise((resolve) => setTimeout(resolve, 500)))

  test('carry batches of any size in order, padded with zeros, cut to the stride, with their true length', async () => {
    const count = 150
    const out = records(count)
    const data = new Uint8Array(count * 16)
    for (let i = 0; i < count; i++) {
      out[i * PROBE_WORDS + PROBE_LENGTH] = i
      out[i * PROBE_WORDS + PROBE_PORT] = PORTS[1]
      out[i * PROBE_WORDS + PROBE_ERRNO] = 99
      address(out, i, text)
      data.fill(i + 1, i * 16, (i + 1) * 16)
    }
    expect(native.probeSend(from, data, 16, out, count)).toBe(0)
    await new Promise((resolve) => setTimeout(resolve, 30))
    for (let i = 0; i < count; i++) expect(out[i * PROBE_WORDS + PROBE_ERRNO]).toBe(0)
    const into = records(count + 8)
    const got = new Uint8Array((count + 8) * 20).fill(0xee)
    expect(native.probeReceive(to, got, 20, into)).toBe(count)
    for (let i = 0; i < count; i++) {
      const at = i * PROBE_WORDS
      expect(into[at + PROBE_LENGTH]).toBe(i)
      expect(into[at + PROBE_PORT]).toBe(PORTS[0])
      expect(formatIp(readAddr16(new Uint8Array(into.buffer), 4 * (at + PROBE_ADDRESS)))).toBe(text)
      expect(into[at + PROBE_AGE]).toBeGreaterThanOrEqual(29_000)
      expect(into[at + PROBE_AGE]).toBeLessThan(10_000_000)
      const wanted = Array.from({ length: 20 }, (_, n) => (n >= i ? 0xee : n < 16 ? i + 1 : 0))
      expect([...got.subarray(i * 20, (i + 1) * 20)]).toEqual(wanted)
    }
    expect(native.probeReceive(to, got, 20, into)).toBe(0)
  })

  test('go on behind a datagram that is refused', () => {
    const out = records(3)
    for (let i = 0; i < 3; i++) {
      // 65,535 octets and the headers are more than a packet holds.
      out[i * PROBE_WORDS + PROBE_LENGTH] = i === 1 ? 65535 : 5
      out[i * PROBE_WORDS + PROBE_PORT] = PORTS[1]
      address(out, i, text)
    }
    expect(native.probeSend(from, new Uint8Array(12), 4, out, 3)).toBe(1)
    expect([0, 1, 2].map((i) => out[i * PROBE_WORDS + PROBE_ERRNO])).toEqual([0, 90, 0])
    expect(native.probeReceive(to, new Uint8Array(64), 1, records(1))).toBe(1)
    expect(native.probeReceive(to, new Uint8Array(64), 1, records(64))).toBe(1)
  })

  test('refuse what is out of range before anything is sent', () => {
    const out = records(2)
    out.set([4, PORTS[1]], 0)
    address(out, 0, text)
    for (const [length, port] of [
      [65536, 1],
      [1, 0],
      [1, 65536],
    ] as const) {
      out.set([length, port], PROBE_WORDS)
      expect(thrownBy(() => native.probeSend(from, new Uint8Array(8), 4, out, 2)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
    }
    expect(thrownBy(() => native.probeSend(from, new Uint8Array(8), 4, out, 3)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
    expect(thrownBy(() => native.probeSend(from, new Uint8Array(7), 4, out, 2)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
    expect(thrownBy(() => native.probeReceive(to, new Uint8Array(3), 4, out)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
    expect(native.probeReceive(to, new Uint8Array(64), 4, out)).toBe(0)
  })
})

test('a counter is of packet sockets only, of a family, and a probe socket of an address', () => {
  expect(thrownBy(() => native.openPacketCounter('lo', 5, 1)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
  expect(thrownBy(() => native.packetCount(open[0] ?? -1)).code).toBe('SEKISHO_NATIVE_SYSCALL')
  const options = { device: 'lo', address: new Uint8Array(5), port: 1, buffer: 1 }
  expect(thrownBy(() => native.openProbeSocket(options)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
  // A name that is too long is none.
  expect(thrownBy(() => native.openPacketCounter('x'.repeat(16), 4, 1)).code).toBe('SEKISHO_NATIVE_ARGUMENT')
})

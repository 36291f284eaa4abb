/** An end of two links that stand for slots: the prober, the counter, and bare sockets that answer as they are told. */
import { randomFillSync } from 'node:crypto'
import { systemClock } from '../../../src/core/clock.ts'
import { formatIp, parseIp, readAddr16, writeAddr16 } from '../../../src/core/ip.ts'
import { silentLog } from '../../../src/core/log.ts'
import { PROBE_ADDRESS, PROBE_LENGTH, PROBE_PORT, PROBE_WORDS, type Fd } from '../../../src/native/binding.ts'
import { loadNative } from '../../../src/native/load.ts'
import type { Announcement } from '../../../src/wg/pair.ts'
import { createProber, type CountingProber } from '../../../src/wg/probe/prober.ts'
import { createSlotCounter } from '../../../src/wg/probe/slot-counter.ts'
import type { ProbeResult, SlotCounter } from '../../../src/wg/seams.ts'
import type { Slot } from '../../../src/wg/slots.ts'
import { serve } from '../datapath/in-namespace.ts'

const native = loadNative()
const random = (words: Uint32Array): void => {
  randomFillSync(words)
}
let prober: CountingProber | undefined
let counter: SlotCounter | undefined
let announcements: Readonly<Record<string, Announcement>> = {}
const results: ProbeResult[] = []
let mtu = 1400
const raw = new Map<string, Fd>()

const here = (): CountingProber => {
  if (prober === undefined) throw new Error('no prober')
  return prober
}
const rawSocket = (name: string): Fd => raw.get(name) ?? -1

serve({
  async start(devices: [string, string], port: number, addresses: readonly string[]) {
    prober = createProber(
      { devices, port, addresses: addresses.map(parseIp), mtu: () => mtu },
      { native, clock: systemClock, random, log: silentLog },
    )
    await prober.start({
      result: (result) => results.push(result),
      announce: (uid) => announcements[uid],
    })
  },
  mtu(value: number) {
    mtu = value
  },
  announce(of: Readonly<Record<string, Announcement>>) {
    announcements = of
  },
  targets(list: readonly { uid: string; addresses: readonly string[] }[]) {
    here().setTargets(list.map(({ uid, addresses }) => ({ uid, addresses: addresses.map(parseIp) })))
  },
  ask(uid: string, slot: Slot, fullSize?: boolean) {
    here().ask(uid, slot, fullSize)
  },
  results() {
    return results.splice(0)
  },
  counters: () => here().counters(),
  slotReplaced: (slot: Slot) => here().slotReplaced(slot),
  stop: () => prober?.stop(),

  /** Nothing is worked on for this long. */
  block(ms: number) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
  },
  openRaw(name: string, device: string, address: string, port: number) {
    raw.set(name, native.openProbeSocket({ device, address: parseIp(address).bytes, port, buffer: 1 << 16 }))
  },
  readRaw(name: string) {
    const data = new Uint8Array(64 * 64)
    const records = new Uint32Array(64 * PROBE_WORDS)
    const count = native.probeReceive(rawSocket(name), data, 64, records)
    return Array.from({ length: count }, (_, i) => ({
      octets: records[i * PROBE_WORDS + PROBE_LENGTH],
      port: records[i * PROBE_WORDS + PROBE_PORT],
      address: formatIp(readAddr16(new Uint8Array(records.buffer), 4 * (i * PROBE_WORDS + PROBE_ADDRESS))),
      hex: Buffer.from(data.subarray(i * 64, (i + 1) * 64)).toString('hex'),
    }))
  },
  /** `hex` at the beginning of a datagram of `octets` octets. Gives the errno. */
  sendRaw(name: string, to: string, port: number, hex: string, octets: number) {
    const records = new Uint32Array(PROBE_WORDS)
    records[PROBE_LENGTH] = octets
    records[PROBE_PORT] = port
    writeAddr16(parseIp(to), new Uint8Array(records.buffer), 4 * PROBE_ADDRESS)
    const data = new Uint8Array(64)
    data.set(Buffer.from(hex, 'hex'))
    native.probeSend(rawSocket(name), data, Math.max(1, Math.min(64, octets)), records, 1)
    return records[3]
  },
  closeRaw(name: string) {
    native.close(rawSocket(name))
    raw.delete(name)
  },

  count(devices: [string, string], probePort: number) {
    counter = createSlotCounter({ devices, probePort }, { native, log: silentLog })
  },
  packets: (slot: Slot) => counter?.packets(slot),
  counterReplaced: (slot: Slot) => counter?.slotReplaced(slot),
  stopCounter: () => counter?.stop(),
})

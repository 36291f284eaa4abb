/** The node's side: the datapath, and a proxy that answers with what it sees instead of an agent. */
import { createServer, type Server } from 'node:net'
import { openIpcacheMap, openPolicyMaps, type KernelRow } from '../../../src/bpf/maps.ts'
import type { Log } from '../../../src/core/log.ts'
import { parseCidr, parseIp } from '../../../src/core/ip.ts'
import { cleanupDatapath, createDatapath } from '../../../src/datapath/datapath.ts'
import type { Datapath, DatapathConfig } from '../../../src/datapath/ports.ts'
import { dropReason } from '../../../src/datapath/reasons.ts'
import { PUMP_LISTENER } from '../../../src/native/binding.ts'
import { loadNative } from '../../../src/native/load.ts'
import { Bench } from '../../native/support.ts'
import { serve } from './in-namespace.ts'

const native = loadNative()
const said: { level: string; message: string; fields: string }[] = []
const saying = (level: string) => (fields: object, message: string) => {
  said.push({
    level,
    message: `${message} ${'err' in fields ? String(fields.err) : ''}`,
    fields: JSON.stringify(fields),
  })
}
const log: Log = { debug() {}, info: saying('info'), warn: saying('warn'), error: saying('error') }

let datapath: Datapath | undefined
const here = (): Datapath => {
  if (datapath === undefined) throw new Error('not started')
  return datapath
}

const LOOPBACKS = ['127.0.0.1', '::1'] as const
let proxy: { fds: number[]; servers: Server[]; timer: NodeJS.Timeout; bench: Bench } | undefined

/** UDP and TCP on 127.0.0.1 and ::1; the answer is the original destination as "address port". */
function openProxy(port: number): void {
  const reply4 = native.openUdpReply(4)
  const reply6 = native.openUdpReply(6)
  const bench = new Bench(native, { reply4, reply6 })
  const fds = [reply4, reply6]
  const servers: Server[] = []
  for (const address of LOOPBACKS) {
    const udp = native.openUdpListener({ address: parseIp(address).bytes, port, transparent: true })
    native.pumpAdd(bench.pump, udp, PUMP_LISTENER, fds.length)
    fds.push(udp)
    const fd = native.openTcpListener({ address: parseIp(address).bytes, port, transparent: true })
    const server = createServer((socket) => {
      socket.on('error', () => undefined)
      socket.on('data', () => socket.write(`proxy ${socket.localAddress} ${socket.localPort}`))
    })
    server.listen({ fd })
    servers.push(server)
  }
  const timer = setInterval(() => {
    // A step sends what was queued and receives at once: nothing it gave may be left unanswered.
    for (let received = bench.step(); received.length > 0; received = bench.step()) {
      for (const one of received) {
        const answer = Buffer.from(`proxy ${one.destination} ${one.destinationPort}`)
        bench.reply(one.destination, one.destinationPort, one.source, one.sourcePort, answer)
      }
    }
  }, 2)
  proxy = { fds, servers, timer, bench }
}

function closeProxy(): void {
  if (proxy === undefined) return
  clearInterval(proxy.timer)
  for (const server of proxy.servers) server.close()
  for (const fd of proxy.fds) native.close(fd)
  native.pumpDestroy(proxy.bench.pump)
  proxy = undefined
}

let heard = 0
let woken = 0

interface Endpoint {
  readonly id: number
  readonly interface: string
  readonly addresses: readonly string[]
  readonly enforced: boolean
}

serve({
  start: async (config: DatapathConfig, object: string) => {
    datapath = createDatapath({ native, log, object }, config)
    await datapath.start()
    woken = 0
    const started = datapath
    started.whenEvents(() => {
      woken++
      heard += started.events().length
    })
  },
  async apply(endpoints: readonly Endpoint[]) {
    await here().applyEndpoints(
      endpoints.map((one) => ({ ...one, name: `test/${one.id}`, addresses: one.addresses.map(parseIp) })),
    )
  },
  rows(id: number, rows: readonly KernelRow[], proxyPort: number) {
    const maps = openPolicyMaps(native, here().maps.policy, { proxyPort, entries: 256 })
    const map = maps.create(rows)
    maps.attach(id, map)
    map.close()
  },
  identities(entries: readonly [string, number][]) {
    const map = openIpcacheMap(native, here().maps.ipcache)
    map.update(entries.map(([cidr, identity]) => ({ cidr: parseCidr(cidr), identity })))
  },
  forgetIdentities(cidrs: readonly string[]) {
    openIpcacheMap(native, here().maps.ipcache).delete(cidrs.map((cidr) => parseCidr(cidr)))
  },
  states: () => here().states(),
  drops: () =>
    here()
      .counters()
      .drops.map((one) => ({ id: one.endpointId, reason: dropReason(one.reason), packets: one.packets })),
  /** Drops that were told, and how often we were woken for them. */
  heard: () => ({ heard, woken }),
  stop: () => here().stop(),
  cleanup(config: DatapathConfig) {
    cleanupDatapath({ native }, config)
  },
  openProxy,
  closeProxy,
  said: () => said,
})

import { connect, createServer, Socket } from 'node:net'
import type { Server } from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'
import { parseFqdn } from './core/fqdn.ts'
import { formatIp, readAddr16 } from './core/ip.ts'
import { Counters } from './dns/counters.ts'
import type { AnswerGate } from './dns/gate.ts'
import { TcpGate } from './dns/tcp-gate.ts'
import * as protocol from './dns/worker-protocol.ts'
import type { DnsMessage, DnsTcpData, ThreadMessage } from './dns/worker-protocol.ts'
import { createLearner } from './fqdn/shared/learner.ts'
import type { LearningMemory } from './fqdn/shared/learning-memory.ts'
import { loadNative } from './native/load.ts'
import { openSnapshot } from './policy/snapshot.ts'

/** Deadlines are looked at this often (ms), while there are any. */
const TICK_MS = 200
const MAX_PENDING = 512

export interface TcpOverrides {
  /** Tests put the wrong order here. */
  readonly gate?: AnswerGate
}

/** Composition root of the thread that serves DNS over TCP: an ordinary event loop that cannot stall UDP. */
export function runTcp(overrides: TcpOverrides = {}): void {
  const data = workerData as DnsTcpData
  const port = parentPort
  if (port === null) throw new Error('tcp.ts runs as a worker thread')
  const { settings } = data
  const native = loadNative()
  const control = new Int32Array(data.control)
  const say = (message: ThreadMessage): void => port.postMessage(message)
  const first = openSnapshot(data.snapshot)

  const connectTo = (server: Uint8Array, serverPort: number): Socket => {
    const ip = readAddr16(server, 0)
    if (settings.upstreamMark === 0) return connect({ host: formatIp(ip), port: serverPort })
    const fd = native.openTcpUpstream({ server: ip.bytes, port: serverPort, mark: settings.upstreamMark })
    return new Socket({ fd, readable: true, writable: true })
  }

  const gate = new TcpGate(
    {
      policy: first,
      learner: createLearner(data.learning as LearningMemory, data.client),
      counters: new Counters(data.counters),
      random: (words) => crypto.getRandomValues(words),
      connect: connectTo,
      now: () => native.monotonicMs(),
      ...(overrides.gate === undefined ? {} : { gate: overrides.gate }),
    },
    {
      denyResponse: settings.denyResponse,
      searchDomains: settings.searchDomains.map((name) => parseFqdn(name)),
      upstreamTimeoutMs: settings.upstreamTimeoutMs,
      ledgerTimeoutMs: settings.ledgerTimeoutMs,
      maxConnections: data.maxConnections,
      maxConnectionsPerEndpoint: data.maxConnectionsPerEndpoint,
      idleTimeoutMs: data.idleTimeoutMs,
      maxQueriesPerConnection: data.maxQueriesPerConnection,
      maxPending: MAX_PENDING,
      maxPendingPerEndpoint: protocol.shareOf(MAX_PENDING, settings.endpointShare),
    },
  )

  const servers: Server[] = data.listeners.map((listener) => {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      gate.accept(socket)
      work()
    })
    server.on('error', (error) => say({ kind: 'problem', message: String(error) }))
    server.listen({ fd: listener.fd })
    return server
  })

  let timer: NodeJS.Timeout | undefined
  let stopAt = Infinity
  const stop = (): void => {
    if (stopAt !== Infinity) return
    work()
    stopAt = native.monotonicMs() + settings.drainMs
    Atomics.store(control, protocol.CONTROL_STATE, protocol.THREAD_DRAINING)
    for (const server of servers) server.close()
    gate.finish()
  }
  const turn = (): void => {
    Atomics.add(control, protocol.CONTROL_TURNS, 1)
    gate.tick()
    if (stopAt === Infinity ? !gate.idle : gate.connections > 0 && native.monotonicMs() < stopAt) return
    clearInterval(timer)
    timer = undefined
    if (stopAt === Infinity) return
    gate.abort()
    port.close()
    data.completions.close()
    Atomics.store(control, protocol.CONTROL_STATE, protocol.THREAD_ENDED)
  }
  const work = (): void => {
    timer ??= setInterval(turn, TICK_MS)
  }

  data.completions.on('message', () => gate.completed())
  port.on('message', (message: DnsMessage) => {
    if (message.kind === 'stop') stop()
    else {
      try {
        const snapshot = openSnapshot(message.buffer)
        gate.setPolicy(snapshot)
        Atomics.store(control, protocol.CONTROL_GENERATION, snapshot.generation)
      } catch (error) {
        say({ kind: 'problem', message: String(error) })
      }
    }
  })

  Atomics.store(control, protocol.CONTROL_GENERATION, first.generation)
  Atomics.store(control, protocol.CONTROL_STATE, protocol.THREAD_SERVING)
  say({ kind: 'ready' })
}

if (import.meta.main) runTcp()

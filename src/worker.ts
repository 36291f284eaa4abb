import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { parseFqdn } from './core/fqdn.ts'
import { C_GAUGES, Counters, GAUGE_IO_URING } from './dns/counters.ts'
import type { AnswerGate } from './dns/gate.ts'
import { MAX_SERVERS, UPSTREAM_TAGS } from './dns/upstreams.ts'
import { WorkerCore } from './dns/worker-core.ts'
import { makeWorkerMemory } from './dns/worker-memory.ts'
import * as protocol from './dns/worker-protocol.ts'
import type { DnsMessage, DnsWorkerData, PumpChoice, ThreadMessage } from './dns/worker-protocol.ts'
import { createLearner } from './fqdn/shared/learner.ts'
import type { LearningMemory } from './fqdn/shared/learning-memory.ts'
import {
  HEADER_KICKED,
  HEADER_PATH,
  PATH_AUTO,
  PATH_EPOLL,
  PATH_IO_URING,
  PUMP_KICK,
  PUMP_LISTENER,
  PUMP_UPSTREAM,
} from './native/binding.ts'
import { loadNative } from './native/load.ts'
import { openSnapshot } from './policy/snapshot.ts'
import { goAhead } from './threads/priority.ts'

/** Deadlines run with the turn, and V8 sees a `terminate` only between turns, so no turn may sleep for ever. */
const TURN_MS = 200
const PATHS: Readonly<Record<PumpChoice, number>> = { auto: PATH_AUTO, epoll: PATH_EPOLL, io_uring: PATH_IO_URING }
const TAG_LISTENER = UPSTREAM_TAGS
const TAG_KICK = UPSTREAM_TAGS + 64

export interface WorkerOverrides {
  /** Tests put the wrong order here. */
  readonly gate?: AnswerGate
}

/**
 * Composition root of a dns worker: a synchronous pump. One native call a turn sends the last batch, waits and
 * receives; everything between is `WorkerCore.process`. Nothing here may await, log to the console or use a timer:
 * the thread never gets back to its event loop before it ends.
 */
export function runWorker(overrides: WorkerOverrides = {}): void {
  const data = workerData as DnsWorkerData
  const port = parentPort
  if (port === null) throw new Error('worker.ts runs as a worker thread')
  goAhead()
  const native = loadNative()
  const control = new Int32Array(data.control)
  const counters = new Counters(data.counters)
  const memory = makeWorkerMemory(data.maxPending)
  const listens = (family: 4 | 6): boolean => data.listeners.some((listener) => listener.family === family)
  const mark = data.replyMark === 0 ? undefined : data.replyMark
  const reply4 = listens(4) ? native.openUdpReply(4, mark) : -1
  const reply6 = listens(6) ? native.openUdpReply(6, mark) : -1
  const { buffer, slots, stride, rx, out, header, now } = memory
  const pump = native.pumpCreate({
    buffer,
    slots,
    stride,
    rx,
    out,
    header,
    now,
    reply4,
    reply6,
    path: PATHS[data.pump],
  })
  const upstreamMark = data.settings.upstreamMark
  const first = openSnapshot(data.snapshot)
  const core = new WorkerCore(
    {
      memory,
      sockets: {
        open: (server, serverPort) =>
          native.openUdpUpstream(
            upstreamMark === 0 ? { server, port: serverPort } : { server, port: serverPort, mark: upstreamMark },
          ),
        add: (fd, tag) => native.pumpAdd(pump, fd, PUMP_UPSTREAM, tag),
        remove: (tag) => native.pumpRemove(pump, tag),
        close: (fd) => native.close(fd),
      },
      policy: first,
      learner: createLearner(data.learning as LearningMemory, data.client),
      counters,
      random: (words) => crypto.getRandomValues(words),
      ...(overrides.gate === undefined ? {} : { gate: overrides.gate }),
    },
    {
      denyResponse: data.settings.denyResponse,
      searchDomains: data.settings.searchDomains.map((name) => parseFqdn(name)),
      upstreamTimeoutMs: data.settings.upstreamTimeoutMs,
      ledgerTimeoutMs: data.settings.ledgerTimeoutMs,
      maxInFlight: data.maxInFlight,
      maxInFlightPerEndpoint: protocol.shareOf(data.maxInFlight, data.settings.endpointShare),
      maxPending: data.maxPending,
      maxPendingPerEndpoint: protocol.shareOf(data.maxPending, data.settings.endpointShare),
      maxServersPerEndpoint: protocol.shareOf(MAX_SERVERS, data.settings.endpointShare),
    },
  )
  native.pumpAdd(pump, data.kick, PUMP_KICK, TAG_KICK)
  data.listeners.forEach((listener, i) => native.pumpAdd(pump, listener.fd, PUMP_LISTENER, TAG_LISTENER + i))
  Atomics.store(control, protocol.CONTROL_GENERATION, first.generation)
  const path = header[HEADER_PATH]!
  Atomics.store(control, protocol.CONTROL_PATH, path)
  counters.set(C_GAUGES + GAUGE_IO_URING, path === PATH_IO_URING ? 1 : 0)
  Atomics.store(control, protocol.CONTROL_STATE, protocol.THREAD_SERVING)
  port.postMessage({ kind: 'ready' } satisfies ThreadMessage)

  const takeMessages = (): void => {
    for (let envelope; (envelope = receiveMessageOnPort(port)) !== undefined;) {
      const message = envelope.message as DnsMessage
      if (message.kind !== 'snapshot') continue
      try {
        const snapshot = openSnapshot(message.buffer)
        core.setPolicy(snapshot)
        Atomics.store(control, protocol.CONTROL_GENERATION, snapshot.generation)
      } catch (error) {
        // The policy in force stays; main sees that the generation does not move.
        port.postMessage({ kind: 'problem', message: String(error) } satisfies ThreadMessage)
      }
    }
  }

  // What a turn calls is looked up here, once: the addon's object has no layout that V8 keeps such look-ups for.
  const { pumpStep } = native
  const { CONTROL_TURNS } = protocol
  let outgoing = 0
  let turns = 0
  const turn = (): number => {
    const received = pumpStep(pump, outgoing, TURN_MS)
    // Also with nothing received: deadlines are looked at here.
    outgoing = core.process(received, now[0]!)
    control[CONTROL_TURNS] = turns = (turns + 1) | 0
    return received
  }
  let drainUntil = Infinity
  for (;;) {
    const received = turn()
    if (drainUntil === Infinity) {
      // Who sends a message or stores the stop kicks, so a turn with neither kick nor leisure looks for neither.
      if (header[HEADER_KICKED] === 0 && received > 0) continue
      takeMessages()
      if (Atomics.load(control, protocol.CONTROL_STOP) === 0) continue
      data.listeners.forEach((_, i) => native.pumpRemove(pump, TAG_LISTENER + i))
      Atomics.store(control, protocol.CONTROL_STATE, protocol.THREAD_DRAINING)
      drainUntil = now[0]! + data.settings.drainMs
    }
    if ((outgoing === 0 && core.inFlight === 0) || now[0]! >= drainUntil) break
  }
  native.pumpStep(pump, outgoing, 0)
  core.closeUpstreams()
  native.pumpDestroy(pump)
  if (reply4 >= 0) native.close(reply4)
  if (reply6 >= 0) native.close(reply6)
  Atomics.store(control, protocol.CONTROL_STATE, protocol.THREAD_ENDED)
}

if (import.meta.main) runWorker()

import type { MessagePort } from 'node:worker_threads'
import type { Config } from '../config/schema.ts'
import { SekishoError } from '../core/errors.ts'
import type { Startable } from '../core/lifecycle.ts'
import type { Log } from '../core/log.ts'
import { COUNTERS_BYTES } from '../dns/counters.ts'
import * as protocol from '../dns/worker-protocol.ts'
import type { DnsListener, DnsSettings, DnsTcpData, DnsWorkerData, ThreadMessage } from '../dns/worker-protocol.ts'
import type { LearningMemory } from '../fqdn/shared/learning-memory.ts'
import type { Fd, SocketCalls } from '../native/binding.ts'
import { superviseThread, type Thread } from '../threads/supervisor.ts'
import type { LedgerThread } from './ledger-thread.ts'

const LOOPBACK = [
  { family: 4, address: new Uint8Array([127, 0, 0, 1]) },
  { family: 6, address: new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]) },
] as const

/** The TCP port or the line to the ledger could not be had: tried again after this, ms. */
const RENEW_PAUSE_MS = 500
/** How often main looks whether every thread has taken the new snapshot, ms, and for how long. */
const SETTLE_POLL_MS = 5
const SETTLE_LIMIT_MS = 5000

export interface DnsThreadsDeps {
  readonly native: SocketCalls
  readonly config: Config
  readonly learning: LearningMemory
  readonly ledger: LedgerThread
  /** Eventfds, one a worker; main's. */
  readonly kicks: readonly Fd[]
  readonly log: Log
  readonly workerEntry: URL
  readonly tcpEntry: URL
}

export interface DnsThreads extends Startable {
  /** Takes the ports; throws SEKISHO_DNS_LISTEN when they are not to be had. The threads start with the first snapshot. */
  listen(): void
  /** Hands a snapshot to every thread; resolves when all use it (or one does not within seconds: then false). */
  use(buffer: SharedArrayBuffer, generation: number): Promise<boolean>
  /** The ledger was started again: the tcp thread needs a new line to it. */
  ledgerRestarted(): void
  readonly threads: readonly { readonly thread: Thread; readonly control: Int32Array }[]
  readonly counters: readonly SharedArrayBuffer[]
}

/** The listeners, the dns workers and the tcp thread. */
export function createDnsThreads(deps: DnsThreadsDeps): DnsThreads {
  const { native, config, ledger, log } = deps
  const { dns } = config
  const workers = deps.kicks.length
  const settings: DnsSettings = {
    denyResponse: dns.denyResponse,
    searchDomains: dns.searchDomains,
    upstreamTimeoutMs: dns.upstreamTimeout,
    ledgerTimeoutMs: protocol.DEFAULT_LEDGER_TIMEOUT_MS,
    upstreamMark: 0,
    drainMs: protocol.DEFAULT_DRAIN_MS,
    endpointShare: dns.endpointShare,
  }
  const controls = Array.from({ length: workers + 1 }, () => protocol.makeControl())
  const counters = controls.map(() => new SharedArrayBuffer(COUNTERS_BYTES))
  const views = controls.map((control) => new Int32Array(control))
  const udp: DnsListener[] = []
  let tcp: DnsListener[] = []
  let completions: MessagePort | undefined
  let snapshot: SharedArrayBuffer | undefined
  let running = false

  const openAll = (open: (address: Uint8Array) => Fd): DnsListener[] => {
    const opened: DnsListener[] = []
    try {
      for (const { family, address } of LOOPBACK) opened.push({ family, fd: open(address) })
    } catch (error) {
      for (const { fd } of opened) native.close(fd)
      throw new SekishoError('SEKISHO_DNS_LISTEN', `port ${dns.port}: ${(error as Error).message}`, {
        cause: error,
        hint: 'Another agent runs, or something else has the port; set dns.port.',
      })
    }
    return opened
  }
  const openTcp = (): DnsListener[] =>
    openAll((address) => native.openTcpListener({ address, port: dns.port, transparent: true, backlog: 1024 }))

  function common(index: number) {
    if (snapshot === undefined) throw new Error('a dns thread starts after the first snapshot')
    const control = controls[index]
    const counter = counters[index]
    if (control === undefined || counter === undefined) throw new RangeError(`no thread ${index}`)
    const view = new Int32Array(control)
    Atomics.store(view, protocol.CONTROL_STOP, 0)
    Atomics.store(view, protocol.CONTROL_STATE, protocol.THREAD_STARTING)
    return { control, counters: counter, snapshot, learning: deps.learning, client: index, settings }
  }

  function hear(name: string): (message: unknown) => void {
    return (message) => {
      const said = message as ThreadMessage
      if (said.kind === 'problem') log.warn({ thread: name, detail: said.message }, 'a dns thread met a problem')
      else log.info({ thread: name }, 'serving')
    }
  }

  const worker = (index: number): Thread => {
    const kick = deps.kicks[index] ?? -1
    const name = `dns-${index}`
    return superviseThread({
      name,
      entry: deps.workerEntry,
      log,
      data() {
        const workerData: DnsWorkerData = {
          ...common(index),
          kind: 'dns-udp',
          listeners: udp,
          kick,
          pump: dns.pump,
          replyMark: 0,
          maxInFlight: dns.maxInFlight,
          maxPending: dns.maxPending,
        }
        return { workerData }
      },
      onMessage: hear(name),
      beforeRestart: () => ledger.resetWorker(index),
      askToStop() {
        Atomics.store(views[index] ?? new Int32Array(1), protocol.CONTROL_STOP, 1)
        native.kick(kick)
      },
      wake: () => native.kick(kick),
      stopMs: settings.drainMs + 1000,
    })
  }

  const tcpThread = superviseThread({
    name: 'tcp',
    entry: deps.tcpEntry,
    log,
    data() {
      if (completions === undefined) throw new Error('the tcp thread has no line to the ledger')
      const line = completions
      const listeners = tcp
      // Both go to the thread, and end with it.
      completions = undefined
      tcp = []
      const workerData: DnsTcpData = {
        ...common(workers),
        kind: 'dns-tcp',
        listeners,
        completions: line,
        maxConnections: dns.tcp.maxConnections,
        maxConnectionsPerEndpoint: dns.tcp.maxConnectionsPerEndpoint,
        idleTimeoutMs: dns.tcp.idleTimeout,
        maxQueriesPerConnection: dns.tcp.maxQueriesPerConnection,
      }
      return { workerData, transfer: [line] }
    },
    onMessage: hear('tcp'),
    beforeRestart: () => inTurn(renewTcp),
    askToStop() {
      Atomics.store(views[workers] ?? new Int32Array(1), protocol.CONTROL_STOP, 1)
      tcpThread.post({ kind: 'stop' })
    },
    wake: () => undefined,
    stopMs: settings.drainMs + 1000,
  })

  /** What the next tcp thread is given: the listeners of the one before went with it. Throws when the port is not to be had. */
  async function renewTcp(): Promise<void> {
    dropTcp()
    completions = await ledger.resetTcp()
    tcp = openTcp()
  }

  /** What no thread has taken. */
  function dropTcp(): void {
    completions?.close()
    completions = undefined
    for (const { fd } of tcp.splice(0)) native.close(fd)
  }

  /** The tcp thread with a line to the ledger of now. */
  async function restartTcp(): Promise<void> {
    while (running) {
      await tcpThread.stop()
      try {
        await renewTcp()
        if (running) await tcpThread.start()
        return
      } catch (error) {
        log.error({ err: error }, 'TCP cannot be served; trying again')
        await new Promise((resolve) => setTimeout(resolve, RENEW_PAUSE_MS))
      }
    }
  }

  /** Deaths of ledger and tcp thread can come together: what is given to the next thread is made by one at a time. */
  let turn: Promise<void> = Promise.resolve()
  function inTurn(act: () => Promise<void>): Promise<void> {
    const done = turn.then(act)
    turn = done.catch(() => undefined)
    return done
  }

  const threads = [...Array.from({ length: workers }, (_, i) => worker(i)), tcpThread].map((thread, i) => ({
    thread,
    control: views[i] ?? new Int32Array(protocol.CONTROL_WORDS),
  }))

  return {
    threads,
    counters,
    listen() {
      // TCP first: of two agents the second fails here, where UDP with SO_REUSEADDR would let it steal the queries.
      tcp = openTcp()
      udp.push(
        ...openAll((address) =>
          native.openUdpListener({ address, port: dns.port, transparent: true, receiveBuffer: dns.receiveBuffer }),
        ),
      )
    },
    start: () =>
      inTurn(async () => {
        completions = await ledger.resetTcp()
        running = true
        for (const { thread } of threads) await thread.start()
      }),
    async use(buffer, generation) {
      snapshot = buffer
      if (!running) return true
      for (const { thread } of threads) thread.post({ kind: 'snapshot', buffer })
      for (const kick of deps.kicks) native.kick(kick)
      const until = performance.now() + SETTLE_LIMIT_MS
      for (;;) {
        const behind = threads.some(
          ({ thread, control }) => thread.alive && Atomics.load(control, protocol.CONTROL_GENERATION) < generation,
        )
        if (!behind) return true
        if (performance.now() > until) return false
        await new Promise((resolve) => setTimeout(resolve, SETTLE_POLL_MS))
      }
    },
    ledgerRestarted() {
      // Before the start there is no thread yet, and the start makes the line.
      void inTurn(restartTcp)
    },
    async stop() {
      running = false
      await Promise.all(threads.map(({ thread }) => thread.stop()))
      await turn
      dropTcp()
      for (const { fd } of udp.splice(0)) native.close(fd)
    },
  }
}

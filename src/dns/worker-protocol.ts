import type { MessagePort } from 'node:worker_threads'
import type { Fd } from '../native/binding.ts'
import type { DenyResponse } from './denial.ts'

/**
 * What main and the dns threads say to each other.
 *
 * Main starts a thread with `DnsWorkerData` or `DnsTcpData` as workerData, posts `SnapshotMessage` with
 * `worker.postMessage` and then kicks `kick` (the udp thread reads its messages only after a kick; the tcp thread needs
 * none). To end a thread: store 1 in control[CONTROL_STOP], kick (udp) or post `StopMessage` (tcp), await its exit.
 * A thread posts `ThreadMessage`.
 *
 * Main may free a snapshot when every thread's control[CONTROL_GENERATION] has left it.
 */

/** Words (i32) of the control memory, each written by one side only. */
export const CONTROL_WORDS = 16
/** Main stores 1: take no new query, answer those in flight, end. */
export const CONTROL_STOP = 0
/** Generation of the snapshot in use. */
export const CONTROL_GENERATION = 1
/** One of the STATE_ values below. */
export const CONTROL_STATE = 2
/** Counts turns; one that stands still for over a second is stuck. */
export const CONTROL_TURNS = 3
/** How the pump waits: PATH_EPOLL or PATH_IO_URING, once the thread serves. */
export const CONTROL_PATH = 4

export const THREAD_STARTING = 0
export const THREAD_SERVING = 1
export const THREAD_DRAINING = 2
export const THREAD_ENDED = 3

export const makeControl = (): SharedArrayBuffer => new SharedArrayBuffer(CONTROL_WORDS * 4)

export interface DnsListener {
  readonly fd: Fd
  readonly family: 4 | 6
}

/** Settings of the gate that udp and tcp threads share; times in ms. */
export interface DnsSettings {
  readonly denyResponse: DenyResponse
  /** Presentation form. */
  readonly searchDomains: readonly string[]
  /**
   * When a query becomes SERVFAIL. Less than 5000, with the turn of at most 200 ms: glibc and musl give a server up
   * after 5 s, and what comes later than that answers nobody.
   */
  readonly upstreamTimeoutMs: number
  /** How long an answer may wait for the identity map. */
  readonly ledgerTimeoutMs: number
  /** SO_MARK of sockets towards servers, 0 none. */
  readonly upstreamMark: number
  /** How long a thread that was told to stop goes on for what is in flight. */
  readonly drainMs: number
  /** What one endpoint may have of what all share, percent. */
  readonly endpointShare: number
}

/** One endpoint's part of `total`. */
export const shareOf = (total: number, percent: number): number => Math.max(1, Math.floor((total * percent) / 100))

export const DEFAULT_UPSTREAM_TIMEOUT_MS = 4500
export const DEFAULT_LEDGER_TIMEOUT_MS = 1000
export const DEFAULT_DRAIN_MS = 2000

interface DnsThreadData {
  readonly control: SharedArrayBuffer
  /** COUNTERS_BYTES of counters.ts; kept by main over restarts, so that counters only rise. */
  readonly counters: SharedArrayBuffer
  /** The policy to start with. */
  readonly snapshot: SharedArrayBuffer
  /** Handed to `createLearner` as it is. */
  readonly learning: unknown
  /** Index of this thread among the ledger's clients. */
  readonly client: number
  readonly settings: DnsSettings
}

export type PumpChoice = 'auto' | 'epoll' | 'io_uring'

/** workerData of src/worker.ts. */
export interface DnsWorkerData extends DnsThreadData {
  readonly kind: 'dns-udp'
  /** Stay main's: what waits in them while a thread starts again is not lost. */
  readonly listeners: readonly DnsListener[]
  /** Eventfd, main's; kicked by main and by the ledger. */
  readonly kick: Fd
  /** How the pump waits; `io_uring` ends the thread where the kernel does not give it. */
  readonly pump: PumpChoice
  /** SO_MARK of the raw sockets that reply, 0 none. */
  readonly replyMark: number
  readonly maxInFlight: number
  readonly maxPending: number
}

/** workerData of src/tcp.ts. */
export interface DnsTcpData extends DnsThreadData {
  readonly kind: 'dns-tcp'
  /** Become the thread's: they are closed when it ends. Main opens new ones for the next thread. */
  readonly listeners: readonly DnsListener[]
  /** The ledger's end rings here (any message, `CompletedMessage` by custom) when completions are there to be drained. */
  readonly completions: MessagePort
  readonly maxConnections: number
  readonly maxConnectionsPerEndpoint: number
  readonly idleTimeoutMs: number
  /** 0 without limit. */
  readonly maxQueriesPerConnection: number
}

/** Main -> thread: judge by this snapshot from now on. */
export interface SnapshotMessage {
  readonly kind: 'snapshot'
  readonly buffer: SharedArrayBuffer
}

/** Main -> tcp thread, after control[CONTROL_STOP] is set. */
export interface StopMessage {
  readonly kind: 'stop'
}

/** Ledger -> tcp thread: completions are there to be drained. */
export interface CompletedMessage {
  readonly kind: 'completed'
}

export type DnsMessage = SnapshotMessage | StopMessage

/** Thread -> main. `ready`: the first snapshot is in use and queries are taken. */
export type ThreadMessage = { readonly kind: 'ready' } | { readonly kind: 'problem'; readonly message: string }

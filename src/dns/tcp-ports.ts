import type { Socket } from 'node:net'
import type { Fqdn } from '../core/fqdn.ts'
import type { Counters } from './counters.ts'
import type { DenyResponse } from './denial.ts'
import type { AnswerGate } from './gate.ts'
import type { Learner, PolicyView, RandomFill } from './ports.ts'

export interface TcpGateConfig {
  readonly denyResponse: DenyResponse
  /** Wire form. */
  readonly searchDomains: readonly Fqdn[]
  readonly upstreamTimeoutMs: number
  readonly ledgerTimeoutMs: number
  readonly maxConnections: number
  readonly maxConnectionsPerEndpoint: number
  readonly idleTimeoutMs: number
  /** 0 without limit. */
  readonly maxQueriesPerConnection: number
  readonly maxPending: number
  readonly maxPendingPerEndpoint: number
}

export interface TcpGateDeps {
  readonly policy: PolicyView
  readonly learner: Learner
  readonly counters: Counters
  readonly random: RandomFill
  /** A socket that is being connected to the server, an addr16. */
  readonly connect: (server: Uint8Array, port: number) => Socket
  /** CLOCK_MONOTONIC, ms. */
  readonly now: () => number
  /** Only tests hand in another. */
  readonly gate?: AnswerGate
}

/** A query of a TCP client that is not answered yet. */
export interface TcpQuery {
  readonly clientId: number
  /** Octets 2 and 3 of the header. */
  readonly flags: number
  readonly hadOpt: boolean
  readonly dnssecOk: boolean
  /** As sent. */
  readonly question: Uint8Array
  readonly endpointId: number
  readonly generation: number
  readonly startMs: number
}

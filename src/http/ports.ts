import type { SealView } from './wg-ports.ts'

/**
 * What the HTTP server wants of the agent. Every method answers from memory at once; none may throw, block or
 * hand out a secret. `agent.ts` implements it.
 */
export interface AgentView {
  /** One entry a part that must be up before the node may take traffic; the order is the order of start. */
  readiness(): readonly ReadinessLatch[]
  status(): StatusView
  endpoints(): readonly EndpointView[]
  /**
   * Names the ledger knows for one endpoint ("namespace/name"), or undefined when there is no such endpoint.
   * `offset` and `limit` have been checked: 0 <= offset, 1 <= limit <= 1000. Rejects when the ledger gives no answer in time.
   */
  names(endpoint: string, offset: number, limit: number): Promise<NamesPage | undefined>
  policy(): PolicyStatusView
  /** Latest drops, newest first, at most `limit` (1..1000). */
  drops(limit: number): readonly DropView[]
  /** Encryption between nodes; undefined while `wireguard.mode` is off. */
  wg(): SealView | undefined
}

export interface ReadinessLatch {
  /** Stable word: "datapath", "policy", "ledger", "dns". The server adds "lameduck" when it stops. */
  readonly name: string
  readonly ready: boolean
  /** Why not yet, one line; only when `ready` is false. */
  readonly reason?: string
}

export interface StatusView {
  readonly version: string
  readonly node: string
  readonly mode: string
  readonly pid: number
  /** RFC 3339. */
  readonly startedAt: string
  readonly uptimeSeconds: number
  readonly policyGeneration: number
  readonly endpoints: { readonly known: number; readonly enforced: number }
  readonly names: { readonly entries: number; readonly identities: number }
  readonly workers: readonly WorkerView[]
  /** Short sentences an operator should act on; empty when all is well. */
  readonly warnings: readonly string[]
}

export interface WorkerView {
  /** "dns-0", "tcp", "ledger", "compiler". */
  readonly name: string
  readonly state: 'starting' | 'running' | 'stopping' | 'stopped' | 'failed'
  readonly restarts: number
  /** Policy generation in use; null where a thread holds none. */
  readonly generation: number | null
  /** How a dns worker waits for packets; left out elsewhere, and while it starts. */
  readonly pump?: 'epoll' | 'io_uring'
}

export interface EndpointView {
  readonly id: number
  /** "namespace/name". */
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly addresses: readonly string[]
  readonly interface: string
  readonly enforced: boolean
  /** False while the interface is missing or the program is not on it. */
  readonly attached: boolean
  readonly drops: number
}

export interface NameView {
  /** Presentation form with the final dot. */
  readonly name: string
  readonly address: string
  /** Seconds until expiry; 0 when a live connection alone keeps the address. */
  readonly secondsLeft: number
  /** Identity in the ipcache. */
  readonly identity: number
}

export interface NamesPage {
  readonly total: number
  readonly names: readonly NameView[]
}

export interface PolicyStatusView {
  readonly generation: number
  /** RFC 3339, when this generation came into force; null before the first. */
  readonly appliedAt: string | null
  readonly rules: number
  readonly files: readonly { readonly file: string; readonly documents: number }[]
  /** Problems of the files as they are on disk now; not empty while an older generation stays in force. */
  readonly problems: readonly PolicyProblemView[]
}

export interface PolicyProblemView {
  readonly file: string
  readonly line: number
  readonly column: number
  readonly severity: 'error' | 'warning'
  readonly message: string
}

export interface DropView {
  /** RFC 3339 with milliseconds. */
  readonly time: string
  /** "namespace/name", or empty when the source is no endpoint. */
  readonly endpoint: string
  readonly direction: 'egress' | 'ingress'
  readonly reason: string
  readonly source: string
  readonly destination: string
  /** IANA protocol number. */
  readonly protocol: number
  /** 0 where the protocol has none. */
  readonly sourcePort: number
  readonly destinationPort: number
  readonly identity: number
}

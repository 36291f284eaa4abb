import type { MessagePort } from 'node:worker_threads'

/** How the ledger wakes a client after it completed requests of it: an eventfd (dns worker) or a port (tcp thread). */
export type ClientWake =
  { readonly kind: 'event'; readonly fd: number } | { readonly kind: 'port'; readonly port: MessagePort }

/** What is posted on a client's port: there are completions to take. */
export const COMPLETIONS_READY = { kind: 'completed' } as const

/** `workerData` of the ledger thread (src/ledger.ts). Ports of clients go into the transfer list. */
export interface LedgerInit {
  readonly kind: 'sekisho-ledger'
  /** LearningMemory of the fqdn room (src/fqdn/shared/learning-memory.ts); the same that clients get. */
  readonly learning: {
    readonly bell: SharedArrayBuffer
    readonly table: SharedArrayBuffer
    readonly clients: readonly SharedArrayBuffer[]
    readonly seed: readonly [number, number]
    readonly minTtlSeconds: number
    readonly graceSeconds: number
  }
  /** One a client, in the order of `learning.clients`; null while the client does not run. */
  readonly wakes: readonly (ClientWake | null)[]
  /** STATS_LENGTH doubles. */
  readonly stats: SharedArrayBuffer
  /** Descriptors of the pinned maps; main keeps owning them. */
  readonly maps: {
    readonly ipcache: number
    readonly policy: number
    readonly ct4: number
    readonly ct_any4: number
    readonly ct6: number
    readonly ct_any6: number
  }
  readonly proxyPort: number
  readonly policyEntries: number
  readonly ipcacheEntries: number
  readonly limits: {
    readonly maxAddressesPerName: number
    readonly maxNamesPerEndpoint: number
    readonly maxEntriesPerEndpoint: number
    readonly maxEntries: number
  }
  readonly conntrackIntervalMs: number
  /** Text form of the node's addresses (identity 1). */
  readonly nodeAddresses: readonly string[]
  readonly stateDir: string
  readonly snapshotIntervalMs: number
  /** 16 octets of /proc/sys/kernel/random/boot_id. */
  readonly bootId: Uint8Array
  /** The thread takes the place of one that died while its clients run on. */
  readonly restarted: boolean
}

/** Main to ledger, by `postMessage`, then `Doorbell.ring()` (the ledger never returns to its event loop). */
export type LedgerRequest =
  /** A policy to apply. Only the newest waits; an older one that was not begun is skipped and never acknowledged. */
  | { readonly type: 'snapshot'; readonly buffer: SharedArrayBuffer; readonly generation: number }
  /** Datapath flags are set and every worker has left older generations: what only they needed may go. */
  | { readonly type: 'settled'; readonly generation: number }
  /** A client thread died. Its rings are emptied; answered by `clientReset`, after which the next may start. */
  | { readonly type: 'resetClient'; readonly client: number; readonly wake: ClientWake | null }
  /** The chunks of state snapshot `sequence` are on disk, or could not be written. */
  | { readonly type: 'stateWritten'; readonly sequence: number; readonly ok: boolean }
  | { readonly type: 'nodes'; readonly addresses: readonly string[] }
  | { readonly type: 'query'; readonly id: number; readonly query: LedgerQuery }

export type LedgerQuery =
  /** What one endpoint learned, from the name used longest ago on; `limit` at most 1000 after the first `offset`. */
  | { readonly kind: 'names'; readonly endpointId: number; readonly offset: number; readonly limit: number }
  /** What is known about one address (text form). */
  | { readonly kind: 'address'; readonly address: string }

export interface LearnedAddress {
  readonly endpointId: number
  /** Presentation form with the final dot. */
  readonly name: string
  readonly address: string
  /** 0: over time; a live connection may keep it. */
  readonly secondsLeft: number
  /** In the ipcache under the address itself; 0 none. */
  readonly identity: number
}

export type LedgerAnswer =
  | { readonly kind: 'names'; readonly total: number; readonly names: readonly LearnedAddress[] }
  | {
      readonly kind: 'address'
      readonly identity: number
      /** Labels of that identity, sorted; empty for reserved and endpoints' identities. */
      readonly labels: readonly string[]
      /** At most 100. */
      readonly names: readonly LearnedAddress[]
    }
  | { readonly kind: 'error'; readonly message: string }

/** Ledger to main. */
export type LedgerMessage =
  /**
   * Generation `generation` (and every older one) is in the kernel. `failedEndpoints` keep their former rows because
   * new ones could not be written; the ledger tries again and acknowledges once more when that has changed.
   */
  | {
      readonly type: 'ack'
      readonly generation: number
      readonly failedEndpoints: readonly number[]
      readonly ms: number
    }
  /** A snapshot that could not be opened; the policy in force stays. */
  | { readonly type: 'refused'; readonly generation: number; readonly message: string }
  | { readonly type: 'clientReset'; readonly client: number; readonly ringGeneration: number }
  /** A part of the state snapshot; with `last`, all parts of `sequence` make names.snapshot (`writeFileAtomic`). */
  | { readonly type: 'state'; readonly sequence: number; readonly chunk: ArrayBuffer; readonly last: boolean }
  | { readonly type: 'answer'; readonly id: number; readonly answer: LedgerAnswer }
  /** Something the operator should know; at most one of a kind in ten seconds. */
  | { readonly type: 'problem'; readonly what: 'state' | 'journal' | 'kernel' | 'internal'; readonly message: string }
  /** Everything is flushed (its chunks came before); the thread ends by itself. */
  | { readonly type: 'stopped' }

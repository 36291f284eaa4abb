import type { Cidr, Ip } from '../core/ip.ts'

/** What this room wants of policy, bpf and fqdn; wired in src/ledger.ts. */
export interface PolicyEndpoint {
  readonly id: number
  readonly name: string
  readonly namespace: string
  readonly enforced: boolean
  /** -1 when not enforced. */
  readonly shape: number
  readonly labelsKey: string
  readonly addresses: readonly Ip[]
}

export interface IdentityLabels {
  readonly selectors: readonly number[]
  readonly prefixes: readonly number[]
  readonly endpoint: string | null
  readonly family: 4 | 6
}

export type Verdict = 'allow' | 'deny' | 'redirect'

export interface PolicyRow {
  readonly label: number
  readonly protocol: number
  readonly port: number
  readonly portBits: number
  readonly verdict: Verdict
}
export type KernelRow = PolicyRow

/** As it was found. */
export interface FoundRow extends PolicyRow {
  /** What stands for this verdict is not as we write it: another port to redirect to, another precedence. */
  readonly altered?: true
}

/** One generation of policy; see docs/architecture.md. */
export interface SelectorView {
  readonly generation: number
  readonly selectorCount: number
  selectorLabel(i: number): string
  matchSelectors(name: Uint8Array, offset: number, out: Uint32Array): number
  readonly prefixes: readonly Cidr[]
  readonly endpoints: readonly PolicyEndpoint[]
  readonly shapeCount: number
  shapeKey(shape: number): string
  staticRows(shape: number): readonly PolicyRow[]
  rowsFor(shape: number, labels: IdentityLabels): readonly PolicyRow[]
  /** Ascending shapes for which `rowsFor` may be non-empty, into `out`; returns how many. */
  shapesFor?(labels: IdentityLabels, out: Uint32Array): number
}

export interface IpcacheEntry {
  readonly cidr: Cidr
  readonly identity: number
}

export interface IpcacheMap {
  update(entries: readonly IpcacheEntry[]): void
  delete(cidrs: readonly Cidr[]): void
  dump(): Iterable<IpcacheEntry>
}

export interface PolicyMap {
  update(rows: readonly KernelRow[]): void
  delete(rows: readonly KernelRow[]): void
  dump(): Iterable<FoundRow>
  /** Another number when a row has changed since; see src/bpf/policy-maps.ts. */
  digest(): number
  close(): void
}

export interface PolicyMaps<M extends PolicyMap = PolicyMap> {
  create(rows: readonly KernelRow[]): M
  /** In order; returns how many were attached: less than all when the one after them was refused. */
  attachAll(entries: readonly { readonly endpointId: number; readonly map: M }[]): number
  detachAll(endpointIds: readonly number[]): void
  attached(): Iterable<number>
}

export interface ConntrackMap {
  scan(max: number, nowSeconds: number, live: (endpoint: Uint8Array, remote: Uint8Array) => void): boolean
}

/** The names' side of a policy change (src/fqdn). */
export interface Names {
  matcher: (name: Uint8Array, offset: number) => number
  /** Asks the policy about the names from row `from` on; the row to go on with, -1 at the end. */
  reevaluate(from: number, max: number): number
  /** Label set that names give to an address, 0 none. */
  labelsOf(addr16: Uint8Array, offset: number): number
  /** Queues learned addresses from row `from` on for a new look; the row to go on with, -1 at the end. */
  touchAddresses(from: number, max: number): number
  readonly endpoints: Iterable<{ readonly id: number; readonly key: string }>
  addEndpoint(id: number, key: string): void
  dropEndpoint(id: number, nowSeconds: number, max: number): boolean
  adopt(addr16: Uint8Array, offset: number, set: number, until: number): boolean
}

import type { Cidr, Ip } from '../core/ip.ts'
import type { DomainPattern } from './patterns/pattern.ts'

/** Where a rule, a peer or a pattern was written; lines and columns count from 1. */
export interface Origin {
  readonly file: string
  readonly line: number
  readonly column: number
  /** Path inside the document: `spec.egress[0].toPorts[0]`. */
  readonly path: string
}

/** One requirement on one label; a selector is the conjunction of its requirements. */
export interface Requirement {
  readonly key: string
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist'
  /** Empty for Exists and DoesNotExist. */
  readonly values: readonly string[]
}

export type LabelSelector = readonly Requirement[]

/** The label that carries an endpoint's namespace. */
export const NAMESPACE_LABEL = 'io.kubernetes.pod.namespace'

/** Entities that the standalone datapath can tell apart. */
export type Entity = 'all' | 'world' | 'world-ipv4' | 'world-ipv6' | 'cluster' | 'host' | 'none'

export type Peer =
  | { readonly kind: 'fqdn'; readonly pattern: DomainPattern; readonly origin: Origin }
  | { readonly kind: 'cidr'; readonly cidr: Cidr; readonly except: readonly Cidr[]; readonly origin: Origin }
  | { readonly kind: 'entity'; readonly entity: Entity; readonly origin: Origin }
  | { readonly kind: 'endpoints'; readonly selector: LabelSelector; readonly origin: Origin }

export type Protocol = 'ANY' | 'TCP' | 'UDP' | 'SCTP'

/** Ports `port` to `endPort`; port 0 (then endPort is 0 too) is every port. */
export interface PortRange {
  readonly protocol: Protocol
  readonly port: number
  readonly endPort: number
}

export interface DnsPattern {
  readonly pattern: DomainPattern
  readonly origin: Origin
}

/**
 * One peers × ports product. `dns` restricts DNS look-ups through this rule to its patterns; null does not.
 * A deny rule has no `dns`, no `fqdn` peer.
 */
export interface Rule {
  readonly deny: boolean
  /** The rule applies to a destination that any of them selects; an empty list selects nothing. */
  readonly peers: readonly Peer[]
  /** An empty list is every protocol and port. */
  readonly ports: readonly PortRange[]
  readonly dns: readonly DnsPattern[] | null
  readonly origin: Origin
}

/** One spec: which endpoints it selects, and what they may reach. */
export interface Policy {
  readonly name: string
  /** Null for a cluster-wide policy. */
  readonly namespace: string | null
  readonly origin: Origin
  readonly subject: LabelSelector
  /** False leaves what no rule covers open (`enableDefaultDeny.egress: false`). */
  readonly defaultDeny: boolean
  readonly rules: readonly Rule[]
}

/** A pod of this node, as the compiler is told of it. `id` is 1 to 65535 and stable. */
export interface EndpointInput {
  readonly id: number
  readonly name: string
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  readonly addresses: readonly Ip[]
}

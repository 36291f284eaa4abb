import { cidrContains } from '../core/ip.ts'
import type { Ip } from '../core/ip.ts'
import { walkMatches } from './label-walk.ts'
import type { NameLabels } from './label-walk.ts'
import { selectorMatches } from './labels.ts'
import type { LabelSet } from './labels.ts'
import type { DomainPattern } from './patterns/pattern.ts'
import { rangesCover } from './ports.ts'
import type { Entity, Peer, Rule } from './rules.ts'

/**
 * The plain meaning of rules, one by one and slowly: what explains verdicts to a human, and what the compiled
 * snapshot is tested against.
 */

/** Where a packet or a query goes. `learned` tells which patterns stand for a name that the address is known by. */
export type Destination =
  | { readonly kind: 'endpoint'; readonly labels: LabelSet }
  | { readonly kind: 'host' }
  | { readonly kind: 'outside'; readonly ip: Ip; readonly learned?: (pattern: DomainPattern) => boolean }

export function peerSelects(peer: Peer, to: Destination): boolean {
  switch (peer.kind) {
    case 'entity':
      return entitySelects(peer.entity, to)
    case 'endpoints':
      return to.kind === 'endpoint' && selectorMatches(peer.selector, to.labels)
    case 'cidr':
      return (
        to.kind === 'outside' &&
        cidrContains(peer.cidr, to.ip) &&
        !peer.except.some((except) => cidrContains(except, to.ip))
      )
    case 'fqdn':
      return to.kind === 'outside' && to.learned?.(peer.pattern) === true
  }
}

function entitySelects(entity: Entity, to: Destination): boolean {
  switch (entity) {
    case 'all':
      return true
    case 'none':
      return false
    case 'host':
      return to.kind === 'host'
    case 'cluster':
      return to.kind !== 'outside'
    case 'world':
      return to.kind === 'outside'
    case 'world-ipv4':
      return to.kind === 'outside' && to.ip.family === 4
    case 'world-ipv6':
      return to.kind === 'outside' && to.ip.family === 6
  }
}

/** Rules that select the destination and hold the port. */
export function covering(rules: readonly Rule[], to: Destination, protocol: number, port: number): Rule[] {
  return rules.filter(
    (rule) => rangesCover(rule.ports, protocol, port) && rule.peers.some((peer) => peerSelects(peer, to)),
  )
}

/** A DNS rule is in force over UDP and TCP alone. */
const isInForce = (rule: Rule, protocol: number): boolean => rule.dns === null || protocol === 6 || protocol === 17

/** What the kernel does with a packet of an enforced endpoint. */
export function packetVerdict(
  rules: readonly Rule[],
  to: Destination,
  protocol: number,
  port: number,
): 'allow' | 'deny' | 'redirect' | 'none' {
  const found = covering(rules, to, protocol, port).filter((rule) => isInForce(rule, protocol))
  if (found.some((rule) => rule.deny)) return 'deny'
  if (found.some((rule) => rule.dns !== null)) return 'redirect'
  return found.length > 0 ? 'allow' : 'none'
}

/** 0 no rule, 1 the name is not allowed, 2 allowed: as `Snapshot.verdict`. */
export function lookupVerdict(
  rules: readonly Rule[],
  server: Destination,
  protocol: number,
  port: number,
  name: NameLabels,
): 0 | 1 | 2 {
  const found = covering(rules, server, protocol, port)
  if (found.length === 0 || found.some((rule) => rule.deny)) return 0
  const allowed = found.some(({ dns }) => dns?.some(({ pattern }) => walkMatches(pattern, name)) ?? true)
  return allowed ? 2 : 1
}

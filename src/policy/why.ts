import type { Ip } from '../core/ip.ts'
import { equalIp, formatIp } from '../core/ip.ts'
import { describePeer, describePorts } from './describe.ts'
import { covering } from './evaluate.ts'
import type { Destination } from './evaluate.ts'
import { walkMatches } from './label-walk.ts'
import type { NameLabels } from './label-walk.ts'
import { endpointLabels } from './labels.ts'
import { nearMiss } from './near-miss.ts'
import { combinedRules, SubjectIndex } from './subjects.ts'
import type { DomainPattern } from './patterns/pattern.ts'
import type { EndpointInput, Origin, Policy, Rule } from './rules.ts'

export interface WhyInput {
  readonly policies: readonly Policy[]
  readonly endpoints: readonly EndpointInput[]
  readonly endpoint: EndpointInput
  readonly name: NameLabels
  /** Judge this DNS server (port 53) only; any server without it. */
  readonly server?: Ip
  readonly hostAddresses?: readonly Ip[]
}

/** A rule that takes part in the answer. */
export interface Reason {
  readonly policy: string
  readonly origin: Origin
  /** Patterns or peers that hold; empty when the rule has no restriction. */
  readonly matched: readonly string[]
  /** Servers (look-up) or destinations (connection), in words. */
  readonly peers: readonly string[]
  readonly ports: string
}

export interface Answer {
  readonly allowed: boolean
  readonly by: readonly Reason[]
  /** Deny rules that stand against it. */
  readonly against: readonly Reason[]
}

export interface WhyReport {
  /** False: no policy selects the endpoint, everything is open. */
  readonly enforced: boolean
  readonly policies: readonly string[]
  readonly lookup: Answer
  /** Connections to the addresses that the name resolves to. */
  readonly connection: Answer
  /** What is missing, or nearly fits; sentences. */
  readonly missing: readonly string[]
}

const DNS_PORT = 53

/** Which rules let an endpoint look a name up and connect to it, and what is missing when they do not. */
export function explain(input: WhyInput): WhyReport {
  const selecting = new SubjectIndex(input.policies).selecting(endpointLabels(input.endpoint))
  const mine = selecting.flatMap((i) => input.policies[i] ?? [])
  const owners = new Map(mine.flatMap((policy) => policy.rules.map((rule) => [rule, fullName(policy)] as const)))
  const rules = combinedRules(mine)
  const nameOf = (rule: Rule): string => owners.get(rule) ?? '(no default deny)'
  const lookup = explainLookup(input, rules, nameOf)
  const connection = explainConnection(input, rules, nameOf)
  const enforced = mine.length > 0
  if (!enforced) {
    const open = { allowed: true, by: [], against: [] }
    return { enforced, policies: [], lookup: open, connection: open, missing: [] }
  }
  return {
    enforced,
    policies: mine.map(fullName),
    lookup,
    connection,
    missing: [
      ...(lookup.allowed ? [] : missingLookup(input, rules, mine)),
      ...(connection.allowed ? [] : missingConnection(input, rules, mine)),
    ],
  }
}

const fullName = ({ name, namespace }: Policy): string => (namespace === null ? name : `${namespace}/${name}`)

function explainLookup(input: WhyInput, rules: readonly Rule[], nameOf: (rule: Rule) => string): Answer {
  const covers = rulesForServer(input, rules)
  const against = covers.filter((rule) => rule.deny && (input.server !== undefined || selectsEverything(rule)))
  const by = covers.filter(
    (rule) => !rule.deny && (rule.dns?.some(({ pattern }) => walkMatches(pattern, input.name)) ?? true),
  )
  return {
    allowed: by.length > 0 && against.length === 0,
    by: by.map((rule) => {
      const matched = (rule.dns ?? []).filter(({ pattern }) => walkMatches(pattern, input.name))
      return reason(
        rule,
        nameOf(rule),
        matched[0]?.origin ?? rule.origin,
        matched.map(({ pattern }) => pattern.text),
      )
    }),
    against: against.map((rule) => reason(rule, nameOf(rule), rule.origin, [])),
  }
}

/** Rules for port 53 of the server; without a server, of any that a DNS rule or a plain rule for that port names. */
function rulesForServer({ server, endpoints, hostAddresses }: WhyInput, rules: readonly Rule[]): Rule[] {
  if (server !== undefined) {
    const to = destinationOf(server, endpoints, hostAddresses ?? [])
    return [...new Set([17, 6].flatMap((protocol) => covering(rules, to, protocol, DNS_PORT)))]
  }
  return rules.filter(
    ({ peers, dns, ports, deny }) =>
      peers.length > 0 &&
      (dns !== null ||
        ports.some(({ port, endPort }) => port > 0 && port <= DNS_PORT && DNS_PORT <= endPort) ||
        ((deny || ports.length === 0) && peers.some(({ kind }) => kind === 'entity'))),
  )
}

export function destinationOf(ip: Ip, endpoints: readonly EndpointInput[], hosts: readonly Ip[]): Destination {
  const owner = endpoints.find(({ addresses }) => addresses.some((address) => equalIp(address, ip)))
  if (owner !== undefined) return { kind: 'endpoint', labels: endpointLabels(owner) }
  return hosts.some((host) => equalIp(host, ip)) ? { kind: 'host' } : { kind: 'outside', ip }
}

const selectsEverything = (rule: Rule): boolean =>
  rule.peers.some((peer) => peer.kind === 'entity' && peer.entity === 'all')

function explainConnection({ name }: WhyInput, rules: readonly Rule[], nameOf: (rule: Rule) => string): Answer {
  const selects = (rule: Rule): string[] =>
    rule.peers.flatMap((peer) => {
      if (peer.kind === 'fqdn') return walkMatches(peer.pattern, name) ? [peer.pattern.text] : []
      const wide = peer.kind === 'entity' && (peer.entity === 'all' || peer.entity.startsWith('world'))
      return wide ? [describePeer(peer)] : []
    })
  const reasons = (deny: boolean): { rule: Rule; matched: string[] }[] =>
    rules
      .filter((rule) => rule.deny === deny && (deny || rule.dns === null))
      .map((rule) => ({ rule, matched: selects(rule) }))
      .filter(({ matched }) => matched.length > 0)
  const by = reasons(false)
  const against = reasons(true)
  return {
    allowed: by.length > 0 && !against.some(({ rule }) => rule.ports.length === 0),
    by: by.map(({ rule, matched }) => {
      const peer = rule.peers.find((one) => one.kind === 'fqdn' && walkMatches(one.pattern, name))
      return reason(rule, nameOf(rule), peer?.origin ?? rule.origin, matched)
    }),
    against: against.map(({ rule, matched }) => reason(rule, nameOf(rule), rule.origin, matched)),
  }
}

function reason(rule: Rule, policy: string, origin: Origin, matched: readonly string[]): Reason {
  return { policy, origin, matched, peers: rule.peers.map(describePeer), ports: describePorts(rule.ports) }
}

const place = ({ file, line }: Origin): string => `${file}:${line}`

function missingLookup(input: WhyInput, rules: readonly Rule[], mine: readonly Policy[]): string[] {
  const patterns = rules.flatMap((rule) => rule.dns ?? [])
  const sentences = misses(patterns, input.name)
  const elsewhere = rules.filter((rule) => rule.dns?.some(({ pattern }) => walkMatches(pattern, input.name)) === true)
  if (input.server !== undefined && elsewhere.length > 0) {
    const servers = elsewhere.flatMap((rule) => rule.peers.map(describePeer)).join('; ')
    sentences.push(`the name is allowed at other servers (${servers}), not at ${formatIp(input.server)}`)
  }
  if (patterns.length === 0) sentences.push('no rule with rules.dns selects this endpoint')
  const found = others(input, mine).filter(({ rule }) =>
    rule.dns?.some(({ pattern }) => pattern.form === 'labels' && walkMatches(pattern, input.name)),
  )
  sentences.push(
    ...found.map(
      ({ policy, rule }) =>
        `${fullName(policy)} (${place(rule.origin)}) allows the look-up, but does not select this endpoint`,
    ),
  )
  return sentences.length > 0 ? sentences : ['no rules.dns pattern of this endpoint stands for the name']
}

function missingConnection(input: WhyInput, rules: readonly Rule[], mine: readonly Policy[]): string[] {
  const peersOf = (rule: Rule): { pattern: DomainPattern; origin: Origin }[] =>
    rule.peers.flatMap((peer) => (peer.kind === 'fqdn' ? [peer] : []))
  const sentences = misses(rules.flatMap(peersOf), input.name)
  const found = others(input, mine).filter(({ rule }) =>
    peersOf(rule).some(({ pattern }) => walkMatches(pattern, input.name)),
  )
  sentences.push(
    ...found.map(
      ({ policy, rule }) =>
        `${fullName(policy)} (${place(rule.origin)}) allows the connection, but does not select this endpoint`,
    ),
  )
  if (sentences.length > 0) return sentences
  return ['no toFQDNs rule of this endpoint stands for the name: it may resolve, its addresses stay closed']
}

function misses(patterns: readonly { pattern: DomainPattern; origin: Origin }[], name: NameLabels): string[] {
  const sentences = patterns.flatMap(({ pattern, origin }) => {
    const miss = nearMiss(pattern, name)
    return miss === undefined ? [] : [`${place(origin)}: ${miss}`]
  })
  return [...new Set(sentences)]
}

function others(input: WhyInput, mine: readonly Policy[]): { policy: Policy; rule: Rule }[] {
  return input.policies
    .filter((policy) => !mine.includes(policy))
    .flatMap((policy) => policy.rules.filter((rule) => !rule.deny).map((rule) => ({ policy, rule })))
}

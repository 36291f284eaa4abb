import { rangesCover, PROTOCOL_NUMBER } from '../ports.ts'
import type { DomainPattern } from '../patterns/pattern.ts'
import type { DnsPattern, Entity, Peer, Rule } from '../rules.ts'
import { mix3, tableSlots } from './hash.ts'
import * as L from './layout.ts'
import { worldOf } from './server-classes.ts'
import type { ServerClasses } from './server-classes.ts'
import type { TrieBuilder } from './trie-builder.ts'
import { WordList } from './word-list.ts'

/** One peer of one rule, for one protocol and port. */
interface Grant {
  readonly deny: boolean
  readonly dns: readonly DnsPattern[] | null
}

interface Gate {
  readonly rules: readonly Rule[]
  /** protocol << 16 | port. */
  readonly pairs: readonly number[]
}

const TCP_DNS = (6 << 16) | 53
const UDP_DNS = (17 << 16) | 53

/** Plain rules answer for servers that no DNS rule names only while they are few: no redirect leads there anyway. */
const MAX_PLAIN_PEERS = 256

const ENTITY_CLASSES: Readonly<Record<Entity, readonly number[]>> = {
  all: [L.CLASS_ANY],
  world: [L.CLASS_WORLD4, L.CLASS_WORLD6],
  'world-ipv4': [L.CLASS_WORLD4],
  'world-ipv6': [L.CLASS_WORLD6],
  cluster: [L.CLASS_CLUSTER, L.CLASS_HOST],
  host: [L.CLASS_HOST],
  none: [],
}

/**
 * Works out, for every rule list, protocol, port and class of server, the one set of patterns that decides; equal
 * sets are built once. A class without an entry of its own falls back to its aggregate, then to any.
 */
export class GateBuilder {
  readonly #tries: TrieBuilder
  readonly #classes: ServerClasses
  readonly #gates: Gate[] = []
  readonly #entries = new WordList()
  readonly #setsByLists = new Map<string, number>()
  readonly #setsByText = new Map<string, number>()
  readonly #listNumbers = new Map<readonly DnsPattern[], number>()

  constructor(tries: TrieBuilder, classes: ServerClasses) {
    this.#tries = tries
    this.#classes = classes
  }

  /** Registers a rule list and the prefixes it needs; returns its number. */
  add(rules: readonly Rule[]): number {
    const pairs = new Set<number>([UDP_DNS, TCP_DNS])
    for (const rule of rules) if (rule.dns !== null) for (const pair of rulePairs(rule)) pairs.add(pair)
    const covering = rules.filter((rule) => [...pairs].some((pair) => covers(rule, pair)))
    const plainPeers = covering.reduce((sum, rule) => sum + (rule.dns === null ? rule.peers.length : 0), 0)
    const hasDns = covering.some((rule) => rule.dns !== null)
    const kept = hasDns || plainPeers <= MAX_PLAIN_PEERS ? covering : []
    for (const rule of kept) {
      for (const peer of rule.peers) {
        if (peer.kind !== 'cidr') continue
        for (const cidr of [peer.cidr, ...peer.except]) if (cidr.bits > 0) this.#classes.addPrefix(cidr)
      }
    }
    return this.#gates.push({ rules: kept, pairs: [...pairs] }) - 1
  }

  /** Builds every set; call once, when all gates, label sets and prefixes are known. */
  build(): Uint32Array {
    this.#gates.forEach((gate, i) => {
      for (const pair of gate.pairs) this.#pair(i, pair, gate.rules)
    })
    const count = this.#entries.length / L.VERDICT_WORDS
    const slots = tableSlots(count)
    const table = new Uint32Array(slots * L.VERDICT_WORDS)
    const entries = this.#entries.view()
    for (let i = 0; i < entries.length; i += L.VERDICT_WORDS) {
      let slot = mix3((entries[i] ?? 0) - 1, entries[i + 1] ?? 0, entries[i + 2] ?? 0) & (slots - 1)
      while (table[slot * L.VERDICT_WORDS] !== 0) slot = (slot + 1) & (slots - 1)
      table.set(entries.subarray(i, i + L.VERDICT_WORDS), slot * L.VERDICT_WORDS)
    }
    return table
  }

  #pair(gate: number, pair: number, rules: readonly Rule[]): void {
    const own = new Map<number, Grant[]>()
    /** Grants of a whole family that do not hold for a class, because an exception holds it. */
    const excluded = new Map<number, Set<Grant>>()
    /** Aggregate of each class met. */
    const aggregates = new Map<number, number>([
      [L.CLASS_CLUSTER, L.CLASS_ANY],
      [L.CLASS_HOST, L.CLASS_ANY],
      [L.CLASS_WORLD4, L.CLASS_ANY],
      [L.CLASS_WORLD6, L.CLASS_ANY],
    ])
    const give = (serverClass: number, grant: Grant): void => {
      const list = own.get(serverClass)
      if (list === undefined) own.set(serverClass, [grant])
      else list.push(grant)
    }
    for (const rule of rules) {
      if (!covers(rule, pair)) continue
      for (const peer of rule.peers) this.#grant(peer, { deny: rule.deny, dns: rule.dns }, give, excluded, aggregates)
    }
    for (const serverClass of new Set([...own.keys(), ...excluded.keys()])) {
      const grants = [...(own.get(serverClass) ?? [])]
      const out = excluded.get(serverClass)
      for (let up = aggregates.get(serverClass); up !== undefined; up = aggregates.get(up)) {
        for (const grant of own.get(up) ?? []) if (out?.has(grant) !== true) grants.push(grant)
      }
      this.#entries.push(gate + 1, pair, serverClass, this.#decide(grants))
    }
  }

  #grant(
    peer: Peer,
    grant: Grant,
    give: (serverClass: number, grant: Grant) => void,
    excluded: Map<number, Set<Grant>>,
    aggregates: Map<number, number>,
  ): void {
    switch (peer.kind) {
      case 'fqdn':
        // Which addresses a name has is the ledger's knowledge: a server is never known by name.
        return
      case 'entity':
        for (const serverClass of ENTITY_CLASSES[peer.entity]) give(serverClass, grant)
        return
      case 'endpoints':
        for (const serverClass of this.#classes.selectedBy(peer.selector)) {
          aggregates.set(serverClass, L.CLASS_CLUSTER)
          give(serverClass, grant)
        }
        return
      case 'cidr': {
        const world = worldOf(peer.cidr)
        const except = peer.except.flatMap((cidr) => this.#classes.inside(cidr))
        const outside = new Set(except.map(({ serverClass }) => serverClass))
        for (const serverClass of outside) aggregates.set(serverClass, world)
        if (peer.except.some((cidr) => cidr.bits === 0)) return
        if (peer.cidr.bits === 0) {
          give(world, grant)
          for (const serverClass of outside) {
            const set = excluded.get(serverClass) ?? new Set<Grant>()
            excluded.set(serverClass, set.add(grant))
          }
          return
        }
        for (const { serverClass } of this.#classes.inside(peer.cidr)) {
          aggregates.set(serverClass, world)
          if (!outside.has(serverClass)) give(serverClass, grant)
        }
      }
    }
  }

  #decide(grants: readonly Grant[]): number {
    if (grants.length === 0 || grants.some((grant) => grant.deny)) return L.SET_NONE
    if (grants.some((grant) => grant.dns === null)) return L.SET_EVERYTHING
    const lists = [...new Set(grants.map((grant) => grant.dns ?? []))]
    const name = lists
      .map((list) => this.#listNumber(list))
      .sort((a, b) => a - b)
      .join(',')
    let set = this.#setsByLists.get(name)
    if (set === undefined) {
      set = this.#set(lists.flatMap((list) => list.map(({ pattern }) => pattern)))
      this.#setsByLists.set(name, set)
    }
    return set
  }

  #listNumber(list: readonly DnsPattern[]): number {
    let number = this.#listNumbers.get(list)
    if (number === undefined) this.#listNumbers.set(list, (number = this.#listNumbers.size))
    return number
  }

  #set(patterns: readonly DomainPattern[]): number {
    if (patterns.some(({ form }) => form === 'everything')) return L.SET_EVERYTHING
    const byText = new Map(patterns.filter(({ form }) => form !== 'nothing').map((pattern) => [pattern.text, pattern]))
    const text = [...byText.keys()].sort().join('\n')
    const known = this.#setsByText.get(text)
    if (known !== undefined) return known
    const set = this.#tries.newSet()
    for (const pattern of byText.values()) this.#tries.insert(set, pattern, 0)
    this.#setsByText.set(text, set + L.SET_FIRST)
    return set + L.SET_FIRST
  }
}

/** Protocols and ports at which a DNS rule works: it has no ranges and no port 0. */
function rulePairs(rule: Rule): number[] {
  return rule.ports.flatMap(({ protocol, port, endPort }) => {
    if (port === 0 || port !== endPort || protocol === 'SCTP') return []
    return (protocol === 'ANY' ? [6, 17] : [PROTOCOL_NUMBER[protocol]]).map((number) => (number << 16) | port)
  })
}

function covers(rule: Rule, pair: number): boolean {
  return rule.dns === null ? rangesCover(rule.ports, pair >>> 16, pair & 0xffff) : rulePairs(rule).includes(pair)
}

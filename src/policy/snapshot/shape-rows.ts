import {
  IDENTITY_AGGREGATE_CLUSTER,
  IDENTITY_AGGREGATE_WORLD,
  IDENTITY_HOST,
  IDENTITY_UNKNOWN,
  IDENTITY_WORLD,
  IDENTITY_WORLD_IPV4,
  IDENTITY_WORLD_IPV6,
} from '../../core/identity.ts'
import { parseLabelsKey, selectorMatches } from '../labels.ts'
import { RowSet } from '../rows.ts'
import type { PolicyRow } from '../rows.ts'
import type { Entity } from '../rules.ts'
import { EVERY_IPV4, EVERY_IPV6 } from './shape.ts'
import type { ShapeRule } from './shape.ts'

/** What an identity carries: see docs/architecture.md, "policy". */
export interface IdentityLabels {
  readonly selectors: readonly number[]
  /** Indexes of all policy prefixes that contain the address. */
  readonly prefixes: readonly number[]
  /** `labelsKey` of an endpoint, null for an address outside. */
  readonly endpoint: string | null
  readonly family: 4 | 6
}

/** Policy-map labels of an entity. World's aggregate covers every identity of learned names and prefixes. */
const ENTITY_LABELS: Readonly<Record<Entity, readonly number[]>> = {
  all: [IDENTITY_UNKNOWN],
  world: [IDENTITY_WORLD, IDENTITY_WORLD_IPV4, IDENTITY_WORLD_IPV6, IDENTITY_AGGREGATE_WORLD],
  // One family's learned identities cannot be told apart by an aggregate: rowsFor adds them one by one.
  'world-ipv4': [IDENTITY_WORLD_IPV4],
  'world-ipv6': [IDENTITY_WORLD_IPV6],
  cluster: [IDENTITY_AGGREGATE_CLUSTER, IDENTITY_HOST],
  host: [IDENTITY_HOST],
  none: [],
}

/** The rows of one shape. */
export class ShapeRows {
  readonly #rules: readonly ShapeRule[]
  readonly #byFqdn = new Map<number, number[]>()
  readonly #byPrefix = new Map<number, { rule: number; except: readonly number[] }[]>()
  readonly #byFamily: Record<4 | 6, { rule: number; except: readonly number[] }[]> = { 4: [], 6: [] }
  readonly #withSelectors: number[] = []
  #static: readonly PolicyRow[] | undefined

  constructor(rules: readonly ShapeRule[]) {
    this.#rules = rules
    rules.forEach((rule, i) => {
      for (const fqdn of rule.fqdns) append(this.#byFqdn, fqdn, i)
      for (const [prefix, except] of rule.cidrs) {
        if (prefix === EVERY_IPV4) this.#byFamily[4].push({ rule: i, except })
        else if (prefix === EVERY_IPV6) this.#byFamily[6].push({ rule: i, except })
        else append(this.#byPrefix, prefix, { rule: i, except })
      }
      for (const entity of rule.entities) {
        if (entity === 'world-ipv4') this.#byFamily[4].push({ rule: i, except: [] })
        if (entity === 'world-ipv6') this.#byFamily[6].push({ rule: i, except: [] })
      }
      if (rule.selectors.length > 0) this.#withSelectors.push(i)
    })
  }

  /** Selector indexes that some rule names. */
  get fqdns(): Iterable<number> {
    return this.#byFqdn.keys()
  }

  /** Prefix indexes that some rule names as a peer. */
  get peerPrefixes(): Iterable<number> {
    return this.#byPrefix.keys()
  }

  /** True when some rule may select any address of the family. */
  selectsFamily(family: 4 | 6): boolean {
    return this.#byFamily[family].length > 0
  }

  get selectsEndpoints(): boolean {
    return this.#withSelectors.length > 0
  }

  /** Rows that depend on no identity of this node. */
  staticRows(): readonly PolicyRow[] {
    this.#static ??= this.#buildStatic()
    return this.#static
  }

  #buildStatic(): readonly PolicyRow[] {
    const byLabel = new Map<number, RowSet>()
    const add = (label: number, rule: ShapeRule): void => {
      let set = byLabel.get(label)
      if (set === undefined) byLabel.set(label, (set = new RowSet()))
      addBlocks(set, rule)
    }
    for (const rule of this.#rules) {
      for (const entity of rule.entities) for (const label of ENTITY_LABELS[entity]) add(label, rule)
      for (const [prefix, except] of rule.cidrs) {
        if (excludesAll(except)) continue
        if (prefix === EVERY_IPV4) add(IDENTITY_WORLD_IPV4, rule)
        if (prefix === EVERY_IPV6) add(IDENTITY_WORLD_IPV6, rule)
      }
    }
    return [...byLabel].sort(([a], [b]) => a - b).flatMap(([label, set]) => set.rows(label))
  }

  /** Rows for an identity with these labels. */
  rowsFor(labels: IdentityLabels): readonly PolicyRow[] {
    const rules = labels.endpoint === null ? this.#outside(labels) : this.#endpoint(labels.endpoint)
    if (rules.length === 0) return []
    const set = new RowSet()
    for (const rule of rules) {
      const chosen = this.#rules[rule]
      if (chosen !== undefined) addBlocks(set, chosen)
    }
    return set.rows(0)
  }

  #endpoint(key: string): number[] {
    if (this.#withSelectors.length === 0) return []
    const labels = parseLabelsKey(key)
    return this.#withSelectors.filter((i) =>
      this.#rules[i]?.selectors.some((selector) => selectorMatches(selector, labels)),
    )
  }

  #outside({ selectors, prefixes, family }: IdentityLabels): number[] {
    const found: number[] = []
    for (const selector of selectors) found.push(...(this.#byFqdn.get(selector) ?? []))
    const select = (peers: readonly { rule: number; except: readonly number[] }[] | undefined): void => {
      for (const { rule, except } of peers ?? []) {
        if (!excludesAll(except) && !except.some((prefix) => prefixes.includes(prefix))) found.push(rule)
      }
    }
    for (const prefix of prefixes) select(this.#byPrefix.get(prefix))
    select(this.#byFamily[family])
    return found
  }
}

/** An exception of length 0 takes everything out of its peer. */
const excludesAll = (except: readonly number[]): boolean => except.includes(EVERY_IPV4) || except.includes(EVERY_IPV6)

function addBlocks(set: RowSet, rule: ShapeRule): void {
  for (const [protocol, port, portBits] of rule.blocks) set.add({ protocol, port, portBits }, rule.verdict)
}

function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [value])
  else list.push(value)
}

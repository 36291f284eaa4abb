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
import { FAMILY_4, FAMILY_6, SELECTS_ENDPOINTS } from './layout.ts'
import type { Selection } from './selection.ts'
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
  readonly #shape: number
  readonly #rules: readonly ShapeRule[]
  readonly #selection: Selection
  #static: readonly PolicyRow[] | undefined

  constructor(shape: number, rules: readonly ShapeRule[], selection: Selection) {
    this.#shape = shape
    this.#rules = rules
    this.#selection = selection
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
      for (const [family] of rule.families) add(family === 4 ? IDENTITY_WORLD_IPV4 : IDENTITY_WORLD_IPV6, rule)
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
    if (!this.#selection.has(this.#shape, SELECTS_ENDPOINTS)) return []
    const labels = parseLabelsKey(key)
    return this.#where(({ selectors }) => selectors.some((selector) => selectorMatches(selector, labels)))
  }

  #outside({ selectors, prefixes, family }: IdentityLabels): number[] {
    const found: number[] = []
    for (const selector of selectors) this.#selection.rulesByFqdn(this.#shape, selector, found)
    for (const prefix of prefixes) this.#selection.rulesByPrefix(this.#shape, prefix, prefixes, found)
    if (this.#selection.has(this.#shape, family === 4 ? FAMILY_4 : FAMILY_6)) {
      found.push(
        ...this.#where(
          ({ entities, families }) =>
            entities.includes(`world-ipv${family}`) ||
            families.some(([one, except]) => one === family && !except.some((prefix) => prefixes.includes(prefix))),
        ),
      )
    }
    return found
  }

  #where(holds: (rule: ShapeRule) => boolean): number[] {
    return this.#rules.flatMap((rule, i) => (holds(rule) ? [i] : []))
  }
}

function addBlocks(set: RowSet, rule: ShapeRule): void {
  for (const [protocol, port, portBits] of rule.blocks) set.add({ protocol, port, portBits }, rule.verdict)
}

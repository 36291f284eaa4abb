import { parseCidr, parseIp } from '../../core/ip.ts'
import type { Cidr, Ip } from '../../core/ip.ts'
import type { PolicyRow } from '../rows.ts'
import { AddressTable } from './address-table.ts'
import { mix3 } from './hash.ts'
import * as L from './layout.ts'
import { Sections } from './layout.ts'
import { Selection } from './selection.ts'
import { ShapeFinder } from './shape-finder.ts'
import type { ShapeRule } from './shape.ts'
import { ShapeRows } from './shape-rows.ts'
import type { IdentityLabels } from './shape-rows.ts'
import { StringReader } from './strings.ts'
import { Trie } from './trie.ts'

/** A pod as the snapshot knows it. */
export interface SnapshotEndpoint {
  readonly id: number
  readonly name: string
  readonly namespace: string
  /** Some policy selects it. */
  readonly enforced: boolean
  /** -1 when not enforced. */
  readonly shape: number
  readonly labelsKey: string
  readonly addresses: readonly Ip[]
}

/** The endpoint as it lies in the snapshot (JSON). */
export interface StoredEndpoint {
  readonly name: string
  readonly namespace: string
  readonly labelsKey: string
  readonly addresses: readonly string[]
}

/** Opens a compiled policy on the calling thread: views over the shared memory, nothing is copied. */
export function openSnapshot(buffer: SharedArrayBuffer): Snapshot {
  return new Snapshot(buffer)
}

/** An opened policy. Instances hold scratch memory: one a thread. Throws SEKISHO_POLICY_SNAPSHOT on a damaged buffer. */
export class Snapshot {
  readonly generation: number
  readonly selectorCount: number
  readonly shapeCount: number
  readonly byteLength: number
  readonly #trie: Trie
  readonly #table: AddressTable
  readonly #endpoints: Uint32Array
  readonly #verdicts: Uint32Array
  readonly #verdictMask: number
  readonly #selectorSet: number
  readonly #strings: StringReader
  readonly #rows = new Map<number, ShapeRows>()
  #prefixes: readonly Cidr[] | undefined
  #endpointList: readonly SnapshotEndpoint[] | undefined
  readonly #selection: Selection
  #finder: ShapeFinder | undefined

  constructor(buffer: SharedArrayBuffer) {
    const sections = new Sections(buffer)
    const { generation, selectorSet, selectors, shapes } = sections.header
    this.generation = generation
    this.selectorCount = selectors
    this.shapeCount = shapes
    this.byteLength = buffer.byteLength
    this.#trie = new Trie(sections)
    this.#table = new AddressTable(sections)
    this.#endpoints = sections.words('endpoints', L.ENDPOINT_WORDS)
    this.#verdicts = sections.table('verdicts', L.VERDICT_WORDS, 0)
    this.#verdictMask = this.#verdicts.length / L.VERDICT_WORDS - 1
    this.#selectorSet = selectorSet
    if (selectorSet >= this.#trie.setCount) throw L.damaged('no selector set')
    this.#strings = new StringReader(sections)
    this.#selection = new Selection(sections)
  }

  /** Endpoint index by addr16; -1 when no endpoint has it. */
  endpointByAddress(addr16: Uint8Array, offset: number): number {
    const owner = this.#table.owner(addr16, offset)
    return owner < 0 ? -1 : owner
  }

  /** 1 to 65535; stable over generations. */
  endpointId(index: number): number {
    return this.#endpoints[index * L.ENDPOINT_WORDS] ?? 0
  }

  /**
   * 0 no rule for this server, protocol and port; 1 the name is not allowed; 2 allowed. `name` is a lower-case
   * checked wire name; anything else is not allowed.
   */
  verdict(
    index: number,
    server: Uint8Array,
    serverOffset: number,
    protocol: number,
    port: number,
    name: Uint8Array,
    nameOffset: number,
  ): number {
    if (index < 0 || index * L.ENDPOINT_WORDS >= this.#endpoints.length) return 0
    const gate = this.#endpoints[index * L.ENDPOINT_WORDS + 1]!
    if (gate === 0) return 0
    const set = this.#serverSet(gate, ((protocol << 16) | port) >>> 0, server, serverOffset)
    if (set === L.SET_NONE) return 0
    if (set === L.SET_EVERYTHING) return 2
    return this.#trie.prepare(name, nameOffset) && this.#trie.matches(set - L.SET_FIRST) ? 2 : 1
  }

  #serverSet(gate: number, pair: number, server: Uint8Array, offset: number): number {
    const owner = this.#table.owner(server, offset)
    let serverClass: number
    let aggregate: number
    if (owner >= 0) {
      serverClass = this.#endpoints[owner * L.ENDPOINT_WORDS + 2]!
      aggregate = L.CLASS_CLUSTER
    } else if (owner === -2) {
      serverClass = aggregate = L.CLASS_HOST
    } else {
      serverClass = this.#table.worldClass(server, offset)
      aggregate =
        serverClass === L.CLASS_WORLD4 || serverClass === L.CLASS_WORLD6 ? serverClass : this.#world(server, offset)
    }
    let set = this.#entry(gate, pair, serverClass)
    if (set < 0 && aggregate !== serverClass) set = this.#entry(gate, pair, aggregate)
    if (set < 0) set = this.#entry(gate, pair, L.CLASS_ANY)
    return set < 0 ? L.SET_NONE : set
  }

  #world(server: Uint8Array, offset: number): number {
    for (let i = 0; i < 10; i++) if (server[offset + i] !== 0) return L.CLASS_WORLD6
    return server[offset + 10] === 0xff && server[offset + 11] === 0xff ? L.CLASS_WORLD4 : L.CLASS_WORLD6
  }

  #entry(gate: number, pair: number, serverClass: number): number {
    const table = this.#verdicts
    for (let slot = mix3(gate - 1, pair, serverClass) & this.#verdictMask; ; slot = (slot + 1) & this.#verdictMask) {
      const at = slot * L.VERDICT_WORDS
      const owner = table[at]!
      if (owner === 0) return -1
      if (owner === gate && table[at + 1] === pair && table[at + 2] === serverClass) return table[at + 3]!
    }
  }

  /** `fqdn:` and the canonical pattern: unique, and the same text in every generation. */
  selectorLabel(i: number): string {
    return `fqdn:${this.#strings.get(i)}`
  }

  /** Selectors that stand for the name, ascending; `out` has room for `selectorCount`. Returns how many. */
  matchSelectors(name: Uint8Array, offset: number, out: Uint32Array): number {
    return this.#trie.prepare(name, offset) ? this.#trie.collect(this.#selectorSet, out) : 0
  }

  /** Every prefix and exception of the rules in force, without repetition; 0.0.0.0/0 and ::/0 need none and are left out. */
  get prefixes(): readonly Cidr[] {
    this.#prefixes ??= this.#json<string[]>(this.#afterShapes()).map((text) => parseCidr(text))
    return this.#prefixes
  }

  get endpoints(): readonly SnapshotEndpoint[] {
    this.#endpointList ??= this.#json<StoredEndpoint[]>(this.#afterShapes() + 1).map((stored, i) => ({
      id: this.endpointId(i),
      name: stored.name,
      namespace: stored.namespace,
      enforced: (this.#endpoints[i * L.ENDPOINT_WORDS + 3] ?? 0) !== 0,
      shape: (this.#endpoints[i * L.ENDPOINT_WORDS + 3] ?? 0) - 1,
      labelsKey: stored.labelsKey,
      addresses: stored.addresses.map(parseIp),
    }))
    return this.#endpointList
  }

  /** Content hash: shapes with equal keys have equal rows, in every generation. */
  shapeKey(shape: number): string {
    return this.#strings.get(this.#checked(shape) + this.selectorCount)
  }

  /** Rows that depend on no identity of this node. */
  staticRows(shape: number): readonly PolicyRow[] {
    return this.#shape(shape).staticRows()
  }

  /** Rows for an identity with these labels; empty when nothing selects it. */
  rowsFor(shape: number, labels: IdentityLabels): readonly PolicyRow[] {
    return this.#shape(shape).rowsFor(labels)
  }

  /** Shapes whose `rowsFor` may have rows for these labels, ascending, into `out`; returns how many. */
  shapesFor(labels: IdentityLabels, out: Uint32Array): number {
    this.#finder ??= new ShapeFinder(this.#selection, this.shapeCount)
    return this.#finder.find(labels, out)
  }

  #shape(shape: number): ShapeRows {
    let rows = this.#rows.get(shape)
    if (rows === undefined) {
      const rules = this.#json<ShapeRule[]>(this.selectorCount + this.shapeCount + this.#checked(shape))
      rows = new ShapeRows(shape, rules, this.#selection)
      this.#rows.set(shape, rows)
    }
    return rows
  }

  #checked(shape: number): number {
    if (!(shape >= 0 && shape < this.shapeCount)) throw new RangeError(`no shape ${shape} in the snapshot`)
    return shape
  }

  #afterShapes(): number {
    return this.selectorCount + 2 * this.shapeCount
  }

  #json<T>(i: number): T {
    return JSON.parse(this.#strings.get(i)) as T
  }
}

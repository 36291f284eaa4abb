import { type Event, EVENT_ID, type MappingEvent, type SequenceEvent } from 'js-yaml'
import { scalarStart, scalarValue, TagError, type YamlVersion } from './scalars.ts'

/** A YAML or JSON value and where it stands (`at`: offset in the text). */
export type Tree =
  | { readonly kind: 'map'; readonly entries: readonly Entry[]; readonly at: number }
  | { readonly kind: 'list'; readonly items: readonly Tree[]; readonly at: number }
  | { readonly kind: 'scalar'; readonly value: unknown; readonly at: number }
  | { readonly kind: 'null'; readonly at: number }

export interface Entry {
  readonly key: string
  readonly at: number
  readonly value: Tree
}

/** Nested deeper than any file of ours; keeps hostile files from exhausting the stack. */
export const MAX_DEPTH = 64

/** Values that aliases may stand for, in one document: they may be nested, so it can be exponential in the text's length. */
const MAX_ALIASED = 100_000
/** With more keys than this, a set finds the one that is there twice. */
const FEW_KEYS = 16

/** Why a document is not taken, and where (offset in the text). */
export class Refusal extends Error {
  readonly at: number

  constructor(at: number, message: string) {
    super(message)
    this.at = at
  }
}

/** A value with a name; `nodes` and `depth` are its own, with what its aliases stand for. */
interface Anchored {
  readonly tree: Tree
  readonly nodes: number
  readonly depth: number
}

/** Makes trees from the events of a text, document by document. Aliases share the tree of their anchor. */
export class TreeBuilder {
  readonly #version: YamlVersion
  readonly #text: string
  readonly #events: readonly Event[]
  #next = 0
  /** Undefined while the value itself is being read. */
  readonly #anchors = new Map<string, Anchored | undefined>()
  #nodes = 0
  #aliased = 0
  #deepest = 0

  constructor(text: string, events: readonly Event[], version: YamlVersion) {
    this.#version = version
    this.#text = text
    this.#events = events
  }

  /** The tree of the next document; undefined after the last. Throws Refusal, and goes on behind that document. */
  next(): Tree | undefined {
    while (this.#next < this.#events.length && this.#events[this.#next]?.type !== EVENT_ID.DOCUMENT) this.#next++
    const document = this.#take()
    if (document === undefined) return undefined
    if (document.type === EVENT_ID.DOCUMENT && document.directives.some(({ kind }) => kind === 'tag'))
      throw new Refusal(0, '%TAG is not supported')
    this.#anchors.clear()
    this.#nodes = this.#aliased = this.#deepest = 0
    return this.#value(0, 0)
  }

  #take(): Event | undefined {
    return this.#events[this.#next++]
  }

  /** `parent`: where a value that is not written is said to be. */
  #value(depth: number, parent: number): Tree {
    const event = this.#take()
    this.#nodes++
    if (depth > this.#deepest) this.#deepest = depth
    switch (event?.type) {
      case EVENT_ID.SCALAR:
      case EVENT_ID.MAPPING:
      case EVENT_ID.SEQUENCE:
        return event.anchorStart < 0 ? this.#plain(event, depth, parent) : this.#anchored(event, depth, parent)
      case EVENT_ID.ALIAS:
        return this.#alias(this.#text.slice(event.anchorStart, event.anchorEnd), event.anchorStart - 1, depth)
      default:
        throw new Refusal(parent, 'there is no value')
    }
  }

  #plain(event: Event, depth: number, parent: number): Tree {
    if (event.type === EVENT_ID.MAPPING) return this.#map(event, depth)
    if (event.type === EVENT_ID.SEQUENCE) return this.#list(event, depth)
    if (event.type !== EVENT_ID.SCALAR) throw new Refusal(parent, 'there is no value')
    const at = scalarStart(event) ?? parent
    try {
      const value = scalarValue(this.#text, event, this.#version)
      return value === null ? { kind: 'null', at } : { kind: 'scalar', value, at }
    } catch (fault) {
      throw fault instanceof TagError ? new Refusal(at, fault.message) : fault
    }
  }

  #anchored(
    event: Event & { readonly anchorStart: number; readonly anchorEnd: number },
    depth: number,
    at: number,
  ): Tree {
    const name = this.#text.slice(event.anchorStart, event.anchorEnd)
    const { nodes, deepest } = { nodes: this.#nodes, deepest: this.#deepest }
    this.#anchors.set(name, undefined)
    this.#deepest = depth
    const tree = this.#plain(event, depth, at)
    this.#anchors.set(name, { tree, nodes: this.#nodes - nodes + 1, depth: this.#deepest - depth })
    this.#deepest = Math.max(this.#deepest, deepest)
    return tree
  }

  #alias(name: string, at: number, depth: number): Tree {
    const anchored = this.#anchors.get(name)
    if (anchored === undefined)
      throw new Refusal(at, this.#anchors.has(name) ? `*${name} stands within itself` : `no anchor &${name}`)
    if (depth + anchored.depth > MAX_DEPTH) throw new Refusal(at, 'nested too deeply')
    this.#deepest = Math.max(this.#deepest, depth + anchored.depth)
    this.#nodes += anchored.nodes
    this.#aliased += anchored.nodes
    if (this.#aliased > MAX_ALIASED) throw new Refusal(at, 'too many aliases')
    return anchored.tree
  }

  #list(event: SequenceEvent, depth: number): Tree {
    this.#collectionTag(event, '!!seq')
    const items: Tree[] = []
    while (!this.#ended()) items.push(this.#value(depth + 1, event.start))
    return { kind: 'list', items, at: event.start }
  }

  #map(event: MappingEvent, depth: number): Tree {
    this.#collectionTag(event, '!!map')
    const entries: Entry[] = []
    let seen: Set<string> | undefined
    while (!this.#ended()) {
      const key = this.#value(depth + 1, event.start)
      if (key.kind !== 'scalar' || typeof key.value !== 'string') throw new Refusal(key.at, 'a key must be a string')
      const name = key.value
      if (entries.length === FEW_KEYS) seen = new Set(entries.map((entry) => entry.key))
      if (seen?.has(name) ?? entries.some((entry) => entry.key === name)) {
        throw new Refusal(key.at, 'Map keys must be unique')
      }
      seen?.add(name)
      entries.push({ key: name, at: key.at, value: this.#value(depth + 1, key.at) })
    }
    return { kind: 'map', entries, at: event.start }
  }

  #ended(): boolean {
    const event = this.#events[this.#next]
    if (event !== undefined && event.type !== EVENT_ID.POP) return false
    this.#next++
    return true
  }

  #collectionTag(event: MappingEvent | SequenceEvent, own: string): void {
    if (event.tagStart < 0) return
    const tag = this.#text.slice(event.tagStart, event.tagEnd)
    if (tag !== own && tag !== '!') throw new Refusal(event.start, `the tag ${tag} is not known`)
  }
}

import { IDENTITY_HOST, IDENTITY_WORLD_IPV4, IDENTITY_WORLD_IPV6 } from '../core/identity.ts'
import { type Ip, writeAddr16 } from '../core/ip.ts'
import type { Generation } from './generation.ts'
import type { IdentityTable } from './identity-table.ts'
import type { IpcacheWriter } from './ipcache-writer.ts'
import type { LabelSets } from './label-sets.ts'
import { isV4, prefixKey } from './prefix-index.ts'

/** An entry that does not come from a name, strongest source first. */
interface StaticEntry {
  readonly source: 'node' | 'endpoint' | 'prefix' | 'world'
  readonly addr16: Uint8Array
  readonly bits: number
  /** Endpoint's labels, or ''. */
  readonly labelsKey: string
}

export interface DesiredEvents {
  /** A learned address belongs to a node or an endpoint, whose identity it keeps. */
  covered(): void
  /** No number was left for a set of labels. */
  exhausted(): void
}

/**
 * Which identity each ipcache entry shall have. While two generations are in force (a policy change under way) a
 * set of labels is the union of what both say: the old policy finds its labels in it and the new one its own.
 */
export class Desired {
  readonly #sets: LabelSets
  readonly #identities: IdentityTable
  readonly #writer: IpcacheWriter
  readonly #learned: (addr16: Uint8Array, offset: number) => number
  readonly #events: DesiredEvents
  #generations: readonly Generation[] = []
  #nodes: readonly Ip[]
  #static = new Map<string, StaticEntry>()
  /** Entries of former generations that are still in the map. */
  #former = new Map<string, StaticEntry>()

  constructor(
    sets: LabelSets,
    identities: IdentityTable,
    writer: IpcacheWriter,
    learned: (addr16: Uint8Array, offset: number) => number,
    nodes: readonly Ip[],
    events: DesiredEvents,
  ) {
    this.#sets = sets
    this.#identities = identities
    this.#writer = writer
    this.#learned = learned
    this.#nodes = nodes
    this.#events = events
  }

  get generations(): readonly Generation[] {
    return this.#generations
  }

  setNodes(nodes: readonly Ip[]): void {
    this.#nodes = nodes
  }

  /** What counts from now on; `applyStatic` and a new look at addresses must follow. */
  setGenerations(generations: readonly Generation[]): void {
    this.#generations = generations
    this.#collect()
  }

  /** True when the key is that of a node, an endpoint, a prefix or the world. */
  isStatic(addr16: Uint8Array, offset: number, bits: number): boolean {
    return this.#static.has(prefixKey(addr16, offset, bits))
  }

  #chain(addr16: Uint8Array, offset: number, bits: number): number {
    let set = 0
    for (const generation of this.#generations) {
      const wider = this.#sets.union(set, generation.prefixes.chainOf(addr16, offset, bits))
      this.#sets.release(set)
      set = wider
    }
    return set
  }

  /** The number with a reference taken; 0 when no set gives one. Takes over the reference on `set`. */
  #local(set: number, family: 4 | 6): number {
    const identity = set === 0 ? undefined : this.#identities.acquireLocal(set, family)
    if (set !== 0 && identity === undefined) this.#events.exhausted()
    this.#sets.release(set)
    return identity?.number ?? 0
  }

  /** Looks again at one learned address (or one that is learned no more, `labels` 0). */
  address(addr16: Uint8Array, offset: number, labels: number): void {
    const entry = this.#static.get(prefixKey(addr16, offset, 128))
    if (entry !== undefined && entry.source !== 'prefix') {
      if (labels !== 0) this.#events.covered()
      return
    }
    let number = 0
    if (labels !== 0 || entry !== undefined) {
      const chain = this.#chain(addr16, offset, 128)
      const set = this.#sets.union(labels, chain)
      this.#sets.release(chain)
      number = this.#local(set, isV4(addr16, offset) ? 4 : 6)
    }
    this.#writer.want(addr16, offset, 128, number)
  }

  #collect(): void {
    const found = new Map<string, StaticEntry>()
    const add = (ip: Ip, bits: number, source: StaticEntry['source'], labelsKey = ''): void => {
      const addr16 = new Uint8Array(16)
      writeAddr16(ip, addr16, 0)
      const length = bits + (ip.family === 4 ? 96 : 0)
      found.set(prefixKey(addr16, 0, length), { source, addr16, bits: length, labelsKey })
    }
    add({ family: 4, bytes: new Uint8Array(4) }, 0, 'world')
    add({ family: 6, bytes: new Uint8Array(16) }, 0, 'world')
    for (const { view } of this.#generations) for (const { ip, bits } of view.prefixes) add(ip, bits, 'prefix')
    for (const { view } of this.#generations) {
      for (const endpoint of view.endpoints) {
        for (const ip of endpoint.addresses) add(ip, ip.bytes.length * 8, 'endpoint', endpoint.labelsKey)
      }
    }
    for (const ip of this.#nodes) add(ip, ip.bytes.length * 8, 'node')
    for (const [key, entry] of this.#static) this.#former.set(key, entry)
    for (const key of found.keys()) this.#former.delete(key)
    this.#static = found
  }

  #number(entry: StaticEntry): number {
    const { source, addr16, bits } = entry
    const family = isV4(addr16, 0) && bits >= 96 ? 4 : 6
    if (source === 'node') return IDENTITY_HOST
    if (source === 'world') return family === 4 ? IDENTITY_WORLD_IPV4 : IDENTITY_WORLD_IPV6
    if (source === 'prefix') return this.#local(this.#chain(addr16, 0, bits), family)
    const identity = this.#identities.acquireEndpoint(entry.labelsKey)
    if (identity === undefined) this.#events.exhausted()
    return identity?.number ?? 0
  }

  /** Brings the entries that come from no name in line with the generations in force. Yields between slices. */
  *applyStatic(): Generator<void> {
    this.#collect()
    let n = 0
    for (const entry of this.#static.values()) {
      if (entry.source === 'prefix' && entry.bits === 128) {
        this.address(entry.addr16, 0, this.#learned(entry.addr16, 0))
      } else this.#writer.want(entry.addr16, 0, entry.bits, this.#number(entry))
      if (++n % 64 === 0) {
        this.#writer.flush()
        yield
      }
    }
    this.#writer.flush()
    for (const [key, entry] of this.#former) {
      this.#former.delete(key)
      if (entry.bits === 128) this.address(entry.addr16, 0, this.#learned(entry.addr16, 0))
      else this.#writer.want(entry.addr16, 0, entry.bits, 0)
      if (++n % 64 === 0) {
        this.#writer.flush()
        yield
      }
    }
    this.#writer.flush()
  }
}

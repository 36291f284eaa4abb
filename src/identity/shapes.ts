import type { Generation } from './generation.ts'
import type { IdentityRecord } from './identity-table.ts'
import type { KernelRow, PolicyMap, PolicyMaps } from './ports.ts'

/** The kernel waits once for a batch (see src/bpf/policy-maps.ts); this bounds what one system call does. */
const ATTACH_BATCH = 4096

/** One policy: the rows shared by all endpoints that have it. `map` is null while it is being built. */
export interface Shape {
  readonly key: string
  map: PolicyMap | null
  /** Rows gathered for a map not made yet. */
  pending: KernelRow[]
  /** How many rows stand for identities. */
  identityRows: number
  /** Digest of the map when its rows were compared and found right; null since other rows are wanted. */
  verified: number | null
}

export interface ShapeCounts {
  rowWrites(rows: number): void
  rowErrors(): void
}

/**
 * The policy maps: one inner map a policy, found by the policy's content, so a new generation with the same
 * content keeps the map. Rows of an identity are written before the identity is used and removed after.
 */
export class Shapes {
  readonly #maps: PolicyMaps
  readonly #counts: ShapeCounts
  readonly #live = new Map<string, Shape>()
  /** Endpoint -> the shape whose map the kernel has for it. */
  readonly #attached = new Map<number, Shape>()

  constructor(maps: PolicyMaps, counts: ShapeCounts) {
    this.#maps = maps
    this.#counts = counts
  }

  get size(): number {
    return this.#live.size
  }

  get attachedCount(): number {
    return this.#attached.size
  }

  /** Rows of a new identity into every map there is. A map that fails is remembered in `identity.missing`. */
  addIdentity(identity: IdentityRecord, generations: readonly Generation[]): void {
    for (const generation of generations) {
      generation.rows(identity, (key, rows) => {
        const shape = this.#live.get(key)
        if (shape === undefined || identity.rows.has(shape)) return
        identity.rows.set(shape, rows)
        shape.identityRows += rows.length
        shape.verified = null
        if (shape.map === null) shape.pending.push(...rows)
        else if (!this.#write(shape.map, rows)) identity.missing.add(shape)
      })
    }
  }

  #write(map: PolicyMap, rows: readonly KernelRow[]): boolean {
    try {
      map.update(rows)
      this.#counts.rowWrites(rows.length)
      return true
    } catch {
      this.#counts.rowErrors()
      return false
    }
  }

  /** Tries the rows that failed before; true when all of them are in. */
  retry(identity: IdentityRecord): boolean {
    for (const shape of identity.missing as Set<Shape>) {
      const rows = identity.rows.get(shape)
      if (shape.map === null || rows === undefined || this.#write(shape.map, rows)) identity.missing.delete(shape)
    }
    return identity.missing.size === 0
  }

  removeIdentity(identity: IdentityRecord): void {
    for (const [owner, rows] of identity.rows) {
      const shape = owner as Shape
      shape.identityRows -= rows.length
      shape.verified = null
      try {
        shape.map?.delete(rows)
      } catch {
        this.#counts.rowErrors()
      }
    }
    identity.rows.clear()
    identity.missing.clear()
  }

  /** Makes the maps of the shapes that are new in `generation`, complete. Yields; returns the keys that failed. */
  *build(generation: Generation, identities: Iterable<IdentityRecord>): Generator<void, Set<string>> {
    const fresh: Shape[] = []
    for (const key of generation.shapes.keys()) {
      if (this.#live.has(key)) continue
      const shape: Shape = { key, map: null, pending: [...generation.staticRows(key)], identityRows: 0, verified: null }
      this.#live.set(key, shape)
      fresh.push(shape)
    }
    const failed = new Set<string>()
    if (fresh.length === 0) return failed
    yield
    let n = 0
    for (const identity of identities) {
      this.addIdentity(identity, [generation])
      if (++n % 16 === 0) yield
    }
    for (const shape of fresh) {
      try {
        shape.map = this.#maps.create(shape.pending)
        this.#counts.rowWrites(shape.pending.length)
      } catch {
        this.#counts.rowErrors()
        this.#forget(shape, identities)
        failed.add(shape.key)
      }
      shape.pending = []
      yield
    }
    return failed
  }

  #forget(shape: Shape, identities: Iterable<IdentityRecord>): void {
    this.#live.delete(shape.key)
    for (const identity of identities) {
      identity.rows.delete(shape)
      identity.missing.delete(shape)
    }
  }

  /** Gives every enforced endpoint the map of its policy. Returns the endpoints that kept what they had. */
  *attach(generation: Generation): Generator<void, number[]> {
    const failed: number[] = []
    const todo: { readonly endpointId: number; readonly map: PolicyMap; readonly shape: Shape }[] = []
    for (const endpoint of generation.view.endpoints) {
      if (!endpoint.enforced) continue
      const shape = this.#live.get(generation.view.shapeKey(endpoint.shape))
      if (shape === undefined || shape.map === null) failed.push(endpoint.id)
      else if (this.#attached.get(endpoint.id) !== shape) {
        todo.push({ endpointId: endpoint.id, map: shape.map, shape })
      }
    }
    for (let at = 0; at < todo.length;) {
      const batch = todo.slice(at, at + ATTACH_BATCH)
      const done = this.#attachBatch(batch)
      for (const { endpointId, shape } of batch.slice(0, done)) this.#attached.set(endpointId, shape)
      at += done
      if (done < batch.length) {
        this.#counts.rowErrors()
        const refused = todo[at++]
        if (refused !== undefined) failed.push(refused.endpointId)
      }
      yield
    }
    return failed
  }

  #attachBatch(batch: readonly { readonly endpointId: number; readonly map: PolicyMap }[]): number {
    try {
      return this.#maps.attachAll(batch)
    } catch {
      return 0
    }
  }

  /** Detaches endpoints without enforced policy and closes maps nobody has; yields between slices. */
  *clean(generation: Generation, identities: Iterable<IdentityRecord>): Generator<void> {
    const wanted = new Set<number>()
    for (const endpoint of generation.view.endpoints) if (endpoint.enforced) wanted.add(endpoint.id)
    const unwanted = [...this.#maps.attached()].filter((id) => !wanted.has(id))
    try {
      if (unwanted.length > 0) this.#maps.detachAll(unwanted)
    } catch {
      this.#counts.rowErrors()
    }
    for (const id of [...this.#attached.keys()]) if (!wanted.has(id)) this.#attached.delete(id)
    yield
    const used = new Set(this.#attached.values())
    const gone = new Set<object>()
    const closing: Shape[] = []
    for (const [key, shape] of this.#live) {
      if (used.has(shape) || generation.shapes.has(key)) continue
      this.#live.delete(key)
      gone.add(shape)
      closing.push(shape)
    }
    if (closing.length === 0) return
    let n = 0
    for (const identity of identities) {
      for (const shape of identity.rows.keys()) {
        if (!gone.has(shape)) continue
        identity.rows.delete(shape)
        identity.missing.delete(shape)
      }
      if (++n % 64 === 0) yield
    }
    for (const shape of closing) shape.map?.close()
  }

  /** Those that stand now. */
  get live(): readonly Shape[] {
    return [...this.#live.values()]
  }

  isLive(shape: Shape): boolean {
    return this.#live.get(shape.key) === shape
  }

  /** Puts back what somebody else attached or detached; returns how many repairs. */
  repair(): number {
    const present = new Set(this.#maps.attached())
    const lost = [...this.#attached].flatMap(([endpointId, { map }]) =>
      present.has(endpointId) || map === null ? [] : [{ endpointId, map }],
    )
    if (lost.length === 0) return 0
    const repaired = this.#attachBatch(lost)
    if (repaired < lost.length) this.#counts.rowErrors()
    return repaired
  }
}

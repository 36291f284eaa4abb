import type { Desired } from './desired.ts'
import { Generation } from './generation.ts'
import type { IdentityTable } from './identity-table.ts'
import type { IpcacheWriter } from './ipcache-writer.ts'
import type { LabelSets } from './label-sets.ts'
import type { Names, PolicyEndpoint, SelectorView } from './ports.ts'
import type { Shapes } from './shapes.ts'

const NAMES_PER_SLICE = 128

/** What a policy change works on. */
export interface PolicyWorld {
  readonly sets: LabelSets
  readonly identities: IdentityTable
  readonly shapes: Shapes
  readonly writer: IpcacheWriter
  readonly desired: Desired
  readonly names: Names
  nowMs(): number
  /** Looks at every learned address whose labels changed and flushes the writer; yields between slices. */
  settleAddresses(): Generator<void>
  /** First apply of this thread: what the state directory and the kernel say (before numbers are given out)... */
  restoreNumbers(): Generator<void>
  /** ...and the names, when the endpoints are known. */
  restoreNames(): Generator<void>
  /** First apply, after the new rows are attached: removes what is in the kernel and wanted by nobody. */
  sweep(): Generator<void>
}

export interface ApplyResult {
  readonly generation: Generation
  /** Endpoints that keep their old rows because new ones could not be written. */
  readonly failedEndpoints: readonly number[]
}

export const endpointKey = (endpoint: PolicyEndpoint): string => `${endpoint.namespace}/${endpoint.name}`

/**
 * Applies policies one after the other, make before break. Until the moment an endpoint's new rows are attached, its
 * old rows meet identities that carry all labels of the old policy; from that moment on, the new rows meet
 * identities that carry all labels of the new one. So what both policies allow passes throughout, and what the new
 * one denies ends with the swap. `clean` takes away what only the old policy needed; it may be given up at any
 * point for a newer policy, whose own `clean` then does the rest.
 */
export class PolicyApplier {
  readonly #world: PolicyWorld
  #current: Generation | null = null
  #building: Generation | null = null
  #retired: Generation[] = []
  #namesStale = false
  #addressesStale = false

  constructor(world: PolicyWorld) {
    this.#world = world
  }

  get current(): Generation | null {
    return this.#current
  }

  *apply(view: SelectorView): Generator<void, ApplyResult> {
    const world = this.#world
    const { desired, names, sets } = world
    const old = this.#current
    if (old === null) yield* world.restoreNumbers()
    const next = new Generation(view, sets)
    this.#building = next
    yield
    yield* next.prepare(world.identities)
    yield* this.#takeEndpoints(next)
    if (old === null) {
      desired.setGenerations([next])
      names.matcher = next.match
      yield* world.restoreNames()
      const failedEndpoints = yield* this.#swap(next)
      yield* desired.applyStatic()
      yield* world.settleAddresses()
      yield* world.sweep()
      this.#current = next
      this.#building = null
      return { generation: next, failedEndpoints }
    }
    desired.setGenerations([old, next])
    names.matcher = (name, offset) => {
      const before = old.match(name, offset)
      const after = next.match(name, offset)
      const both = sets.union(before, after)
      sets.release(before)
      sets.release(after)
      return both
    }
    if (!next.sameSelectors(old)) {
      this.#namesStale = true
      yield* this.#reevaluateNames()
    }
    if (!next.samePrefixes(old)) {
      this.#addressesStale = true
      yield* this.#touchAddresses()
    }
    yield* desired.applyStatic()
    const failedEndpoints = yield* this.#swap(next)
    desired.setGenerations([next])
    names.matcher = next.match
    this.#retired.push(old)
    this.#current = next
    this.#building = null
    return { generation: next, failedEndpoints }
  }

  /** An apply ended in an exception: back to the policy before. What was already swapped stays swapped. */
  abort(): void {
    const { desired, names } = this.#world
    if (this.#building === null) return
    this.#retired.push(this.#building)
    this.#building = null
    this.#namesStale = this.#addressesStale = true
    desired.setGenerations(this.#current === null ? [] : [this.#current])
    names.matcher = this.#current === null ? () => 0 : this.#current.match
  }

  *#swap(next: Generation): Generator<void, number[]> {
    yield* this.#world.shapes.build(next, this.#world.identities)
    return yield* this.#world.shapes.attach(next)
  }

  /** Tries again to make and attach what failed. Returns the endpoints that still keep their old rows. */
  *retry(): Generator<void, readonly number[]> {
    return this.#current === null ? [] : yield* this.#swap(this.#current)
  }

  *clean(): Generator<void> {
    const world = this.#world
    const current = this.#current
    if (current === null) return
    yield* world.shapes.clean(current, world.identities)
    if (this.#namesStale) {
      yield* this.#reevaluateNames()
      this.#namesStale = false
    }
    if (this.#addressesStale) {
      yield* this.#touchAddresses()
      this.#addressesStale = false
    }
    yield* world.desired.applyStatic()
    const wanted = new Set(current.view.endpoints.map((endpoint) => endpoint.id))
    for (const { id } of [...world.names.endpoints]) {
      if (!wanted.has(id)) yield* this.#drop(id)
    }
    yield* world.settleAddresses()
    for (;;) {
      const retired = this.#retired.pop()
      if (retired === undefined) return
      yield* retired.dispose(world.identities, () => world.nowMs())
    }
  }

  *#drop(id: number): Generator<void> {
    while (!this.#world.names.dropEndpoint(id, Math.floor(this.#world.nowMs() / 1000), NAMES_PER_SLICE)) yield
  }

  /** A number that another pod has now starts with nothing. */
  *#takeEndpoints(next: Generation): Generator<void> {
    const { names } = this.#world
    const keys = new Map(next.view.endpoints.map((endpoint) => [endpoint.id, endpointKey(endpoint)]))
    for (const { id, key } of [...names.endpoints]) {
      const now = keys.get(id)
      if (now !== undefined && now !== key) yield* this.#drop(id)
    }
    for (const [id, key] of keys) names.addEndpoint(id, key)
  }

  *#reevaluateNames(): Generator<void> {
    for (let from = 0; from >= 0;) {
      from = this.#world.names.reevaluate(from, NAMES_PER_SLICE)
      yield* this.#world.settleAddresses()
      yield
    }
  }

  *#touchAddresses(): Generator<void> {
    for (let from = 0; from >= 0;) {
      from = this.#world.names.touchAddresses(from, NAMES_PER_SLICE)
      yield* this.#world.settleAddresses()
      yield
    }
  }
}

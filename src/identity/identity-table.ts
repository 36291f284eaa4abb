import { IDENTITY_CLUSTER_MAX, IDENTITY_CLUSTER_MIN, IDENTITY_LOCAL_MAX, IDENTITY_LOCAL_MIN } from '../core/identity.ts'
import type { LabelSets } from './label-sets.ts'
import { NumberPool } from './number-pool.ts'
import type { KernelRow } from './ports.ts'

/** A set of labels and its number. */
export interface IdentityRecord {
  readonly number: number
  /** Local identities: the labels and the family (which stands for reserved:world-ipv4|6). */
  readonly set: number
  readonly family: 4 | 6
  /** Endpoint identities: the endpoint's labels; else null. */
  readonly endpoint: string | null
  references: number
  freedAt: number
  /** Rows that stand for this identity, by the policy they belong to. */
  readonly rows: Map<object, readonly KernelRow[]>
  /** Policies whose rows could not be written: the identity must not be used until they are. */
  readonly missing: Set<object>
}

export interface IdentityEvents {
  /** Before anybody uses the number: journal it and write its rows. */
  created(identity: IdentityRecord): void
  /** Nobody uses the number: its rows may go. */
  freed(identity: IdentityRecord): void
}

/** Label sets to numbers, counted by use. What nobody uses is freed later, by `collect`. */
export class IdentityTable {
  readonly local = new NumberPool(IDENTITY_LOCAL_MIN, IDENTITY_LOCAL_MAX)
  readonly cluster = new NumberPool(IDENTITY_CLUSTER_MIN, IDENTITY_CLUSTER_MAX)
  readonly #sets: LabelSets
  readonly #events: IdentityEvents
  readonly #byNumber = new Map<number, IdentityRecord>()
  readonly #bySet = new Map<number, IdentityRecord>()
  readonly #byEndpoint = new Map<string, IdentityRecord>()
  #unused: IdentityRecord[] = []

  constructor(sets: LabelSets, events: IdentityEvents) {
    this.#sets = sets
    this.#events = events
  }

  get size(): number {
    return this.#byNumber.size
  }

  /** May be walked while identities come and go: new ones are met, gone ones are not. */
  [Symbol.iterator](): IterableIterator<IdentityRecord> {
    return this.#byNumber.values()
  }

  byNumber(number: number): IdentityRecord | undefined {
    return this.#byNumber.get(number)
  }

  /** Reference taken. Undefined when the range is used up. */
  acquireLocal(set: number, family: 4 | 6): IdentityRecord | undefined {
    const known = this.#bySet.get(set * 2 + (family === 6 ? 1 : 0))
    if (known !== undefined) return this.retain(known)
    const number = this.local.take()
    return number === 0 ? undefined : this.#create(number, set, family, null)
  }

  acquireEndpoint(labelsKey: string): IdentityRecord | undefined {
    const known = this.#byEndpoint.get(labelsKey)
    if (known !== undefined) return this.retain(known)
    const number = this.cluster.take()
    return number === 0 ? undefined : this.#create(number, 0, 4, labelsKey)
  }

  /** Takes a number from an earlier life; reference taken. Undefined when the number or the labels are taken. */
  restore(
    number: number,
    labels: readonly string[],
    family: 4 | 6,
    endpoint: string | null,
  ): IdentityRecord | undefined {
    if (endpoint !== null) {
      if (this.#byEndpoint.has(endpoint) || !this.cluster.claim(number)) return undefined
      return this.#create(number, 0, 4, endpoint)
    }
    const set = this.#sets.of(labels)
    const taken = this.#bySet.has(set * 2 + (family === 6 ? 1 : 0)) || set === 0 || !this.local.claim(number)
    const record = taken ? undefined : this.#create(number, set, family, null)
    this.#sets.release(set)
    return record
  }

  #create(number: number, set: number, family: 4 | 6, endpoint: string | null): IdentityRecord {
    const rows = new Map<object, readonly KernelRow[]>()
    const record: IdentityRecord = {
      number,
      set,
      family,
      endpoint,
      references: 1,
      freedAt: 0,
      rows,
      missing: new Set(),
    }
    this.#sets.retain(set)
    this.#byNumber.set(number, record)
    if (endpoint === null) this.#bySet.set(set * 2 + (family === 6 ? 1 : 0), record)
    else this.#byEndpoint.set(endpoint, record)
    this.#events.created(record)
    return record
  }

  retain(record: IdentityRecord): IdentityRecord {
    record.references++
    return record
  }

  release(record: IdentityRecord, nowMs: number): void {
    if (--record.references > 0) return
    record.freedAt = nowMs
    this.#unused.push(record)
  }

  get unused(): number {
    return this.#unused.length
  }

  /** Frees numbers nobody has used since `before`, at most `max`; true when none is left to free. */
  collect(before: number, max: number): boolean {
    const due = this.#unused.length
    let done = 0
    while (done < due && done < max) {
      const record = this.#unused[done] as IdentityRecord
      if (record.freedAt > before) break
      done++
      if (record.references > 0 || this.#byNumber.get(record.number) !== record) continue
      this.#events.freed(record)
      this.#byNumber.delete(record.number)
      if (record.endpoint === null) {
        this.#bySet.delete(record.set * 2 + (record.family === 6 ? 1 : 0))
        this.local.give(record.number)
      } else {
        this.#byEndpoint.delete(record.endpoint)
        this.cluster.give(record.number)
      }
      this.#sets.release(record.set)
    }
    if (done > 0) this.#unused = this.#unused.slice(done)
    return done < max
  }
}

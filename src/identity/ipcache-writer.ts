import type { IdentityRecord, IdentityTable } from './identity-table.ts'
import { type IpcacheMirror, SETTLED } from './ipcache-mirror.ts'
import type { IpcacheEntry, IpcacheMap } from './ports.ts'
import { cidrOf, prefixKey } from './prefix-index.ts'

const BATCH = 512

export interface WriterEvents {
  /** Called before the kernel is written. */
  beforeWrite(): void
  /** True when all rows of the identity are in the policy maps; tries those that failed before. */
  rowsPresent(identity: IdentityRecord): boolean
  /** The entry could not be brought in line; it is tried again by `retry`. */
  failed(addr16: Uint8Array, offset: number, bits: number): void
  updated(entries: number): void
  deleted(entries: number): void
}

/**
 * The one writer of the ipcache. Changes are gathered and flushed in batches; an entry is written only when the
 * rows of its identity are in. New and changed entries go before removals, so that an address whose own entry goes
 * falls back to a prefix that is already there. Each entry holds a reference on its identity.
 */
export class IpcacheWriter {
  readonly mirror: IpcacheMirror
  readonly #map: IpcacheMap
  readonly #identities: IdentityTable
  readonly #events: WriterEvents
  readonly #nowMs: () => number
  #pending: number[] = []
  #failed: number[] = []
  #pass = 0
  readonly #removed = new Set<string>()

  constructor(
    map: IpcacheMap,
    mirror: IpcacheMirror,
    identities: IdentityTable,
    events: WriterEvents,
    nowMs: () => number,
  ) {
    this.#map = map
    this.mirror = mirror
    this.#identities = identities
    this.#events = events
    this.#nowMs = nowMs
  }

  get dirty(): boolean {
    return this.#pending.length > 0
  }

  get failing(): number {
    return this.#failed.length
  }

  #drop(number: number): void {
    const identity = number === 0 ? undefined : this.#identities.byNumber(number)
    if (identity !== undefined) this.#identities.release(identity, this.#nowMs())
  }

  /** The entry is in the kernel already (adoption at start). Takes over a reference on the identity. */
  adopt(addr16: Uint8Array, offset: number, bits: number, number: number): void {
    const row = this.mirror.findOrAdd(addr16, offset, bits)
    if (row >= 0) this.mirror.written[row] = number
  }

  /** What the entry shall be; 0 none. Takes over a reference on the identity. */
  want(addr16: Uint8Array, offset: number, bits: number, number: number): void {
    const { mirror } = this
    const row = number === 0 ? mirror.find(addr16, offset, bits) : mirror.findOrAdd(addr16, offset, bits)
    if (row < 0) {
      this.#drop(number)
      if (number !== 0) this.#events.failed(addr16, offset, bits)
      return
    }
    const waiting = mirror.wanted[row] as number
    if (waiting === SETTLED && mirror.written[row] === number) {
      this.#drop(number)
      if (number === 0) mirror.remove(row)
      return
    }
    mirror.wanted[row] = number
    if (waiting === SETTLED) this.#pending.push(row)
    else this.#drop(waiting)
  }

  /** The kernel lost or changed the entry: writes it again, `written` being what shall be there. */
  rewrite(row: number): void {
    const { mirror } = this
    if (mirror.wanted[row] !== SETTLED) return
    const number = mirror.written[row] as number
    const identity = this.#identities.byNumber(number)
    if (identity !== undefined) this.#identities.retain(identity)
    mirror.wanted[row] = number
    this.#pending.push(row)
  }

  /** True when the kernel has for the address what `labels` (its label set, 0 none) asks for. */
  stands(addr16: Uint8Array, offset: number, labels: number): boolean {
    const row = this.mirror.find(addr16, offset, 128)
    return row < 0 ? labels === 0 : this.mirror.wanted[row] === SETTLED
  }

  /** Brings changes to the kernel, at most about `max`; true when nothing is left. */
  flush(max = Infinity): boolean {
    const { mirror } = this
    const rows = this.#pending.length <= max ? this.#pending : this.#pending.slice(0, max)
    this.#pending = rows === this.#pending ? [] : this.#pending.slice(max)
    if (rows.length === 0) return true
    this.#events.beforeWrite()
    const updates: number[] = []
    const deletes: number[] = []
    for (const row of rows) {
      const number = mirror.wanted[row] as number
      if (number === 0) {
        deletes.push(row)
        continue
      }
      const identity = this.#identities.byNumber(number)
      if (identity === undefined || identity.missing.size === 0 || this.#events.rowsPresent(identity)) updates.push(row)
      else this.#fail(row)
    }
    for (let i = 0; i < updates.length; i += BATCH) this.#update(updates.slice(i, i + BATCH))
    for (let i = 0; i < deletes.length; i += BATCH) this.#delete(deletes.slice(i, i + BATCH))
    return this.#pending.length === 0
  }

  /** Queues again what failed. */
  retry(): number {
    const rows = this.#failed
    this.#failed = []
    this.#pending.push(...rows)
    return rows.length
  }

  #fail(row: number): void {
    this.#failed.push(row)
    this.#events.failed(this.mirror.bytes, row * 16, this.mirror.bits[row] as number)
  }

  #entry(row: number): IpcacheEntry {
    const { mirror } = this
    return {
      cidr: cidrOf(mirror.bytes, row * 16, mirror.bits[row] as number),
      identity: (mirror.wanted[row] as number) >>> 0,
    }
  }

  #update(rows: readonly number[]): void {
    try {
      this.#map.update(rows.map((row) => this.#entry(row)))
      rows.forEach((row) => this.#settle(row))
      this.#events.updated(rows.length)
      return
    } catch {
      // How much of a failed batch was written is not known; each entry tells for itself.
    }
    for (const row of rows) {
      try {
        this.#map.update([this.#entry(row)])
        this.#settle(row)
        this.#events.updated(1)
      } catch {
        this.#fail(row)
      }
    }
  }

  #delete(rows: readonly number[]): void {
    try {
      this.#map.delete(rows.map((row) => this.#entry(row).cidr))
      rows.forEach((row) => this.#settle(row))
      this.#events.deleted(rows.length)
    } catch {
      rows.forEach((row) => this.#fail(row))
    }
  }

  #settle(row: number): void {
    const { mirror } = this
    const old = mirror.written[row] as number
    mirror.written[row] = mirror.wanted[row] as number
    mirror.wanted[row] = SETTLED
    mirror.seen[row] = this.#pass
    this.#drop(old)
    if (mirror.written[row] !== 0) return
    if (this.#pass !== 0) this.#removed.add(prefixKey(mirror.bytes, row * 16, mirror.bits[row] as number))
    mirror.remove(row)
  }

  /** The reconciler begins to compare a dump (0: it is done): what changes from now on must not be judged by it. */
  beginPass(pass: number): void {
    this.#pass = pass
    this.#removed.clear()
  }

  removedInPass(addr16: Uint8Array, bits: number): boolean {
    return this.#removed.has(prefixKey(addr16, 0, bits))
  }
}

import { tryParseCidr, type Cidr } from '../../core/ip.ts'
import type { DirectoryEvent } from './directory.ts'
import { pointOf } from './public-key.ts'
import { accepts, overlap, readRecord, type Refusal, type Refused } from './read-record.ts'
import type { NodeRecord } from './record.ts'

export interface SelfFacts {
  readonly domain: string
  readonly name: string
  readonly uid: string
  readonly prefixes: readonly Cidr[]
  /** What others may claim lies in one of these; empty: anything. */
  readonly accept?: readonly Cidr[]
  /** Public keys of our own devices. */
  readonly keys: () => readonly string[]
  /**
   * Our devices have had a session with this node, under a key of this record and with one of these prefixes of it (without
   * prefixes: any of its own). Evidence that no record can forge.
   */
  readonly proven?: (record: NodeRecord, prefixes: readonly string[]) => boolean
}

export type ViewChange =
  | { readonly kind: 'peer'; readonly record: NodeRecord }
  | { readonly kind: 'gone'; readonly uid: string; readonly name: string }
  | { readonly kind: 'refused'; readonly name: string; readonly refused: Refused }
  /** Our own record as others see it. */
  | { readonly kind: 'own'; readonly record: NodeRecord }
  | { readonly kind: 'complete' }

/**
 * A record of a lower revision than the one that was believed is a late message, or what a shared file system shows for up to a
 * minute after a write. One that stays longer than this, ms, is what the directory says: an older copy was put back, or
 * somebody had written a revision that its node will never reach.
 */
const BEHIND_MS = 5 * 60_000

/**
 * The directory as one node believes it. A record that is refused changes nothing: what its node said before stays, because a
 * refusal is no evidence that the node is gone. Two nodes that claim one key or overlapping prefixes: the one that we have had
 * a session with, under that key and prefix, keeps it, because `created` is what its writer says it is. Where that decides
 * nothing, the one that published first (`created`, then UID) has it on every node, whatever order the records came in.
 */
export class DirectoryView {
  readonly #self: SelfFacts
  /** By name: what was accepted. */
  readonly #records = new Map<string, NodeRecord>()
  /** By name: well-formed, but in conflict with an earlier owner. Tried again when something goes. */
  readonly #waiting = new Map<string, NodeRecord>()
  /** By name: what came with a lower revision than what stands, and nothing newer since. */
  readonly #behind = new Map<string, { readonly record: NodeRecord; readonly since: number }>()
  readonly #owners = new Map<string, string>()
  readonly #uids = new Map<string, string>()
  readonly #prefixes = new Map<string, { readonly cidr: Cidr; readonly name: string }>()
  readonly #lengths = new Map<string, number>()
  #complete = false

  constructor(self: SelfFacts) {
    this.#self = self
  }

  /** Every record that stood when the directory was first read has been seen; nothing may be removed before. */
  get complete(): boolean {
    return this.#complete
  }

  get records(): ReadonlyMap<string, NodeRecord> {
    return this.#records
  }

  /** Some record that stands or waits has this key: a peer with it must not be taken for a stranger. */
  claims(publicKey: string): boolean {
    const point = pointOf(publicKey)
    if (this.#owners.has(point)) return true
    for (const { slots } of this.#waiting.values())
      if (slots.some((slot) => pointOf(slot.publicKey) === point)) return true
    return false
  }

  /** The same of a prefix, in canonical text. */
  claimsPrefix(text: string): boolean {
    const named = ({ prefixes }: NodeRecord): boolean => prefixes.includes(text)
    return [...this.#records.values()].some(named) || [...this.#waiting.values()].some(named)
  }

  /** `now`: monotonic ms. */
  apply(event: DirectoryEvent, now: number): ViewChange[] {
    switch (event.kind) {
      case 'complete':
        this.#complete = true
        return [{ kind: 'complete' }]
      case 'lost':
        return []
      case 'removed':
        return this.#remove(event.name)
      case 'record':
        return this.#record(event.name, event.value, now)
    }
  }

  /** Accepts what has stayed behind for long. */
  review(now: number): ViewChange[] {
    const changes: ViewChange[] = []
    for (const [name, { record, since }] of this.#behind) {
      if (now - since < BEHIND_MS) continue
      this.#behind.delete(name)
      changes.push(...this.#consider(record))
    }
    return changes
  }

  #record(name: string, value: unknown, now: number): ViewChange[] {
    const read = readRecord(value, { domain: this.#self.domain, name })
    const since = this.#behind.get(name)?.since ?? now
    this.#behind.delete(name)
    if (!read.ok) return [{ kind: 'refused', name, refused: read.error }]
    const record = read.value
    if (name === this.#self.name) {
      if (record.nodeUID === this.#self.uid) return [{ kind: 'own', record }]
      return [{ kind: 'refused', name, refused: { reason: 'writer', detail: 'our own name, with another UID' } }]
    }
    const known = this.#records.get(name)
    if (known?.nodeUID === record.nodeUID && record.revision <= known.revision) {
      if (record.revision < known.revision) this.#behind.set(name, { record, since })
      return []
    }
    // A name that comes back with an older owner is a late message about a node that was replaced.
    if (known !== undefined && known.nodeUID !== record.nodeUID && record.created < known.created) return []
    return this.#consider(record)
  }

  #consider(record: NodeRecord): ViewChange[] {
    const claim = this.#judge(record)
    if (claim.refused !== undefined) {
      if (['key-taken', 'prefix-taken', 'writer'].includes(claim.refused.reason)) {
        this.#waiting.set(record.node, record)
      }
      return [{ kind: 'refused', name: record.node, refused: claim.refused }]
    }
    const changes: ViewChange[] = []
    for (const name of claim.displaced) {
      const loser = this.#records.get(name)
      if (loser === undefined) continue
      this.#forget(loser)
      this.#waiting.set(name, loser)
      changes.push({ kind: 'gone', uid: loser.nodeUID, name })
      changes.push({ kind: 'refused', name, refused: { reason: claim.reason, detail: `${record.node} had it first` } })
    }
    const known = this.#records.get(record.node)
    if (known !== undefined) this.#forget(known)
    if (known !== undefined && known.nodeUID !== record.nodeUID) {
      changes.push({ kind: 'gone', uid: known.nodeUID, name: known.node })
    }
    this.#remember(record)
    changes.push({ kind: 'peer', record })
    // What the record no longer claims, or no longer displaces, may fit now.
    if (known !== undefined || claim.displaced.size > 0) changes.push(...this.#retry(record.node))
    return changes
  }

  #judge(record: NodeRecord): { refused?: Refused; displaced: Set<string>; reason: Refusal } {
    const displaced = new Set<string>()
    let reason: Refusal = 'key-taken'
    if (record.nodeUID === this.#self.uid) {
      return { refused: { reason: 'writer', detail: 'the UID of this node' }, displaced, reason }
    }
    const namesake = this.#uids.get(record.nodeUID)
    if (namesake !== undefined && namesake !== record.node) {
      reason = 'writer'
      if (!this.#wins(record, namesake)) {
        return { refused: { reason, detail: `${namesake} has the UID` }, displaced, reason }
      }
      displaced.add(namesake)
    }
    const own = new Set(this.#self.keys().map(pointOf))
    for (const { publicKey, id } of record.slots) {
      const point = pointOf(publicKey)
      if (own.has(point)) return { refused: { reason: 'own-key', detail: `slot ${id}` }, displaced, reason }
      const owner = this.#owners.get(point)
      if (owner === undefined || owner === record.node) continue
      if (!this.#wins(record, owner)) return { refused: { reason, detail: `${owner} has it` }, displaced, reason }
      displaced.add(owner)
    }
    for (const text of record.prefixes) {
      const prefix = tryParseCidr(text)
      if (prefix === undefined) continue
      if (this.#self.prefixes.some((mine) => overlap(mine, prefix))) {
        return { refused: { reason: 'own-prefix', detail: text }, displaced, reason }
      }
      if (!accepts(this.#self.accept, prefix)) {
        return {
          refused: { reason: 'bad-prefix', detail: `${text} is outside of wireguard.accept` },
          displaced,
          reason,
        }
      }
      for (const owner of this.#holders(prefix)) {
        if (owner === record.node) continue
        reason = 'prefix-taken'
        if (!this.#wins(record, owner, prefix)) {
          return { refused: { reason, detail: `${owner} has ${text}` }, displaced, reason }
        }
        displaced.add(owner)
      }
    }
    return { displaced, reason }
  }

  #wins(record: NodeRecord, owner: string, disputed?: Cidr): boolean {
    const other = this.#records.get(owner)
    if (other === undefined) return true
    const proven = (one: NodeRecord): boolean => this.#self.proven?.(one, claimsOn(one, disputed)) === true
    const [before, after] = [proven(other), proven(record)]
    if (before !== after) return after
    if (record.created !== other.created) return record.created < other.created
    return record.nodeUID !== other.nodeUID ? record.nodeUID < other.nodeUID : record.node < other.node
  }

  /** Names that hold a prefix that overlaps: one look-up a length for wider ones, a walk only where narrower ones exist. */
  #holders(prefix: Cidr): Set<string> {
    const names = new Set<string>()
    const same = this.#prefixes.get(keyOf(prefix))
    if (same !== undefined) names.add(same.name)
    for (const length of this.#lengths.keys()) {
      const [family, bits] = length.split('/').map(Number)
      if (family !== prefix.ip.family || bits === prefix.bits) continue
      if ((bits ?? 0) < prefix.bits) {
        const wider = tryParseCidr(`${addressOf(prefix)}/${bits}`, { mask: true })
        const held = wider === undefined ? undefined : this.#prefixes.get(keyOf(wider))
        if (held !== undefined) names.add(held.name)
      } else {
        for (const held of this.#prefixes.values()) if (overlap(prefix, held.cidr)) names.add(held.name)
      }
    }
    return names
  }

  #remember(record: NodeRecord): void {
    this.#records.set(record.node, record)
    this.#waiting.delete(record.node)
    this.#uids.set(record.nodeUID, record.node)
    for (const { publicKey } of record.slots) this.#owners.set(pointOf(publicKey), record.node)
    for (const cidr of prefixesOf(record)) {
      this.#prefixes.set(keyOf(cidr), { cidr, name: record.node })
      const length = `${cidr.ip.family}/${cidr.bits}`
      this.#lengths.set(length, (this.#lengths.get(length) ?? 0) + 1)
    }
  }

  #forget(record: NodeRecord): void {
    this.#records.delete(record.node)
    this.#uids.delete(record.nodeUID)
    for (const { publicKey } of record.slots) this.#owners.delete(pointOf(publicKey))
    for (const cidr of prefixesOf(record)) {
      if (!this.#prefixes.delete(keyOf(cidr))) continue
      const length = `${cidr.ip.family}/${cidr.bits}`
      const left = (this.#lengths.get(length) ?? 1) - 1
      if (left === 0) this.#lengths.delete(length)
      else this.#lengths.set(length, left)
    }
  }

  #remove(name: string): ViewChange[] {
    this.#waiting.delete(name)
    this.#behind.delete(name)
    const known = this.#records.get(name)
    if (known === undefined) return []
    this.#forget(known)
    return [{ kind: 'gone', uid: known.nodeUID, name }, ...this.#retry(name)]
  }

  #retry(except: string): ViewChange[] {
    const changes: ViewChange[] = []
    const oldestFirst = [...this.#waiting.values()].sort((a, b) => a.created - b.created)
    for (const record of oldestFirst) {
      const waits = record.node !== except && this.#waiting.get(record.node) === record
      if (waits && this.#judge(record).refused === undefined) changes.push(...this.#consider(record))
    }
    return changes
  }
}

/** Prefixes of the record that overlap with what is disputed; all of them where no prefix is. */
const claimsOn = ({ prefixes }: NodeRecord, disputed: Cidr | undefined): readonly string[] =>
  prefixes.filter((text) => {
    const cidr = tryParseCidr(text)
    return disputed === undefined || (cidr !== undefined && overlap(cidr, disputed))
  })

const keyOf = (cidr: Cidr): string => `${cidr.bits}/${Buffer.from(cidr.ip.bytes).toString('hex')}`
const addressOf = (cidr: Cidr): string =>
  cidr.ip.family === 4
    ? cidr.ip.bytes.join('.')
    : (
        Buffer.from(cidr.ip.bytes)
          .toString('hex')
          .match(/.{1,4}/g) ?? []
      ).join(':')

function prefixesOf(record: NodeRecord): Cidr[] {
  const unique = new Map<string, Cidr>()
  for (const text of record.prefixes) {
    const cidr = tryParseCidr(text)
    if (cidr !== undefined) unique.set(keyOf(cidr), cidr)
  }
  return [...unique.values()]
}

import { join } from 'node:path'
import { FQDN } from '../fqdn/counters.ts'
import type { NameState } from '../fqdn/name-state.ts'
import {
  type ReadEnd,
  readRecords,
  type RecordSink,
  RecordWriter,
  type StateHeader,
  type StateIdentity,
} from '../fqdn/record-codec.ts'
import { encodeSnapshot } from '../fqdn/snapshot.ts'
import type { IdentityRecord, IdentityTable } from '../identity/identity-table.ts'
import { JournalFile, readIfThere, SNAPSHOT_FILE } from '../identity/journal-file.ts'
import type { LabelSets } from '../identity/label-sets.ts'
import type { LedgerMessage } from '../identity/ledger-protocol.ts'

/** Encoding may take at most this share of the time: a large state is written less often. */
const ENCODE_SHARE = 0.02
/** Workers raise expiries without a word; they are written this often when nothing else changes. */
const REFRESH_MS = 60_000
const ANSWER_MS = 30_000

export interface StateKeeperOptions {
  readonly directory: string
  readonly bootId: Uint8Array
  readonly snapshotIntervalMs: number
  readonly restoreGraceSeconds: number
  readonly state: NameState
  readonly identities: IdentityTable
  readonly sets: LabelSets
  readonly nowMs: () => number
  readonly post: (message: LedgerMessage, transfer?: readonly ArrayBuffer[]) => void
  readonly problem: (what: 'state' | 'journal', message: string) => void
}

const silent: RecordSink = { header() {}, endpoint() {}, identity() {}, learned() {} }

/** What the ledger knows, on disk: restore at start, journal before each map write, snapshots now and then. */
export class StateKeeper {
  readonly #options: StateKeeperOptions
  readonly #journal: JournalFile
  readonly #journalWriter = new RecordWriter()
  readonly #snapshotWriter = new RecordWriter()
  /** Restored identities, kept until the first policy is in force. */
  readonly #held: IdentityRecord[] = []
  #files: Uint8Array[] = []
  /** While names are restored: whose the numbers were at the end of the files read so far. */
  readonly #earlierKeys = new Map<number, string>()
  #sequence = 0
  #waitingSince = -1
  #dirty = false
  #encoding = false
  #lastEnd = 0
  #encodeMs = 0

  constructor(options: StateKeeperOptions) {
    this.#options = options
    this.#journal = new JournalFile(options.directory)
    this.#lastEnd = options.nowMs()
  }

  #count(counter: number): void {
    this.#options.state.count(counter)
  }

  /** Takes the numbers of an earlier life, so that no entry in the kernel gains another meaning. */
  *restoreNumbers(): Generator<void> {
    const { identities, directory } = this.#options
    const sink: RecordSink = {
      ...silent,
      header({ localCursor, clusterCursor }) {
        if (identities.local.has(localCursor)) identities.local.cursor = localCursor
        if (identities.cluster.has(clusterCursor)) identities.cluster.cursor = clusterCursor
      },
      identity: ({ number, family, labels }) => {
        const endpoint = family === 0 ? (labels[0] as string) : null
        const restored = identities.restore(number, labels, family === 6 ? 6 : 4, endpoint)
        if (restored !== undefined) this.#held.push(restored)
        const pool = endpoint === null ? identities.local : identities.cluster
        if (number >= pool.cursor && pool.has(number + 1)) pool.cursor = number + 1
      },
    }
    const snapshot = readIfThere(join(directory, SNAPSHOT_FILE))
    const journal = this.#journal.read()
    this.#files = [snapshot, journal.old, journal.current]
    this.#judge('snapshot', yield* readRecords(snapshot, this.#options.bootId, sink), snapshot.length > 0)
    this.#judge('old journal', yield* readRecords(journal.old, this.#options.bootId, sink), false)
    const end = yield* readRecords(journal.current, this.#options.bootId, sink)
    this.#judge('journal', end, false)
    try {
      this.#journal.open(end.valid)
      // An identity made by the restore itself needs no second record.
      this.#journalWriter.clear()
      this.#journalWriter.header(this.#header())
      this.flush()
    } catch (error) {
      this.#count(FQDN.journalErrors)
      this.#options.problem('journal', String(error))
    }
  }

  #judge(what: string, end: ReadEnd, mustBeComplete: boolean): void {
    if (end.foreign || (mustBeComplete && end.records === 0)) {
      this.#count(FQDN.discardedFiles)
      this.#options.problem('state', `${what}: of another boot or version, or no state file`)
    } else if (end.torn || (mustBeComplete && !end.complete)) {
      this.#count(FQDN.tornRecords)
      this.#options.problem('state', `${what}: damaged after record ${end.records}`)
    }
  }

  /** Learns what was known before, for endpoints that are still the same. */
  *restoreNames(): Generator<void> {
    const { state, bootId, restoreGraceSeconds, nowMs } = this.#options
    const floor = Math.floor(nowMs() / 1000) + restoreGraceSeconds
    const touched: number[] = []
    for (const file of this.#files) {
      const keys = new Map<number, string>()
      yield* readRecords(file, bootId, {
        ...silent,
        endpoint: (id, key) => {
          keys.set(id, key)
          const owner = state.endpoint(id)
          if (owner === undefined || owner.key === key || owner.names === 0) return
          // The number changed hands after these were learned.
          while (!state.dropEndpoint(id, floor, 1024)) continue
          state.addEndpoint(id, owner.key)
        },
        learned: (id, name, addr16, until) => {
          const owner = state.endpoint(id)
          const key = keys.get(id) ?? this.#earlierKeys.get(id)
          if (owner === undefined || owner.key !== key) return
          touched.length = 0
          state.learn(id, name, 0, name.length, addr16, 0, 1, Math.max(until, floor), touched)
          if (touched.length > 0) this.#count(FQDN.restored)
        },
      })
      for (const [id, key] of keys) this.#earlierKeys.set(id, key)
    }
    for (const [id, key] of this.#earlierKeys) {
      // Gone while nobody was there to note it: should the same pod come back, it starts with nothing.
      if (key !== '' && state.endpoint(id) === undefined) this.endpoint(id, '')
    }
    this.#earlierKeys.clear()
    this.#files = []
    this.#dirty = true
  }

  /** The first policy is in force: what it does not use may be freed. */
  releaseHeld(): void {
    for (const identity of this.#held) this.#options.identities.release(identity, this.#options.nowMs())
    this.#held.length = 0
  }

  #header(): StateHeader {
    const { bootId, identities } = this.#options
    return { bootId, localCursor: identities.local.cursor, clusterCursor: identities.cluster.cursor }
  }

  identity(record: IdentityRecord): void {
    this.#journalWriter.identity(this.#asRecord(record))
  }

  /** The number belongs to this pod from now on; '' to none. */
  endpoint(id: number, key: string): void {
    this.#journalWriter.endpoint(id, key)
  }

  learned(
    endpointId: number,
    name: Uint8Array,
    offset: number,
    length: number,
    addresses: Uint8Array,
    count: number,
    until: number,
  ): void {
    this.#journalWriter.beginLearned(endpointId, name, offset, length)
    for (let i = 0; i < count; i++) this.#journalWriter.address(addresses, 16 * i, until)
    this.#journalWriter.endLearned()
  }

  /** Appends what was noted; before the maps are written. An error is counted and work goes on. */
  flush(): void {
    if (this.#journalWriter.length === 0) return
    this.#dirty = true
    if (!this.#journal.append(this.#journalWriter.peek())) {
      this.#count(FQDN.journalErrors)
      this.#options.problem('journal', 'cannot be appended to')
    }
    this.#journalWriter.clear()
  }

  #asRecord({ number, family, endpoint, set }: IdentityRecord): StateIdentity {
    return endpoint === null
      ? { number, family, labels: this.#options.sets.labels(set) }
      : { number, family: 0, labels: [endpoint] }
  }

  *#identities(): Generator<StateIdentity> {
    for (const record of this.#options.identities) yield this.#asRecord(record)
  }

  /** True when a snapshot is to be encoded now. */
  due(): boolean {
    const now = this.#options.nowMs()
    if (this.#encoding || (this.#waitingSince >= 0 && now - this.#waitingSince < ANSWER_MS)) return false
    const pause = this.#dirty
      ? Math.max(this.#options.snapshotIntervalMs, this.#encodeMs / ENCODE_SHARE)
      : Math.max(this.#options.snapshotIntervalMs, REFRESH_MS)
    return now - this.#lastEnd >= pause && (this.#dirty || this.#options.state.entries.count > 0)
  }

  /** Encodes a snapshot and posts it in parts; yields between slices. */
  *encode(): Generator<void> {
    const { state, nowMs, post } = this.#options
    this.#encoding = true
    this.flush()
    const sequence = ++this.#sequence
    this.#dirty = false
    try {
      this.#journal.rotate()
    } catch (error) {
      this.#options.problem('journal', String(error))
    }
    this.#journalWriter.header(this.#header())
    this.#journal.append(this.#journalWriter.peek())
    this.#journalWriter.clear()
    let work = 0
    let mark = nowMs()
    const chunk = (bytes: ArrayBuffer, last: boolean): void =>
      post({ type: 'state', sequence, chunk: bytes, last }, [bytes])
    for (const _ of encodeSnapshot(state, this.#header(), this.#identities(), this.#snapshotWriter, chunk)) {
      work += nowMs() - mark
      yield
      mark = nowMs()
    }
    this.#encodeMs = work
    this.#encoding = false
    this.#waitingSince = this.#lastEnd = nowMs()
    this.#count(FQDN.snapshots)
  }

  written(sequence: number, ok: boolean): void {
    if (sequence !== this.#sequence) return
    this.#waitingSince = -1
    if (!ok) {
      this.#dirty = true
      return
    }
    try {
      this.#journal.dropOld()
    } catch (error) {
      this.#options.problem('journal', String(error))
    }
  }

  /** The whole state at once, at the end. A snapshot that is half encoded is given up. */
  finish(): void {
    this.#snapshotWriter.clear()
    for (const _ of this.encode()) continue
    this.#journal.close()
  }
}

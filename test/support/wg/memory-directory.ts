import { SekishoError } from '../../../src/core/errors.ts'
import type { DirectoryEvent, NodeDirectory } from '../../../src/wg/directory/directory.ts'
import type { NodeRecord } from '../../../src/wg/directory/record.ts'
import type { EngineClock } from '../../../src/wg/engine/types.ts'

export interface MemoryDirectoryOptions {
  /** Of a write, and of each message by itself, ms: so they overtake each other. */
  readonly delayMs: () => number
  /** True: the message is never told; the next resync tells what stands. */
  readonly lose: () => boolean
  readonly resyncMs: number
}

interface Reader {
  readonly name: string
  readonly tell: (event: DirectoryEvent) => void
  open: boolean
  listed: boolean
}

/** A directory of nodes in memory, for many engines of one process: late, lossy, and to be cut off from. */
export class MemoryDirectory {
  readonly records = new Map<string, NodeRecord>()
  options: MemoryDirectoryOptions
  writes = 0
  /** May throw, before a write is done. */
  beforeWrite: (name: string) => void = () => undefined
  readonly #clock: EngineClock
  readonly #readers = new Set<Reader>()
  readonly #cut = new Set<string>()

  constructor(clock: EngineClock, options: Partial<MemoryDirectoryOptions> = {}) {
    this.#clock = clock
    this.options = { delayMs: () => 50, lose: () => false, resyncMs: 30_000, ...options }
  }

  /** The node neither reads nor writes until it is let again. */
  partition(name: string, cut: boolean): void {
    if (cut) this.#cut.add(name)
    else this.#cut.delete(name)
    for (const reader of this.#readers) {
      if (reader.name !== name) continue
      if (cut) this.#post(reader, { kind: 'lost', reason: 'partitioned' }, true)
      else this.#list(reader)
    }
  }

  /** Somebody, not the node, takes its record away. */
  remove(name: string): void {
    if (this.records.delete(name)) this.#broadcast({ kind: 'removed', name })
  }

  /** Somebody, not the node, writes a record. */
  put(name: string, value: NodeRecord): void {
    this.records.set(name, value)
    this.#broadcast({ kind: 'record', name, value })
  }

  node(name: string): NodeDirectory {
    let reader: Reader | undefined
    return {
      start: async (tell) => {
        const opened: Reader = { name, tell, open: true, listed: false }
        reader = opened
        this.#readers.add(opened)
        if (this.#cut.has(name)) tell({ kind: 'lost', reason: 'partitioned' })
        else this.#list(opened)
        this.#resync(opened)
      },
      publish: async (record) => {
        this.beforeWrite(name)
        await new Promise<void>((resolve) => this.#clock.setTimer(resolve, this.options.delayMs()))
        if (this.#cut.has(name)) throw new SekishoError('SEKISHO_WG_DIRECTORY', 'partitioned')
        this.writes++
        this.put(name, structuredClone(record))
      },
      withdraw: async () => {
        this.remove(name)
      },
      stop: async () => {
        if (reader === undefined) return
        reader.open = false
        this.#readers.delete(reader)
      },
    }
  }

  #broadcast(event: DirectoryEvent): void {
    for (const reader of this.#readers) {
      if (!this.options.lose()) this.#post(reader, event, false)
    }
  }

  #post(reader: Reader, event: DirectoryEvent, now: boolean): void {
    const tell = (): void => {
      if (reader.open && (event.kind === 'lost' || !this.#cut.has(reader.name))) reader.tell(event)
    }
    if (now) tell()
    else this.#clock.setTimer(tell, this.options.delayMs())
  }

  #list(reader: Reader): void {
    this.#clock.setTimer(() => {
      if (!reader.open || this.#cut.has(reader.name)) return
      for (const [name, value] of this.records) reader.tell({ kind: 'record', name, value })
      if (!reader.listed) reader.tell({ kind: 'complete' })
      reader.listed = true
    }, this.options.delayMs())
  }

  #resync(reader: Reader): void {
    this.#clock.setTimer(() => {
      if (!reader.open) return
      if (!this.#cut.has(reader.name)) {
        for (const [name, value] of this.records) reader.tell({ kind: 'record', name, value })
      }
      this.#resync(reader)
    }, this.options.resyncMs)
  }
}

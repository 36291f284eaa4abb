import type { DirectoryEvent, NodeDirectory } from '../directory/directory.ts'
import type { Refusal, Refused } from '../directory/read-record.ts'
import { REFUSALS } from '../directory/read-record.ts'
import type { NodeRecord } from '../directory/record.ts'
import { DirectoryView, type SelfFacts, type ViewChange } from '../directory/view.ts'
import type { Faults } from './faults.ts'
import type { EngineClock } from './types.ts'

const REOPEN_MS = 5_000
/** Our record is written again when it was overrun, or gone, for this long: late echoes of our own writes look the same. */
const OVERRUN_MS = 5_000

export interface FeedHandlers {
  readonly peer: (record: NodeRecord) => void
  readonly gone: (uid: string) => void
  readonly own: (record: NodeRecord) => void
  readonly complete: () => void
}

/** Listens to the directory through the eyes of `DirectoryView`, from before the machine stands. */
export class DirectoryFeed {
  readonly view: DirectoryView
  own: NodeRecord | undefined
  lost: string | undefined
  heardAt: number
  completeAt: number | undefined
  /** Our own record was in the directory when it was first complete. */
  knewUs = false
  /** By UID: when its record was last another, monotonic ms. */
  readonly changedAt = new Map<string, number>()
  readonly refused = new Map<string, Refused>()
  readonly refusals: Record<Refusal, number>
  readonly #directory: NodeDirectory
  readonly #clock: EngineClock
  readonly #faults: Faults
  readonly #name: string
  #handlers: FeedHandlers | undefined
  #overrunSince: number | undefined
  #stopped = false
  #cancel: () => void = () => undefined
  #whenComplete: () => void = () => undefined
  readonly complete: Promise<void>

  constructor(directory: NodeDirectory, self: SelfFacts, clock: EngineClock, faults: Faults) {
    this.#directory = directory
    this.#clock = clock
    this.#faults = faults
    this.#name = self.name
    this.view = new DirectoryView(self)
    this.heardAt = clock.monotonicMs()
    this.refusals = Object.fromEntries(REFUSALS.map((reason) => [reason, 0])) as Record<Refusal, number>
    this.complete = new Promise((resolve) => {
      this.#whenComplete = resolve
    })
  }

  /** A directory that cannot be opened is lost for now, and tried again. */
  open(): void {
    this.#directory
      .start((event) => {
        if (this.#stopped) return
        this.heardAt = this.#clock.monotonicMs()
        if (event.kind === 'lost') {
          this.lost = event.reason
          return
        }
        this.lost = undefined
        if (event.kind === 'removed' && event.name === this.#name) this.#overrunSince ??= this.heardAt
        this.#apply(event)
      })
      .catch((error: unknown) => {
        this.lost = error instanceof Error ? error.message : String(error)
        this.#faults.tell('opening the directory', error)
        if (this.#stopped) return
        this.#cancel = this.#clock.setTimer(() => {
          this.open()
        }, REOPEN_MS)
      })
  }

  /** From here on changes are told; what came before is in `view` and `own`. */
  attach(handlers: FeedHandlers): void {
    this.#handlers = handlers
  }

  /** Our record is not as we wrote it, and does not come right by itself. Tells once for each time. */
  overrun(acknowledged: number, now: number): boolean {
    if (acknowledged < 0 || this.#overrunSince === undefined || now - this.#overrunSince < OVERRUN_MS) return false
    this.#overrunSince = undefined
    return true
  }

  /** Tells the feed what the directory should hold by now. */
  expect(acknowledged: number): void {
    if (this.own !== undefined && this.own.revision < acknowledged) this.#overrunSince ??= this.heardAt
    else if (this.own !== undefined) this.#overrunSince = undefined
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#cancel()
    await this.#directory.stop()
  }

  /** What the directory has said for long although we believed something newer. */
  review(now: number): void {
    if (this.lost === undefined) this.#take(this.view.review(now))
  }

  #apply(event: DirectoryEvent): void {
    this.#take(this.view.apply(event, this.heardAt))
    if (event.kind === 'removed') this.refused.delete(event.name)
  }

  #take(changes: readonly ViewChange[]): void {
    for (const change of changes) {
      switch (change.kind) {
        case 'peer':
          this.refused.delete(change.record.node)
          this.changedAt.set(change.record.nodeUID, this.heardAt)
          this.#handlers?.peer(change.record)
          break
        case 'gone':
          this.refused.delete(change.name)
          this.changedAt.delete(change.uid)
          this.#handlers?.gone(change.uid)
          break
        case 'refused':
          this.refused.set(change.name, change.refused)
          this.refusals[change.refused.reason]++
          this.#faults.note('the record of a node is refused; what it said before stays', {
            node: change.name,
            ...change.refused,
          })
          if (change.name === this.#name) this.#overrunSince ??= this.heardAt
          break
        case 'own':
          this.refused.delete(this.#name)
          this.own = change.record
          this.#handlers?.own(change.record)
          break
        case 'complete':
          if (this.completeAt === undefined) {
            this.completeAt = this.heardAt
            this.knewUs = this.own !== undefined
          }
          this.#whenComplete()
          this.#handlers?.complete()
          break
      }
    }
  }
}

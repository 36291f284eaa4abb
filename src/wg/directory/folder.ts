import { watch, type FSWatcher } from 'node:fs'
import { SekishoError } from '../../core/errors.ts'
import { silentLog, type Log } from '../../core/log.ts'
import type { DirectoryEvent, NodeDirectory } from './directory.ts'
import { documentOf, specOf } from './document.ts'
import * as files from './folder-files.ts'
import type { NodeRecord } from './record.ts'

export interface FolderOptions {
  /** Is not made: the folder of a file system that is not mounted must be missing, not empty. */
  readonly path: string
  /** Our own record is the file of this name. */
  readonly node: string
  readonly log?: Log
  /** The whole folder is compared this often, ms: shared file systems tell nothing of what other nodes write. */
  readonly rescanMs?: number
  /** A comparison that takes longer means that the folder does not answer, ms. */
  readonly stalledMs?: number
  /** Records that vanished together with ours are not called removed before this, ms. */
  readonly togetherMs?: number
  readonly maxRecords?: number
  /** Nothing in the folder is touched, not even what a writer of this node left there when it died. */
  readonly readOnly?: boolean
}

interface Known {
  readonly stamp: string
  /** Listings in a row that did not have it. */
  readonly missing: number
  /** Not called removed before, monotonic ms. */
  readonly heldUntil: number
}

const RESCAN_MS = 2000
const STALLED_MS = 10_000
const TOGETHER_MS = 10 * 60_000
const MAX_RECORDS = 20_000
/** Bursts of notices of one file are taken together, ms. */
const NOTICE_MS = 20
/** Listings without a record, one after the other, before it is called removed. */
const EVIDENCE = 2
const REST_FACTOR = 4
/** Files asked for at once: each takes a thread that netlink needs too, for as long as a file system hangs (bin/sekisho). */
const AT_ONCE = 4

/**
 * A folder that all nodes share, one file a node. What counts as evidence that a record is gone: two whole listings in a row
 * without it, of the folder we know, with our own record in it. A folder that is empty, another one, or does not answer is
 * lost, and takes nothing away.
 */
export class FolderDirectory implements NodeDirectory {
  readonly #path: string
  readonly #node: string
  readonly #log: Log
  readonly #rescanMs: number
  readonly #stalledMs: number
  readonly #togetherMs: number
  readonly #maxRecords: number
  readonly #readOnly: boolean
  readonly #known = new Map<string, Known>()
  readonly #dirty = new Set<string>()
  readonly #malformed = new Set<string>()
  #tell: ((event: DirectoryEvent) => void) | undefined
  /** What our record must be; undefined while nothing is published. */
  #own: string | undefined
  /** Our file was not what we wrote when it was last compared. */
  #foreign = false
  #identity: string | undefined
  #lost: string | undefined
  #complete = false
  #readAt: number | undefined
  /** Records that are not looked at. */
  #surplus = 0
  #work: Promise<unknown> = Promise.resolve()
  #writes: Promise<unknown> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined
  #notice: NodeJS.Timeout | undefined
  #watcher: FSWatcher | undefined

  constructor(options: FolderOptions) {
    this.#path = options.path
    this.#node = options.node
    this.#log = options.log ?? silentLog
    this.#rescanMs = options.rescanMs ?? RESCAN_MS
    this.#stalledMs = options.stalledMs ?? STALLED_MS
    this.#togetherMs = options.togetherMs ?? TOGETHER_MS
    this.#maxRecords = options.maxRecords ?? MAX_RECORDS
    this.#readOnly = options.readOnly ?? false
  }

  async start(tell: (event: DirectoryEvent) => void): Promise<void> {
    this.#tell = tell
    if (!this.#readOnly) {
      this.#inTurn(() => files.removeDebris(this.#path, this.#node, Date.now())).catch(() => undefined)
    }
    // A folder that does not answer is told as lost, and holds nobody up.
    await Promise.race([this.#scan(), delay(this.#stalledMs)])
  }

  publish(record: NodeRecord): Promise<void> {
    return this.#write('publish', () => this.#put(documentOf(record)))
  }

  withdraw(): Promise<void> {
    return this.#write('withdraw', async () => {
      this.#own = undefined
      await files.removeRecordFile(this.#path, this.#node)
    })
  }

  async stop(): Promise<void> {
    this.#tell = undefined
    clearTimeout(this.#timer)
    clearTimeout(this.#notice)
    this.#watcher?.close()
    this.#watcher = undefined
    // What hangs in a file system that does not answer is not waited for.
    await Promise.race([Promise.allSettled([this.#work, this.#writes]), delay(this.#stalledMs)])
  }

  ageMs(): number | undefined {
    return this.#readAt === undefined ? undefined : performance.now() - this.#readAt
  }

  async #put(own: string): Promise<void> {
    const identity = await files.folderIdentity(this.#path)
    if (this.#identity !== undefined && identity !== this.#identity) throw new Error('another folder is in its place')
    await files.writeRecordFile(this.#path, this.#node, own)
    this.#own = own
    this.#identity = identity
    this.#noticed(this.#node)
  }

  #write(what: string, act: () => Promise<void>): Promise<void> {
    const done = this.#writes.then(act).catch((cause: unknown) => {
      throw new SekishoError('SEKISHO_WG_DIRECTORY', `${what} ${this.#node}: ${messageOf(cause)}`, {
        cause,
        hint: `is ${this.#path} there, mounted and writable?`,
      })
    })
    this.#writes = done.catch(() => undefined)
    return done
  }

  /** Rests four times as long as it took, so that a large folder costs little. */
  async #scan(): Promise<void> {
    const began = performance.now()
    const stalled = setTimeout(() => this.#lose('it does not answer'), this.#stalledMs)
    await this.#inTurn(() => this.#compare()).catch((error: unknown) => this.#lose(messageOf(error)))
    clearTimeout(stalled)
    if (this.#tell === undefined) return
    const rest = Math.max(this.#rescanMs, REST_FACTOR * (performance.now() - began))
    this.#timer = setTimeout(() => void this.#scan(), rest).unref()
  }

  /** Whoever reads the folder does so alone: what is told of a file is never older than what was told before. */
  #inTurn(act: () => Promise<void>): Promise<void> {
    const done = this.#work.then(act)
    this.#work = done.catch(() => undefined)
    return done
  }

  async #compare(): Promise<void> {
    if (this.#tell === undefined) return
    this.#subscribe()
    // What is published while the folder is listed need not be in the list.
    const published = this.#own !== undefined
    const identity = await files.folderIdentity(this.#path)
    const listed = await files.listNodes(this.#path)
    if ((await files.folderIdentity(this.#path)) !== identity) throw new Error('it was replaced while it was read')
    const known = [...this.#known.keys()]
    const allGone = known.length > 0 && !known.some((node) => listed.has(node))
    if (allGone && identity !== this.#identity) {
      this.#lose('another folder is in its place, without the records we know; is it mounted?')
      return
    }
    this.#identity = identity
    const ownGone = published && this.#own !== undefined && !listed.has(this.#node)
    if (ownGone || (allGone && this.#own === undefined) || this.#manyVanish(listed)) this.#hold(listed)
    if (ownGone) {
      this.#log.warn({ folder: this.#path }, 'our record was deleted; it is published again')
      await this.#again()
    }
    await this.#lookAll([...listed])
    this.#countSurplus(listed)
    this.#found()
    this.#judgeAbsent(listed)
    await this.#checkOwn()
    this.#readAt = performance.now()
    if (!this.#complete) {
      this.#complete = true
      this.#say({ kind: 'complete' })
    }
  }

  /** More than half of the others at once, and not one alone: ours may have gone too and been written again meanwhile. */
  #manyVanish(listed: ReadonlySet<string>): boolean {
    const others = [...this.#known].filter(([node]) => node !== this.#node)
    const vanished = others.filter(([node, { missing }]) => missing === 0 && !listed.has(node)).length
    return vanished > 1 && vanished * 2 > others.length
  }

  /** Records that vanish together with ours, or all at once: their nodes live, and will publish again. */
  #hold(listed: ReadonlySet<string>): void {
    const heldUntil = performance.now() + this.#togetherMs
    for (const [node, known] of this.#known) {
      if (!listed.has(node) && known.heldUntil === 0) this.#known.set(node, { ...known, heldUntil })
    }
  }

  /** Writes what was published last: by its turn that may be newer than what was found missing. */
  async #again(): Promise<void> {
    try {
      await this.#write('publish', async () => {
        if (this.#own !== undefined) await this.#put(this.#own)
      })
    } catch (error) {
      this.#log.warn({ err: error }, 'our record could not be published again')
    }
  }

  async #lookAll(nodes: readonly string[]): Promise<void> {
    for (let at = 0; at < nodes.length; at += AT_ONCE) {
      const some = nodes.slice(at, at + AT_ONCE)
      const stamps = await Promise.all(some.map((node) => files.stampOf(files.fileOf(this.#path, node))))
      for (const [i, node] of some.entries()) await this.#look(node, stamps[i])
    }
  }

  /** Tells the record when its file is not the one last seen. */
  async #look(node: string, stamp: string | undefined): Promise<void> {
    if (stamp === undefined) return
    const known = this.#known.get(node)
    if (known?.stamp === stamp) {
      if (known.missing > 0 || known.heldUntil > 0) this.#known.set(node, { stamp, missing: 0, heldUntil: 0 })
      return
    }
    const path = files.fileOf(this.#path, node)
    // Never more than the limit: who is known stays, newcomers wait for room.
    if (known === undefined && node !== this.#node && this.#known.size >= this.#maxRecords) return
    const reading = await files.readRecordFile(path)
    if (reading.kind === 'absent') return
    this.#known.set(node, { stamp, missing: 0, heldUntil: 0 })
    if (reading.kind === 'refused') this.#log.warn({ file: path, reason: reading.reason }, 'a record is refused')
    const value = reading.kind === 'text' ? specOf(reading.text, node) : undefined
    if (value === undefined) this.#malformed.add(node)
    else this.#malformed.delete(node)
    this.#say({ kind: 'record', name: node, value })
  }

  #countSurplus(listed: ReadonlySet<string>): void {
    const surplus = [...listed].filter((node) => !this.#known.has(node)).length
    if (surplus > 0 && this.#surplus === 0) {
      this.#log.warn({ surplus, limit: this.#maxRecords }, 'too many records in the folder; some are left out')
    }
    this.#surplus = surplus
  }

  #judgeAbsent(listed: ReadonlySet<string>): void {
    const now = performance.now()
    for (const [node, known] of this.#known) {
      if (listed.has(node)) continue
      const missing = known.missing + 1
      if (missing < EVIDENCE || now < known.heldUntil) {
        this.#known.set(node, { ...known, missing })
        continue
      }
      this.#known.delete(node)
      this.#malformed.delete(node)
      this.#say({ kind: 'removed', name: node })
    }
  }

  /** Somebody else wrote our file: twice in a row, because a shared file system may show an older one for a while. */
  async #checkOwn(): Promise<void> {
    const own = this.#own
    if (own === undefined) return
    const reading = await files.readRecordFile(files.fileOf(this.#path, this.#node))
    // Published meanwhile; or gone, which the next listing judges together with what else is gone.
    if (own !== this.#own || reading.kind === 'absent') return
    const differs = reading.kind !== 'text' || reading.text !== own
    if (differs && this.#foreign) {
      this.#log.warn({ folder: this.#path }, 'our record was changed by somebody else; it is published again')
      await this.#again()
    }
    this.#foreign = differs
  }

  #subscribe(): void {
    if (this.#watcher !== undefined) return
    try {
      this.#watcher = watch(this.#path, { persistent: false }, (_event, name) => {
        const node = name === null ? undefined : files.nodeOf(name)
        if (node !== undefined) this.#noticed(node)
      })
      this.#watcher.on('error', () => this.#unsubscribe())
    } catch {
      // The comparison does without.
    }
  }

  #unsubscribe(): void {
    this.#watcher?.close()
    this.#watcher = undefined
  }

  #noticed(node: string): void {
    // Who writes what cannot be read again and again is read with the next comparison.
    if (this.#tell === undefined || this.#malformed.has(node)) return
    this.#dirty.add(node)
    this.#notice ??= setTimeout(() => {
      this.#notice = undefined
      const nodes = [...this.#dirty]
      this.#dirty.clear()
      this.#inTurn(() => this.#lookAll(nodes)).catch(() => undefined)
    }, NOTICE_MS)
  }

  #lose(reason: string): void {
    // A folder that comes back is another one to inotify.
    this.#unsubscribe()
    if (this.#lost === reason) return
    this.#log.warn({ folder: this.#path, reason }, 'the folder of keys is lost; what is known of peers stays')
    this.#lost = reason
    this.#say({ kind: 'lost', reason })
  }

  #found(): void {
    if (this.#lost === undefined) return
    this.#lost = undefined
    this.#log.info({ folder: this.#path }, 'the folder of keys is back')
    // Said again, so that whoever was told of the loss knows of its end.
    this.#complete = false
  }

  #say(event: DirectoryEvent): void {
    this.#tell?.(event)
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
const delay = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms).unref())

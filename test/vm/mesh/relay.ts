/**
 * The folder of published records as an unreliable service: each node has a folder of its own, and what it writes there
 * comes to the folder of each other node later, perhaps not at all, perhaps in another order, perhaps after a cut.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const POLL_MS = 50
/** As a watch that lists again: what was lost on the way comes with it. */
const RESYNC_MS = 2000

export interface Weather {
  /** Each copy comes so late, ms, from and to; each has its own number, so a later version may come first. */
  readonly delayMs: readonly [number, number]
  /** Share of copies that never come. */
  readonly loss: number
  /** Writer and reader are names of nodes; true: nothing gets through. */
  readonly cut: (writer: string, reader: string) => boolean
}

export const FAIR: Weather = { delayMs: [0, 0], loss: 0, cut: () => false }

export interface Relayed {
  readonly versions: number
  readonly delivered: number
  readonly lost: number
  /** Copies that came after a later version of the same file. */
  readonly overtaken: number
}

export class Relay {
  weather: Weather = FAIR
  readonly #root: string
  readonly #names: readonly string[]
  readonly #random: () => number
  readonly #latest = new Map<string, string>()
  /** Writer and file, at a reader: number of the newest version that came. */
  readonly #held = new Map<string, number>()
  readonly #timer: NodeJS.Timeout
  #number = 0
  #counts = { versions: 0, delivered: 0, lost: 0, overtaken: 0 }
  #resyncAt = 0

  constructor(root: string, names: readonly string[], random: () => number) {
    this.#root = root
    this.#names = names
    this.#random = random
    for (const name of names) mkdirSync(this.folder(name), { recursive: true })
    this.#timer = setInterval(() => this.#look(), POLL_MS)
  }

  /** Where the agent of this node writes and reads. */
  folder(name: string): string {
    return join(this.#root, name)
  }

  get counts(): Relayed {
    return { ...this.#counts }
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** A record is taken out everywhere, as who deletes a Node object does. */
  forget(writer: string): void {
    for (const name of this.#names) rmSync(join(this.folder(name), `${writer}.yaml`), { force: true })
    this.#latest.delete(writer)
  }

  /** Puts a file into the folder of a reader that no agent wrote. */
  plant(reader: string, file: string, text: string): void {
    this.#write(reader, file, text)
  }

  #look(): void {
    const resync = performance.now() >= this.#resyncAt
    if (resync) this.#resyncAt = performance.now() + RESYNC_MS
    for (const writer of this.#names) {
      const file = `${writer}.yaml`
      let text: string | undefined
      try {
        text = readFileSync(join(this.folder(writer), file), 'utf8')
      } catch {
        // Not written yet.
        continue
      }
      const known = this.#latest.get(writer)
      const fresh = known !== text
      if (fresh) {
        this.#latest.set(writer, text)
        this.#counts.versions++
      }
      if (fresh || resync) this.#send(writer, file, text, fresh)
    }
  }

  #send(writer: string, file: string, text: string, fresh: boolean): void {
    const number = fresh ? ++this.#number : this.#number
    for (const reader of this.#names) {
      if (reader === writer) continue
      if (!fresh && this.#has(reader, file, text)) continue
      const [least, most] = this.weather.delayMs
      const later = least + (most - least) * this.#random()
      const loses = fresh && this.#random() < this.weather.loss
      if (loses || this.weather.cut(writer, reader)) {
        this.#counts.lost++
        continue
      }
      if (later < 1) this.#deliver(writer, reader, file, text, number)
      else setTimeout(() => this.#deliver(writer, reader, file, text, number), later)
    }
  }

  #has(reader: string, file: string, text: string): boolean {
    try {
      return readFileSync(join(this.folder(reader), file), 'utf8') === text
    } catch {
      return false
    }
  }

  #deliver(writer: string, reader: string, file: string, text: string, number: number): void {
    // Cut while it was on its way.
    if (this.weather.cut(writer, reader)) return
    try {
      this.#write(reader, file, text)
    } catch {
      // The folder of the reader is away; it comes again when that is back.
      this.#counts.lost++
      return
    }
    const key = `${writer} ${reader}`
    if ((this.#held.get(key) ?? 0) > number) this.#counts.overtaken++
    this.#held.set(key, Math.max(number, this.#held.get(key) ?? 0))
    this.#counts.delivered++
  }

  #write(reader: string, file: string, text: string): void {
    const target = join(this.folder(reader), file)
    const temporary = join(this.folder(reader), `.${file}.relay`)
    writeFileSync(temporary, text)
    renameSync(temporary, target)
  }

  /** Files in the folder of a node. */
  files(name: string): string[] {
    return readdirSync(this.folder(name)).filter((file) => !file.startsWith('.'))
  }
}

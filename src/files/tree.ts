import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** One file of a set, with its text as it was read. */
export interface FileText {
  readonly path: string
  readonly text: string
}

export interface FileProblem {
  readonly path: string
  readonly message: string
}

export interface FileSet {
  /** In order of path. */
  readonly files: readonly FileText[]
  /** Paths that could not be read: the caller keeps what it had rather than act on half of a set. */
  readonly problems: readonly FileProblem[]
  /** How long ago the file changed last that did, ms, after all were read; a time in the future does not count. */
  readonly restedMs: number
}

/** A policy larger than this is a mistake, and would only be found by running out of memory. */
const MAX_FILE_BYTES = 64 * 1024 * 1024

const isPolicyFile = (name: string): boolean => /\.(ya?ml|json)$/.test(name) && !name.startsWith('.')

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/**
 * Reads every path: a file as it is, a directory's `*.yaml`, `*.yml` and `*.json` (not below it; hidden names, such as
 * the `..data` of a mounted ConfigMap, are passed over and reached through their links).
 */
export async function readFileSet(paths: readonly string[]): Promise<FileSet> {
  const wanted = new Set<string>()
  const problems: FileProblem[] = []
  for (const path of paths) {
    try {
      if ((await stat(path)).isDirectory()) {
        for (const name of await readdir(path)) if (isPolicyFile(name)) wanted.add(join(path, name))
      } else {
        wanted.add(path)
      }
    } catch (error) {
      problems.push({ path, message: reason(error) })
    }
  }
  const files: FileText[] = []
  let restedMs = Infinity
  for (const path of [...wanted].sort()) {
    try {
      const info = await stat(path)
      if (info.isDirectory()) continue
      if (info.size > MAX_FILE_BYTES) problems.push({ path, message: `larger than ${MAX_FILE_BYTES} octets` })
      else {
        files.push({ path, text: await readFile(path, 'utf8') })
        const age = Date.now() - (await stat(path)).mtimeMs
        if (age >= 0) restedMs = Math.min(restedMs, age)
      }
    } catch (error) {
      problems.push({ path, message: reason(error) })
    }
  }
  return { files, problems, restedMs }
}

/** Editors and `cp` write in place: what changed within this time may be half of itself, ms. */
const REST_MS = 40
const REST_TRIES = 20

/** As `readFileSet`, when what is there has rested a moment; a file that is written all the time is taken as it is. */
export async function readRestedFileSet(paths: readonly string[]): Promise<FileSet> {
  for (let left = REST_TRIES; ; left--) {
    const set = await readFileSet(paths)
    if (set.restedMs >= REST_MS || left === 0) return set
    await new Promise((resolve) => setTimeout(resolve, REST_MS))
  }
}

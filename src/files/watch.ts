import { watch, type FSWatcher } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { Startable } from '../core/lifecycle.ts'

export interface WatchOptions {
  readonly paths: readonly string[]
  /** Called once the paths have been quiet for `quietMs` after a change; never twice at the same time. */
  readonly onChange: () => Promise<void>
  /** Editors write in several steps; a change is taken when this long nothing more came. */
  readonly quietMs?: number
  /** Events can be lost (network file systems, a directory that is replaced): the state is compared this often. */
  readonly pollMs?: number
}

/**
 * Watches files and directories: inotify on the directory that holds each (an atomic rename replaces the file's inode),
 * and a comparison of names, sizes and times as the safety net.
 */
export function watchPaths(options: WatchOptions): Startable {
  const quietMs = options.quietMs ?? 50
  const pollMs = options.pollMs ?? 5000
  const watchers = new Map<string, FSWatcher>()
  let quiet: NodeJS.Timeout | undefined
  let poll: NodeJS.Timeout | undefined
  let running: Promise<void> = Promise.resolve()
  let fingerprint = ''
  let stopped = true

  const directoriesOf = async (path: string): Promise<string[]> => {
    const isDirectory = await stat(path).then(
      (info) => info.isDirectory(),
      () => false,
    )
    return isDirectory ? [path, dirname(resolve(path))] : [dirname(resolve(path))]
  }

  const look = async (): Promise<string> => {
    const seen: string[] = []
    const note = async (path: string): Promise<void> => {
      const info = await stat(path, { bigint: true }).catch(() => undefined)
      seen.push(info === undefined ? `${path}:none` : `${path}:${info.ino}:${info.size}:${info.mtimeNs}`)
    }
    for (const path of options.paths) {
      await note(path)
      const names = await readdir(path).catch(() => [])
      for (const name of names.sort()) await note(join(path, name))
    }
    return seen.join('\n')
  }

  const subscribe = async (): Promise<void> => {
    const wanted = new Set<string>()
    for (const path of options.paths) for (const directory of await directoriesOf(path)) wanted.add(directory)
    for (const [directory, watcher] of watchers) {
      if (wanted.has(directory)) continue
      watcher.close()
      watchers.delete(directory)
    }
    for (const directory of wanted) {
      if (watchers.has(directory)) continue
      try {
        const watcher = watch(directory, { persistent: false }, stir)
        watcher.on('error', () => {
          watcher.close()
          watchers.delete(directory)
        })
        watchers.set(directory, watcher)
      } catch {
        // Not there (yet): the poll finds it.
      }
    }
  }

  const check = async (): Promise<void> => {
    if (stopped) return
    await subscribe()
    const now = await look()
    if (now === fingerprint) return
    fingerprint = now
    await options.onChange()
  }

  function stir(): void {
    if (stopped) return
    clearTimeout(quiet)
    quiet = setTimeout(() => {
      running = running.then(check, check)
    }, quietMs)
  }

  return {
    async start() {
      stopped = false
      await subscribe()
      fingerprint = await look()
      poll = setInterval(() => {
        running = running.then(check, check)
      }, pollMs)
      poll.unref()
    },
    async stop() {
      stopped = true
      clearTimeout(quiet)
      clearInterval(poll)
      for (const watcher of watchers.values()) watcher.close()
      watchers.clear()
      await running.catch(() => undefined)
    },
  }
}

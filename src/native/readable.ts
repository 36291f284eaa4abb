import type { Fd, WatchCalls } from './binding.ts'

/**
 * Calls `act`, which must not throw, when there is something to read in `fd`; after that not before `restMs` are over, however
 * much comes: a storm is read in portions, and at rest nothing runs. Returns what ends it, to be called before `fd` is closed.
 */
export function whenReadable(native: WatchCalls, fd: Fd, restMs: number, act: () => void): () => void {
  let rest: NodeJS.Timeout | undefined
  let open = true
  const watch = native.watchOpen(fd, () => {
    act()
    if (open) rest = setTimeout(() => native.watchArm(watch), restMs).unref()
  })
  native.watchArm(watch)
  return () => {
    if (!open) return
    open = false
    clearTimeout(rest)
    native.watchClose(watch)
  }
}

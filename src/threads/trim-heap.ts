interface CollectOptions {
  readonly type: 'major'
  readonly execution: 'sync'
  /** `last-resort`: gives free pages back to the system too. */
  readonly flavor: 'last-resort'
}

/** There when Node was started with `--expose-gc`, as bin/sekisho does. */
declare const gc: ((options: CollectOptions) => void) | undefined

/**
 * Gives the memory of garbage back to the system: a thread that worked hard and now rests would keep it for ever, because V8
 * collects when a thread allocates. Stops the calling thread for some ms to some hundred; the others go on.
 */
export function trimHeap(): void {
  if (typeof gc !== 'undefined') gc({ type: 'major', execution: 'sync', flavor: 'last-resort' })
}

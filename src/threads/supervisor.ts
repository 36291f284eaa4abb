import { Worker } from 'node:worker_threads'
import type { Log } from '../core/log.ts'
import type { Startable } from '../core/lifecycle.ts'

export interface ThreadOptions {
  /** For logs, metrics and readiness: `ledger`, `dns-0`, `tcp`, `compiler`. */
  readonly name: string
  readonly entry: URL
  /** Made anew for every start, with what must be moved rather than copied. */
  readonly data: () => {
    readonly workerData: unknown
    readonly transfer?: readonly import('node:worker_threads').Transferable[]
  }
  readonly onMessage: (message: unknown) => void
  /** The thread is gone (not by `stop`); it is started again after the back-off. */
  readonly onDeath?: (reason: string) => void
  /** Awaited after the back-off and before the next start: what has to be cleared away first. */
  readonly beforeRestart?: () => Promise<void>
  readonly onStart?: () => void
  /** Tells the thread to end: store the flag, ring the bell. */
  readonly askToStop: () => void
  /** Wakes a thread that sleeps in a system call, so that `terminate` can take effect. */
  readonly wake: () => void
  readonly log: Log
  /** How long a thread may take to end by itself, ms; 0 ends it at once. */
  readonly stopMs?: number
  readonly execArgv?: readonly string[]
  /**
   * Room for new objects, MiB. A thread whose garbage is short-lived needs little; with V8's default it would keep some
   * 100 MiB of it for ever.
   */
  readonly youngMiB?: number
}

/** First pause before a dead thread is started again, ms; doubles to the last, and starts over after a quiet minute. */
const BACKOFF_FIRST_MS = 10
const BACKOFF_LAST_MS = 5000
const QUIET_MS = 60_000

export interface Thread extends Startable {
  readonly name: string
  post(message: unknown, transfer?: readonly import('node:worker_threads').Transferable[]): void
  readonly alive: boolean
  readonly restarts: number
}

/** Keeps one worker thread alive: starts it, starts it again when it dies, ends it in bounded time. */
export function superviseThread(options: ThreadOptions): Thread {
  let worker: Worker | undefined
  let exited: Promise<void> = Promise.resolve()
  /** Changes with each start and stop: what was begun before it is given up. */
  let era = 0
  let restarts = 0
  let backoff = BACKOFF_FIRST_MS
  let timer: NodeJS.Timeout | undefined
  let startedAt = 0

  const launch = (): void => {
    const mine = era
    const { workerData, transfer } = options.data()
    startedAt = performance.now()
    const started = new Worker(options.entry, {
      name: options.name,
      workerData,
      ...(transfer === undefined ? {} : { transferList: [...transfer] }),
      ...(options.execArgv === undefined ? {} : { execArgv: [...options.execArgv] }),
      ...(options.youngMiB === undefined ? {} : { resourceLimits: { maxYoungGenerationSizeMb: options.youngMiB } }),
    })
    worker = started
    let reason = 'exit'
    started.on('message', options.onMessage)
    started.on('error', (error) => {
      reason = error instanceof Error ? (error.stack ?? error.message) : String(error)
    })
    exited = new Promise((resolve) => {
      started.once('exit', (code) => {
        worker = undefined
        resolve()
        if (mine !== era) return
        options.log.error({ thread: options.name, code, reason }, 'thread died')
        options.onDeath?.(reason)
        if (performance.now() - startedAt > QUIET_MS) backoff = BACKOFF_FIRST_MS
        launchLater()
      })
    })
    options.onStart?.()
  }

  const launchLater = (): void => {
    const mine = era
    timer = setTimeout(() => void launchAgain(mine), backoff)
    backoff = Math.min(backoff * 2, BACKOFF_LAST_MS)
  }

  const launchAgain = async (mine: number): Promise<void> => {
    try {
      await options.beforeRestart?.()
      if (mine !== era) return
      launch()
      restarts++
    } catch (error) {
      if (mine !== era) return
      options.log.error({ thread: options.name, err: error }, 'thread cannot be started again; trying again')
      launchLater()
    }
  }

  return {
    name: options.name,
    get alive() {
      return worker !== undefined
    },
    get restarts() {
      return restarts
    },
    post(message, transfer) {
      worker?.postMessage(message, transfer === undefined ? [] : [...transfer])
    },
    async start() {
      era++
      launch()
    },
    async stop() {
      era++
      clearTimeout(timer)
      const dying = worker
      if (dying === undefined) return
      options.askToStop()
      const limit = options.stopMs ?? 3000
      let late: NodeJS.Timeout | undefined
      await Promise.race([exited, new Promise((resolve) => (late = setTimeout(resolve, limit)))])
      clearTimeout(late)
      if (worker === undefined) return
      if (limit > 0) options.log.warn({ thread: options.name, ms: limit }, 'thread did not end by itself; ending it')
      const ended = dying.terminate()
      options.wake()
      await ended
    },
  }
}

import type { Config } from '../config/schema.ts'
import { SekishoError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { MetricSource } from '../core/metric.ts'
import type { ReadinessLatch } from '../http/ports.ts'
import type { WgReport, WgView } from '../wg/report.ts'
import { noCounters, NO_ROTATION } from '../wg/zero-report.ts'

/** What keeps or watches the devices, once it has started. */
export interface SealWork {
  readonly view: WgView
  /** Why pods should not be started yet; undefined when they may be. */
  waitsFor(): string | undefined
  /** Addresses of the node may have changed. */
  addressesChanged(): void
  /** What is in the kernel stays and goes on. */
  stop(): Promise<void>
}

export interface SealDeps {
  readonly config: Config
  readonly node: string
  readonly log: Log
  /** Makes and starts all parts, or throws and leaves none of them running. */
  readonly open: () => Promise<SealWork>
  readonly metrics: (view: WgView) => readonly MetricSource[]
  /** First wait before the start is tried again, ms; doubled each time, up to 32 times. */
  readonly retryMs?: number
}

export interface Seal {
  /** Before the start has worked: an empty report that says why. */
  readonly view: WgView
  readonly sources: readonly MetricSource[]
  /** Returns at once; the start is tried until it works. */
  start(): void
  addressesChanged(): void
  readiness(): readonly ReadinessLatch[]
  warnings(): readonly string[]
  stop(): Promise<void>
}

const RETRY_MS = 1000
const LONGEST_RETRY = 32

/**
 * The seal in the agent. It stands beside the gate: that it cannot start stops nobody else, is said in readiness, status and
 * log, and is tried again. A bad configuration was refused before.
 */
export function createSeal(deps: SealDeps): Seal {
  const { log, config } = deps
  const retryMs = deps.retryMs ?? RETRY_MS
  let work: SealWork | undefined
  let failure: string | undefined
  let stopped = false
  let wake: (() => void) | undefined
  let running: Promise<void> | undefined

  const rest = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })

  async function run(): Promise<void> {
    for (let wait = 1; !stopped; wait = Math.min(LONGEST_RETRY, wait * 2)) {
      try {
        work = await deps.open()
        failure = undefined
        log.info({ mode: config.wireguard.mode, driver: work.view.report().driver }, 'the seal is kept')
        return
      } catch (error) {
        const said = describe(error)
        // Each cause once as an error; the rest would fill the log for as long as it lasts.
        if (said === failure) log.debug({ err: error }, 'the seal still cannot start')
        else log.error({ err: error, hint: hintOf(error) }, 'the seal cannot start; it is tried again')
        failure = said
      }
      if (!stopped) await rest(retryMs * wait)
    }
  }

  const waiting = (): string => (failure === undefined ? 'it starts' : `cannot start: ${failure}`)
  const current = (): WgView => work?.view ?? idleView(deps, waiting())
  const view: WgView = {
    report: () => current().report(),
    peers: () => current().peers(),
    peer: (name) => current().peer(name),
    keyEvents: () => current().keyEvents(),
    counters: () => current().counters(),
    rotate: (compromised) => current().rotate(compromised),
  }

  return {
    view,
    sources: deps.metrics(view),
    start() {
      running ??= run()
    },
    addressesChanged: () => work?.addressesChanged(),
    readiness() {
      const reason = work === undefined ? waiting() : work.waitsFor()
      return [reason === undefined ? { name: 'wireguard', ready: true } : { name: 'wireguard', ready: false, reason }]
    },
    warnings() {
      if (work !== undefined) {
        const { warnings, directory } = work.view.report()
        const lost = directory.lost === undefined ? [] : [`the directory of keys is lost: ${directory.lost}`]
        return [...lost, ...warnings]
      }
      return failure === undefined ? [] : [`encryption between nodes ${waiting()}`]
    },
    async stop() {
      stopped = true
      wake?.()
      await running
      await work?.stop()
    },
  }
}

const hintOf = (error: unknown): string | undefined => (error instanceof SekishoError ? error.hint : undefined)

function describe(error: unknown): string {
  const hint = hintOf(error)
  const message = error instanceof Error ? error.message : String(error)
  return hint === undefined ? message : `${message} (${hint})`
}

/** What is shown while nothing runs yet. */
function idleView({ config, node, log }: SealDeps, why: string): WgView {
  const { wireguard } = config
  const report: WgReport = {
    mode: wireguard.mode === 'observe' ? 'observe' : 'manage',
    driver: wireguard.driver === 'userspace' ? 'userspace' : 'kernel',
    domain: wireguard.domain,
    node,
    target: wireguard.target,
    nodeEncryption: wireguard.encryptNodes,
    mtu: wireguard.mtu,
    slots: [],
    peers: { expected: 0, active: 0, strict: 0, unproven: 0 },
    rotation: NO_ROTATION,
    directory: { complete: false, ageSeconds: 0, lost: why, published: false, refused: [] },
    dropped: [],
    warnings: [`encryption between nodes: ${why}`],
  }
  return {
    report: () => report,
    peers: () => [],
    peer: () => undefined,
    keyEvents: () => [],
    counters: () => noCounters(0),
    rotate: () => log.warn({ why }, 'a rotation was asked for before the seal has started'),
  }
}

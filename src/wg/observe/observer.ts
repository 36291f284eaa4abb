import type { Clock } from '../../core/clock.ts'
import { SekishoError } from '../../core/errors.ts'
import type { Startable } from '../../core/lifecycle.ts'
import type { Log } from '../../core/log.ts'
import type { WgDevice, WgDriver } from '../ports.ts'
import type { WgReport, WgView } from '../report.ts'
import { findingsOf, type ExpectedNode, type Finding, type Seen } from './findings.ts'
import { noCounters } from '../zero-report.ts'
import { peerReports, slotReport } from './reports.ts'

export interface ObserverOptions {
  /** Another manager's device, `cilium_wg0`. */
  readonly device: string
  readonly intervalMs: number
  readonly node: string
  readonly domain: string
  /** 51871, of Cilium. */
  readonly listenPort?: number
  readonly underlayMtu?: number
}

export interface ObserverDeps {
  readonly driver: Pick<WgDriver, 'kind' | 'read'>
  /** All nodes, this one too; undefined while the list is not complete. */
  readonly nodes: () => readonly ExpectedNode[] | undefined
  readonly clock: Clock
  readonly log: Log
  /** MTU of an interface, undefined while there is none. */
  readonly mtuOf: (device: string) => number | undefined
}

export interface ObserverReport extends WgReport {
  readonly mode: 'observe'
  readonly findings: readonly Finding[]
}

export interface Observer extends WgView, Startable {
  report(): ObserverReport
  /** Looks once; `start` does so by a timer. Never rejects. */
  look(): Promise<void>
}

const CILIUM_PORT = 51_871
/** Which sessions are in use shows from one look to the next, so the second comes soon after the first. */
const SECOND_LOOK_MS = 2_000

/** Looks at a WireGuard device that somebody else manages, and says what is wrong with it. Reads only: nothing is written. */
export function createObserver(options: ObserverOptions, deps: ObserverDeps): Observer {
  const { clock, driver } = deps
  const odd = { listenPort: options.listenPort ?? CILIUM_PORT, underlayMtu: options.underlayMtu }
  let seen: Seen | undefined
  let fault: Finding | undefined
  let findings: readonly Finding[] = []
  let keySince = { key: undefined as string | undefined, at: clock.monotonicMs(), generation: -1 }
  let lookedAt = clock.monotonicMs()
  let looks = 0
  let failures = 0
  let timer: NodeJS.Timeout | undefined
  let stopped = true
  let running: Promise<void> = Promise.resolve()

  const others = (): readonly ExpectedNode[] | undefined => deps.nodes()?.filter(({ name }) => name !== options.node)

  function take(device: WgDevice): void {
    const before = new Map(seen?.device.peers.map(({ publicKey, txBytes }) => [publicKey, txBytes]))
    const grew = device.peers.filter(({ publicKey, txBytes }) => txBytes > (before.get(publicKey) ?? Infinity))
    const sending = new Set(grew.map(({ publicKey }) => publicKey))
    seen = { device, mtu: deps.mtuOf(options.device), sending, wallMs: clock.wallMs() }
    if (device.publicKey !== keySince.key) {
      keySince = { key: device.publicKey, at: clock.monotonicMs(), generation: keySince.generation + 1 }
    }
  }

  async function look(): Promise<void> {
    looks++
    try {
      const device = await driver.read(options.device)
      if (device === undefined) {
        seen = undefined
        fault = { code: 'no-device', peer: '', text: `there is no device ${options.device}` }
      } else {
        fault = undefined
        take(device)
      }
      lookedAt = clock.monotonicMs()
    } catch (error) {
      failures++
      if (fault?.code !== 'unreadable')
        deps.log.warn({ err: error, device: options.device }, 'the device cannot be read')
      fault = { code: 'unreadable', peer: '', text: `${options.device} cannot be read: ${(error as Error).message}` }
    }
    const now = seen === undefined ? [] : findingsOf(seen, others(), odd)
    findings = fault === undefined ? now : [fault, ...now]
  }

  function again(): void {
    if (stopped) return
    timer = setTimeout(
      () => {
        running = look().then(again)
      },
      looks < 2 ? Math.min(SECOND_LOOK_MS, options.intervalMs) : options.intervalMs,
    )
    timer.unref()
  }

  const view: Observer = {
    look,
    report() {
      const nodes = deps.nodes()
      const rest = others() ?? []
      const bad = new Set(findings.map(({ peer }) => peer).filter((peer) => peer !== ''))
      const peers = view.peers()
      const seconds = (since: number): number => (clock.monotonicMs() - since) / 1000
      const { slot, ...counts } = slotReport(options.device, seen, peers, { ...keySince, age: seconds(keySince.at) })
      return {
        mode: 'observe',
        driver: driver.kind,
        domain: options.domain,
        node: options.node,
        target: 'active',
        nodeEncryption: false,
        mtu: seen?.mtu ?? 0,
        slots: [slot],
        peers: { expected: rest.length, ...counts, unproven: rest.filter(({ name }) => bad.has(name)).length },
        rotation: {
          phase: 'idle',
          slot: undefined,
          reason: undefined,
          seconds: seconds(keySince.at),
          dueSeconds: undefined,
          awaited: [],
          completed: 0,
          lastSeconds: undefined,
          queue: [],
        },
        directory: {
          complete: nodes !== undefined,
          ageSeconds: seconds(lookedAt),
          lost: undefined,
          published: false,
          refused: [],
        },
        dropped: [],
        warnings: nodes === undefined ? ['the list of nodes is not complete: peers are not compared yet'] : [],
        findings,
      }
    },
    peers: () => (seen === undefined ? [] : peerReports(seen, others() ?? [])),
    peer: (name) => view.peers().find((peer) => peer.name === name || peer.uid === name),
    keyEvents: () => [],
    counters: () => noCounters(failures),
    rotate() {
      throw new SekishoError('SEKISHO_HTTP_WG_OBSERVED', options.device)
    },
    async start() {
      stopped = false
      await look()
      again()
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      await running
    },
  }
  return view
}

import type { Cidr, Ip } from '../../core/ip.ts'
import type { Log } from '../../core/log.ts'
import type { Target } from '../activation.ts'
import type { NodeDirectory } from '../directory/directory.ts'
import type { MachineConfig } from '../machine-types.ts'
import type { WgDriver } from '../ports.ts'
import type { WgView } from '../report.ts'
import type { Guard, KeyEvent, Prober, Routing, SlotCounter } from '../seams.ts'

/** Addresses of this node that others must know of. */
export interface SelfAddresses {
  /** Of the underlay: where the outer packets go to; at least one. */
  readonly endpoints: readonly Ip[]
  /** Pod CIDRs of this node. */
  readonly prefixes: readonly Cidr[]
  readonly nodeIPs: readonly Ip[]
}

/** Times of the engine, ms. */
export interface EngineTuning {
  /** A dump of both devices and a look at routes and guard, in quiet times; at most every twentieth part of the time. */
  readonly pollMs: number
  /** The same while a tunnel is not proven or a rotation goes on. */
  readonly busyPollMs: number
  readonly tickMs: number
  /** While a repair waits for its next step. */
  readonly repairTickMs: number
  /** How long the start waits for the directory to tell everything. */
  readonly startWaitMs: number
  /** What an earlier run left and no record claims stays this long after the directory is complete. */
  readonly graceMs: number
  /** The same where the directory has lost our record too, and so perhaps those of others. */
  readonly emptiedGraceMs: number
  /** Questions through a tunnel with traffic, or not proven; of others; and of full size. */
  readonly probeMs: number
  readonly idleProbeMs: number
  readonly fullProbeMs: number
  /** A slot that most peers cannot be reached through is made again after it was so for `brokenAfterMs`, once in `repairGapMs`. */
  readonly brokenAfterMs: number
  readonly repairGapMs: number
  /** Ready at the latest after this, with however few peers. */
  readonly readyAfterMs: number
  /** A call that failed is made again after this; doubled up to eight times while it fails. */
  readonly retryMs: number
  /** A write to the directory that is not answered for this long is given up. */
  readonly publishTimeoutMs: number
}

export const DEFAULT_TUNING: EngineTuning = {
  pollMs: 1_800,
  busyPollMs: 1_000,
  tickMs: 1_000,
  repairTickMs: 100,
  startWaitMs: 5_000,
  graceMs: 15_000,
  emptiedGraceMs: 10 * 60_000,
  probeMs: 1_000,
  idleProbeMs: 10_000,
  fullProbeMs: 60_000,
  brokenAfterMs: 10_000,
  repairGapMs: 300_000,
  readyAfterMs: 30_000,
  retryMs: 250,
  publishTimeoutMs: 15_000,
}

export interface EngineOptions extends SelfAddresses {
  readonly node: string
  readonly uid: string
  readonly bootId: string
  readonly domain: string
  readonly devices: readonly [string, string]
  readonly ports: readonly [number, number]
  readonly fwmark: number
  /** Seconds. */
  readonly keepalive: number
  /** What others may claim lies in one of these; empty: anything. */
  readonly accept?: readonly Cidr[]
  /** Traffic of the nodes themselves goes through the tunnels too. */
  readonly encryptNodes: boolean
  readonly target: Target
  readonly machine: MachineConfig
  /** A peer without a session for this long is not waited for any more. */
  readonly excuseAfterMs: number
  readonly tuning?: Partial<EngineTuning>
}

export interface EngineClock {
  monotonicMs(): number
  wallMs(): number
  /** Calls once after `ms`; the returned function takes it back. */
  setTimer(act: () => void, ms: number): () => void
}

export interface EngineParts {
  readonly driver: WgDriver
  readonly directory: NodeDirectory
  readonly routing: Routing
  readonly guard: Guard
  readonly prober: Prober
  readonly counter: SlotCounter
  readonly clock: EngineClock
  readonly log: Log
  readonly keyLog: (event: KeyEvent) => void
}

export interface Engine extends WgView {
  /**
   * Devices, routes and guard are made or adopted; resolves when the loop runs, with or without the directory.
   *
   * @throws SekishoError SEKISHO_WG_UNSUPPORTED, SEKISHO_WG_DEVICE, or what a part threw five times in a row
   */
  start(): Promise<void>
  /** What is in the kernel stays and goes on. */
  stop(): Promise<void>
  /** Pods may be started: 95 % of the peers are proven, or `readyAfterMs` is over. Stays true. */
  ready(): boolean
  setTarget(target: Target): void
  /** Addresses of this node changed: the record is written again. */
  changed(self: SelfAddresses): void
}

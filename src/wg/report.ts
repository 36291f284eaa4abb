/** What the engine tells operators: plain values, made on demand, for status, API and metrics. */
import type { Mode, Target } from './activation.ts'
import type { Call, CallTime } from './call-times.ts'
import type { Refusal } from './directory/read-record.ts'
import type { SlotState } from './pair.ts'
import type { GuardCount, KeyEvent, RouteRepair } from './seams.ts'
import type { DrainReason, Slot } from './slots.ts'

export interface WgReport {
  readonly mode: 'manage' | 'observe'
  readonly driver: 'kernel' | 'userspace'
  readonly domain: string
  readonly node: string
  /** Our addresses of the underlay, as published. */
  readonly endpoints?: readonly string[]
  readonly target: Target
  readonly nodeEncryption: boolean
  readonly mtu: number
  readonly slots: readonly WgSlotReport[]
  readonly peers: WgPeerCounts
  readonly rotation: WgRotationReport
  readonly directory: WgDirectoryReport
  /** Clear text that the guard dropped. */
  readonly dropped: readonly GuardCount[]
  readonly warnings: readonly string[]
  /** Interfaces of pods with an MTU above that of the tunnels. */
  readonly largePodInterfaces?: number
}

export interface WgSlotReport {
  readonly slot: Slot
  readonly device: string
  /** Undefined while the device is missing. */
  readonly publicKey: string | undefined
  readonly port: number
  readonly generation: number
  readonly keyAgeSeconds: number
  readonly mtu: number
  /** Peers as the device has them, and those proven by handshake and probe. */
  readonly programmed: number
  readonly proven: number
  readonly recreations: number
  /** The same, by why. */
  readonly recreatedFor: Recreations
}

/** Why a device was made again: it was gone; or it was there, and broken. */
export const RECREATION_REASONS = ['missing', 'broken'] as const
export type Recreations = Readonly<Record<(typeof RECREATION_REASONS)[number], number>>

export interface WgPeerCounts {
  /** In the directory, without ourselves. */
  readonly expected: number
  readonly active: number
  readonly strict: number
  /** With no proven slot. */
  readonly unproven: number
}

export interface WgRotationReport {
  readonly phase: 'idle' | 'waiting' | 'draining' | 'rekeying' | 'settling'
  readonly slot: Slot | undefined
  readonly reason: DrainReason | undefined
  /** Seconds in this phase. */
  readonly seconds: number
  /** When idle: seconds until the next one. */
  readonly dueSeconds: number | undefined
  /** Who is waited for: how many, and up to ten names, by why. */
  readonly awaited: readonly { readonly why: AwaitedWhy; readonly count: number; readonly names: readonly string[] }[]
  /** Counts rotations that ended since the agent started. */
  readonly completed: number
  readonly lastSeconds: number | undefined
  readonly queue: readonly { readonly slot: Slot; readonly reason: DrainReason }[]
}

export const AWAITED = [
  'unproven',
  'contended',
  'on-slot',
  'unheard',
  'unsettled',
  'not-quiet',
  'not-published',
] as const
export type AwaitedWhy = (typeof AWAITED)[number]

export interface WgDirectoryReport {
  readonly complete: boolean
  /** Since the directory was last read whole; where that is not known, since its last word. */
  readonly ageSeconds: number
  readonly lost: string | undefined
  readonly published: boolean
  /** Records refused now: name, reason, detail. */
  readonly refused: readonly { readonly name: string; readonly reason: Refusal; readonly detail: string }[]
}

export interface WgPeerReport {
  readonly uid: string
  readonly name: string
  readonly endpoints: readonly string[]
  readonly prefixes: readonly string[]
  readonly egress: Slot
  readonly mode: Mode
  readonly excused: boolean
  readonly tunnels: readonly WgTunnelReport[]
  /** Since its record last changed, or was first read. */
  readonly recordAgeSeconds?: number
  /** What the peer last said inside the tunnel. */
  readonly announced: { readonly egress: Slot; readonly mode: Mode; readonly ageSeconds: number } | undefined
}

export interface WgTunnelReport {
  readonly slot: Slot
  readonly state: SlotState
  readonly publicKey: string | undefined
  /** As the device has it: the address that packets last came from, or the one that was set. */
  readonly endpoint: string | undefined
  readonly allowedIps: readonly string[]
  /** Undefined before the first. */
  readonly handshakeAgeSeconds: number | undefined
  readonly rxBytes: number
  readonly txBytes: number
  readonly probesLost: number
  /** Of the last answered probe. */
  readonly rttMs: number | undefined
}

/** Counters since the start of the agent. */
export interface WgCounters {
  readonly repairs: Readonly<Record<RouteRepair | 'peer' | 'device' | 'key' | 'guard', number>>
  readonly failovers: number
  /** Records that gave a peer other addresses than it had. */
  readonly peerMoves: number
  readonly refused: Readonly<Record<Refusal, number>>
  readonly probes: { readonly answered: number; readonly lost: number }
  readonly dumpsInterrupted: number
  readonly directoryWrites: number
  readonly errors: number
  /** How long calls of the kernel took. */
  readonly calls?: Readonly<Record<Call, Readonly<CallTime>>>
}

/** What the engine offers to the rest of the agent. */
export interface WgView {
  report(): WgReport
  peers(): readonly WgPeerReport[]
  /** By node name or UID. */
  peer(name: string): WgPeerReport | undefined
  keyEvents(): readonly KeyEvent[]
  counters(): WgCounters
  /** Starts a rotation of the slot whose turn it is; with `compromised`, of both, without waiting long. */
  rotate(compromised: boolean): void
}

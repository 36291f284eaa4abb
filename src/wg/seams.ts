/**
 * What the engine of the room asks of its other parts: routes, the guard against clear text, probes, counters. Each is made
 * by itself, for one network namespace, and driven by the engine alone, one call at a time. Errors are SekishoError.
 */
import type { Cidr, Ip } from '../core/ip.ts'
import type { Mode } from './activation.ts'
import type { Announcement } from './pair.ts'
import type { Slot } from './slots.ts'

/** What the routing table must say of one peer. */
export interface PeerRoutes {
  readonly uid: string
  /** Pod CIDRs, and node addresses as /32 and /128 when traffic of nodes is encrypted. */
  readonly prefixes: readonly Cidr[]
  readonly egress: Slot
  /** Below `active` nothing of the peer is in the table, so the packets go as if we were not there. */
  readonly mode: Mode
}

/** What an earlier run left in the table, by prefix in canonical text: all of them were sealed (`active` or `strict`). */
export interface FoundRoutes {
  readonly egress: ReadonlyMap<string, Slot>
}

/** Repaired by `check`; a closed set, counted. */
export const ROUTE_REPAIRS = ['nexthop', 'route', 'unreachable', 'rule', 'address', 'rp_filter', 'mtu', 'link'] as const
export type RouteRepair = (typeof ROUTE_REPAIRS)[number]

export interface Routing {
  /** Makes or adopts tables and rules; call when both slot devices stand. Nothing of another owner is touched. */
  start(): Promise<FoundRoutes>
  /**
   * Makes the table say this of the peer. A change of egress alone is one atomic message a family, and no packet of the
   * peer is without a route at any time: neither when it goes into the tunnel nor when it goes back. Once this resolves, each
   * prefix of a peer that sends through the tunnel is shut should its route be lost. Peers that are changed without waiting in
   * between are changed together: so a prefix moves from one to another without going in clear text between the two.
   */
  setPeer(routes: PeerRoutes): Promise<void>
  removePeer(uid: string): Promise<void>
  /**
   * The list of peers is complete: what an earlier run left and no peer claimed by `setPeer` is taken out, and goes in clear
   * text again. Until then it stays as it was found.
   */
  prune(): Promise<void>
  /** The slot's device was made again, or was down: its address, sysctls, rules, nexthops and routes are put back. */
  slotReplaced(slot: Slot): Promise<void>
  /** Compares all with the kernel, mends what differs, and tells what it mended. */
  check(): Promise<readonly RouteRepair[]>
  /** Calls back (debounced, at most 20 times a second) when link, address, route, rule or nexthop of ours may have changed. */
  watch(changed: () => void): void
  /** Sentences for the operator: settings of the host that break the seal (`rp_filter=1` on `all`, `src_valid_mark=1` ...). */
  warnings(): readonly string[]
  /** Interfaces of pods with an MTU above that of the tunnels; looked at once a minute. */
  largePodInterfaces?(): number
  /** MTU that the slot devices must have. */
  readonly mtu: number
  /** Stops watching; what is in the kernel stays. */
  stop(): Promise<void>
  /** Takes everything of ours out of the kernel. */
  cleanup(): Promise<void>
}

export const GUARD_DIRECTIONS = ['ingress', 'egress'] as const
export type GuardDirection = (typeof GUARD_DIRECTIONS)[number]

export interface GuardCount {
  readonly direction: GuardDirection
  readonly family: 4 | 6
  readonly packets: number
}

/** Drops clear text to or from protected prefixes on the devices of the underlay. Goes on when the agent is gone. */
export interface Guard {
  /** Attaches, or adopts what is attached; gives the prefixes that an earlier run protected, as canonical text. */
  start(): Promise<ReadonlySet<string>>
  /** From now on clear text to and from the prefix is dropped; with false, passes. */
  protect(prefix: Cidr, on: boolean): Promise<void>
  /** Attaches again where an interface of the underlay is new; tells how many it mended. */
  check(): Promise<number>
  counts(): readonly GuardCount[]
  stop(): Promise<void>
  cleanup(): Promise<void>
}

/** An answer that was asked for by this agent, through this slot, or the loss of one. */
export type ProbeResult =
  | {
      readonly uid: string
      readonly slot: Slot
      readonly answered: true
      readonly rttMs: number
      readonly announcement: Announcement
    }
  | { readonly uid: string; readonly slot: Slot; readonly answered: false }

export interface ProbeTarget {
  readonly uid: string
  /** Where the peer's echo socket is: its probe address, inside its allowed IPs. */
  readonly addresses: readonly Ip[]
}

/**
 * Asks peers through a slot's device and answers theirs. Only an answer that echoes our own unguessable number counts, and
 * only its announcement is believed: any pod of a peer can send to the echo socket.
 */
export interface Prober {
  /** `announce` gives what to say to the peer that asks through the slot; undefined: it is unknown, or not answered now. */
  start(handlers: {
    readonly result: (result: ProbeResult) => void
    readonly announce: (uid: string, slot: Slot) => Announcement | undefined
  }): Promise<void>
  /** The device of the slot is new: its sockets are opened again. */
  slotReplaced(slot: Slot): Promise<void>
  /** All peers that may ask and be asked. Replaces the list. */
  setTargets(targets: readonly ProbeTarget[]): void
  /** One question; an answer later than a second counts as lost. `fullSize`: as large as the MTU allows, not to be split. */
  ask(uid: string, slot: Slot, fullSize?: boolean): void
  stop(): Promise<void>
}

/** Inner packets that a slot received, without probes: tells when a drained slot is quiet. */
export interface SlotCounter {
  slotReplaced(slot: Slot): Promise<void>
  packets(slot: Slot): number
  stop(): Promise<void>
}

/** A line of the key log. Public keys only appear as fingerprints. */
export interface KeyEvent {
  /** RFC 3339 with milliseconds. */
  readonly time: string
  /** `adopted`: an earlier run of the agent made it, and told so. */
  readonly event: 'created' | 'adopted' | 'published' | 'proven' | 'retired'
  readonly slot: Slot
  /** `SHA256:` and base64 of the SHA-256 of the 32 octets, without padding. */
  readonly fingerprint: string
}

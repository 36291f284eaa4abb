import type { Log } from '../core/log.ts'
import type { DropEvent } from '../bpf/layouts.ts'
import type { DropCounter, MapName, MapSizes, ReasonCounter } from '../bpf/maps.ts'
import type { Ip } from '../core/ip.ts'
import type { Startable } from '../core/lifecycle.ts'
import type { BpfCalls, Fd, NetlinkCalls, WatchCalls } from '../native/binding.ts'

/** The part of the native door the datapath uses. */
export type DatapathNative = BpfCalls & NetlinkCalls & WatchCalls & { close(fd: Fd): void }

export interface DatapathDeps {
  readonly native: DatapathNative
  readonly log: Log
  /** The compiled programs, `build/datapath.o`. */
  readonly object: string
}

/** The `datapath` section of the configuration. */
export interface DatapathConfig {
  readonly bpffs: string
  readonly directory: string
  readonly routeTable: number
  readonly rulePriority: number
  readonly eventsPerSecond: number
  readonly maps: MapSizes
  readonly conntrack: {
    readonly tcpSeconds: number
    readonly otherSeconds: number
    readonly synSeconds: number
    readonly closeSeconds: number
  }
}

/** An endpoint as the datapath wants it. */
export interface DatapathEndpoint {
  readonly id: number
  /** For messages. */
  readonly name: string
  /** Host side of the endpoint's interface; it need not be there yet. */
  readonly interface: string
  readonly addresses: readonly Ip[]
  /** False: connections are remembered and nothing is dropped. */
  readonly enforced: boolean
  /** Written to the lxc map for readers of it; the programs do not use it. */
  readonly identity?: number
}

export interface DatapathCounters {
  /** By reason and direction; reason 0 is what was let through. */
  readonly reasons: readonly ReasonCounter[]
  readonly drops: readonly DropCounter[]
  /** Drops that were counted and not reported as events. */
  readonly suppressedEvents: number
}

export interface EndpointState {
  readonly id: number
  /** Index of the interface, undefined while it is missing. */
  readonly ifindex: number | undefined
  /** Both programs are on the interface. */
  readonly attached: boolean
  readonly enforced: boolean
}

/**
 * The kernel side. Everything it makes outlives it and goes on enforcing; a later `start` takes over what it finds.
 */
export interface Datapath extends Startable {
  /**
   * Makes or adopts maps, loads the programs, sets the routing of the redirect. Throws SekishoError with a
   * SEKISHO_DATAPATH_ code and a hint.
   */
  start(): Promise<void>
  /**
   * The whole list of endpoints. An interface that is missing is waited for. Endpoints that are not in the list are
   * let go: their programs come off. Rejects when a program cannot be attached, after having done the rest. A new
   * attachment takes the kernel some 20 ms; other work gets its turn between two.
   */
  applyEndpoints(endpoints: readonly DatapathEndpoint[]): Promise<void>
  /** Descriptors of the maps, after `start`; the datapath's own to close. */
  readonly maps: Readonly<Record<MapName, Fd>>
  /** Ids that the pinned maps of an earlier run bore at the start. */
  readonly adoptedIds: ReadonlySet<number>
  counters(): DatapathCounters
  states(): readonly EndpointState[]
  /** Drops since the last call, oldest first, at most a ring buffer full. Never waits. */
  events(): readonly DropEvent[]
  /** Calls `act` when there are drops to take with `events`, at most four times a second. Returns what ends it; `stop` does too. */
  whenEvents(act: () => void): () => void
  /** Stops watching and closes descriptors; programs, maps and routing stay. */
  stop(): Promise<void>
}

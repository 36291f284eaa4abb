import type { Mode, Target } from './activation.ts'
import type { NodeRecord } from './directory/record.ts'
import type { Announcement, Pair } from './pair.ts'
import type { PeerTable } from './peer-table.ts'
import type { Drain, DrainReason, Slot } from './slots.ts'

/** One of our two devices. */
export interface OwnSlot {
  readonly publicKey: string
  readonly generation: number
  /** When the key was made, wall clock ms. */
  readonly since: number
  /** As `since`, monotonic ms: what the schedule goes by. */
  readonly bornAt: number
  /** When the directory had taken it, monotonic ms; undefined: not yet. */
  readonly toldAt: number | undefined
}

export interface MachineConfig {
  /** How long a key lives, ms. Each slot is rotated once in this time, half of it apart. */
  readonly keyLifeMs: number
  /** A rotation that waits no longer waits for peers once the key is this old, ms. */
  readonly maxKeyAgeMs: number
  /** How long the drained slot must be quiet before its key changes, ms. */
  readonly quietMs: number
  /** A rotation after a compromise waits no longer than this for peers, ms. */
  readonly compromiseCapMs: number
  /** A repair of a device that is gone waits no longer than this for our own egress to move, ms. */
  readonly repairCapMs: number
  /** How long a rotation waits for peers to prove the new key before it calls itself done, ms. */
  readonly settleMs: number
  /** A step that was asked for and not answered is asked for again after this, ms. */
  readonly retryMs: number
  /** A tunnel that is not proven is kicked again after this, ms. */
  readonly kickMs: number
}

export const DEFAULT_MACHINE: MachineConfig = {
  keyLifeMs: 24 * 3_600_000,
  maxKeyAgeMs: 7 * 24 * 3_600_000,
  quietMs: 5_000,
  compromiseCapMs: 60_000,
  repairCapMs: 3_000,
  settleMs: 60_000,
  retryMs: 5_000,
  kickMs: 10_000,
}

export interface Job {
  readonly slot: Slot
  readonly reason: DrainReason
  /** A repair of a device that is gone: there is nothing to drain. */
  readonly gone?: boolean
}

/** Where the rotation stands. Nothing of it is kept on disk: own record and kernel tell it again. */
export type Rotation =
  /** `dueAt`: monotonic ms. */
  | { readonly phase: 'idle'; readonly dueAt: number }
  /** Peers that exist have not proven the other slot. */
  | (Job & { readonly phase: 'waiting'; readonly since: number })
  /** The drain is published; `quiet`: packets counted on the slot and since when that number stands. */
  | (Job & {
      readonly phase: 'draining'
      readonly since: number
      readonly quiet: { readonly packets: number; readonly at: number } | undefined
    })
  | (Job & { readonly phase: 'rekeying'; readonly since: number; readonly askedAt: number })
  | (Job & { readonly phase: 'settling'; readonly since: number })

export interface WgState {
  readonly uid: string
  readonly config: MachineConfig
  readonly slots: readonly [OwnSlot, OwnSlot]
  readonly drain: Drain | null
  /** Counts changes of what we publish. */
  readonly revision: number
  /** The last revision that the directory took. */
  readonly acknowledged: number
  readonly publishedAt: number
  readonly rotation: Rotation
  readonly queue: readonly Job[]
  readonly peers: PeerTable<Pair>
  readonly target: Target
  readonly leavingSince: number
}

/** A peer as found in the kernel: whose allowed IPs are the node's prefixes. */
export interface KernelFacts {
  readonly egress: Slot
  readonly mode: Mode
  /** Per slot: key, and stamp of its last handshake (wall clock ms, 0 for none). */
  readonly tunnels: readonly [KernelTunnel | undefined, KernelTunnel | undefined]
  readonly wallMs: number
}

export interface KernelTunnel {
  readonly key: string
  readonly stamp: number
}

/** `now`, monotonic ms, comes beside each event; `wallMs` where a stamp of the kernel or of a record is concerned. */
export type WgEvent =
  /** `kernel`: what an earlier run left of this peer, told with the first record after a start. */
  | { readonly kind: 'peer'; readonly record: NodeRecord; readonly kernel?: KernelFacts }
  | { readonly kind: 'gone'; readonly uid: string }
  | { readonly kind: 'excused'; readonly uid: string; readonly excused: boolean }
  /** A dump of a device: for the key of each peer the stamp of its last handshake, wall clock ms, 0 for none. */
  | {
      readonly kind: 'dump'
      readonly slot: Slot
      readonly stamps: { get(key: string): number | undefined }
      readonly wallMs: number
    }
  /** The same of one peer, where one handshake was noticed. */
  | {
      readonly kind: 'handshake'
      readonly uid: string
      readonly slot: Slot
      readonly stamp: number
      readonly wallMs: number
    }
  | { readonly kind: 'probe'; readonly uid: string; readonly slot: Slot; readonly answered: boolean }
  | { readonly kind: 'announced'; readonly uid: string; readonly announcement: Announcement }
  /** The key of our slot is new; `wallMs`: the clock after the change. */
  | { readonly kind: 'keyMade'; readonly slot: Slot; readonly publicKey: string; readonly wallMs: number }
  | { readonly kind: 'published'; readonly revision: number }
  /** Inner packets received on a slot so far, without probes. */
  | { readonly kind: 'traffic'; readonly slot: Slot; readonly packets: number }
  | { readonly kind: 'rotate'; readonly reason: 'Rotate' | 'Compromise'; readonly wallMs: number }
  /** The device of a slot is gone, or stands and receives nothing although its handshakes work. */
  | { readonly kind: 'broken'; readonly slot: Slot; readonly gone: boolean; readonly wallMs: number }
  | { readonly kind: 'target'; readonly target: Target }
  /** Our record must be written again: our addresses changed, or it was removed. */
  | { readonly kind: 'republish' }
  /** What the directory says of us, read only after the start or written by somebody else; newer than what we know of. */
  | { readonly kind: 'own'; readonly record: NodeRecord; readonly wallMs: number }
  | { readonly kind: 'tick'; readonly wallMs: number }

/** In the order they must be done. */
export type WgEffect =
  /** Write our record with these slots and this drain. */
  | {
      readonly kind: 'publish'
      readonly revision: number
      readonly slots: readonly [OwnSlot, OwnSlot]
      readonly drain: Drain | null
    }
  | { readonly kind: 'newKey'; readonly slot: Slot }
  /** Delete and make the device again, with a new key. */
  | { readonly kind: 'recreate'; readonly slot: Slot }
  /** Set the device down and up: sessions of the old key end now. */
  | { readonly kind: 'cutSessions'; readonly slot: Slot }
  /** Send to this peer through this slot. */
  | { readonly kind: 'egress'; readonly uid: string; readonly slot: Slot }
  /** Put the peer into the slot's device, and only then take out the key it replaces, in one message. */
  | {
      readonly kind: 'install'
      readonly uid: string
      readonly slot: Slot
      readonly key: string
      readonly replaces: string | undefined
    }
  | { readonly kind: 'uninstall'; readonly uid: string; readonly slot: Slot; readonly key: string }
  /** Make a handshake start. */
  | { readonly kind: 'kick'; readonly uid: string; readonly slot: Slot }
  | { readonly kind: 'mode'; readonly uid: string; readonly mode: Mode }
  /** A line of the key log; when a key is published and proven the engine sees. Public keys only. */
  | {
      readonly kind: 'keyEvent'
      readonly event: 'created' | 'adopted' | 'retired'
      readonly slot: Slot
      readonly publicKey: string
    }

export interface Step {
  readonly state: WgState
  readonly effects: readonly WgEffect[]
}

/** The interface between the pure part of the room and its drivers, and what the room wants of others. */
import type { Cidr, Ip } from '../core/ip.ts'

export interface WgEndpoint {
  readonly ip: Ip
  readonly port: number
}

/** A peer as the device has it. */
export interface WgPeer {
  /** Canonical base64, 44 characters. */
  readonly publicKey: string
  readonly endpoint: WgEndpoint | undefined
  readonly allowedIps: readonly Cidr[]
  /** Seconds, 0 is off. */
  readonly keepalive: number
  /** CLOCK_REALTIME nanoseconds of the last completed handshake; 0n for none. */
  readonly lastHandshakeNs: bigint
  /** Octets, with handshakes and keepalives. */
  readonly rxBytes: number
  readonly txBytes: number
}

/** A device as the kernel, or the userspace process, has it. */
export interface WgDevice {
  readonly name: string
  /** Undefined while the device has no key. */
  readonly publicKey: string | undefined
  /** 0 while the port was never chosen. */
  readonly listenPort: number
  readonly fwmark: number
  readonly peers: readonly WgPeer[]
}

/** What a device must have; its key is not among it. */
export interface WgDeviceOptions {
  readonly listenPort: number
  /** Mark of the outer packets, 0 for none. */
  readonly fwmark: number
  readonly mtu: number
}

/** Adds a peer, or changes the one with this key. What is undefined stays as it is. */
export interface WgPeerSet {
  readonly publicKey: string
  readonly endpoint?: WgEndpoint
  /** Seconds. A change from 0 makes the device try a handshake at once. */
  readonly keepalive?: number
  /** Moved here when another peer of the device has them. */
  readonly addAllowedIps?: readonly Cidr[]
  /** Only what this peer has is taken. */
  readonly removeAllowedIps?: readonly Cidr[]
  /** Do nothing when there is no such peer. */
  readonly updateOnly?: boolean
}

/** Applied in this order: nothing is removed before everything that is added stands. */
export interface WgPeerBatch {
  readonly set?: readonly WgPeerSet[]
  /** Keys of peers to remove; absent ones are no error. */
  readonly remove?: readonly string[]
}

export interface WgFeatures {
  /** Single allowed IPs can be taken from a peer (else they go by way of a peer that is removed at once). */
  readonly removeAllowedIp: boolean
}

/**
 * WireGuard devices of one network namespace. Calls on one device are done in the order they were made. Not atomic: after
 * an error read the device and compare. Errors are SekishoError or of the native door.
 */
export interface WgDriver {
  readonly kind: 'kernel' | 'userspace'
  /** Asks once, on a device of its own where it needs one. */
  features(): Promise<WgFeatures>
  /**
   * Makes the device, or adopts one of the right kind that stands: port, mark and MTU are set, a key is made only when it
   * has none, and it is set up. `created` tells whether it is new.
   *
   * @throws SekishoError SEKISHO_WG_UNSUPPORTED, SEKISHO_WG_DEVICE (the name is taken by something else)
   */
  create(name: string, options: WgDeviceOptions): Promise<{ readonly created: boolean; readonly publicKey: string }>
  /** False when there was none. */
  delete(name: string): Promise<boolean>
  /** Undefined when there is no such device. Private and preshared keys never come along. */
  read(name: string): Promise<WgDevice | undefined>
  /** Changes port or mark of a device that runs. */
  configure(name: string, options: Partial<Pick<WgDeviceOptions, 'listenPort' | 'fwmark'>>): Promise<void>
  setPeers(name: string, batch: WgPeerBatch): Promise<void>
  /** Ends all sessions of the device at once, as when it is set down and up; key and peers stay. */
  restart(name: string): Promise<void>
  /** Makes a new private key outside of JavaScript, sets it, reads the public key back. Peers stay. */
  rotateKey(name: string): Promise<string>
  close(): Promise<void>
}

import { formatCidr } from '../../core/ip.ts'
import type { NodeRecord } from '../directory/record.ts'
import type { KernelFacts, KernelTunnel } from '../machine-types.ts'
import type { WgDevice, WgPeer } from '../ports.ts'
import { SLOTS, type Slot } from '../slots.ts'
import { peersByKey, stampOf } from './by-key.ts'
import type { PeerAddresses } from './wanted.ts'

/** Found in the kernel at the start. */
export interface Leftovers {
  /** Slot that a prefix was routed through. */
  readonly routed: ReadonlyMap<string, Slot>
  readonly guarded: ReadonlySet<string>
}

/** At a start each of thousands of peers is looked for in the same two dumps. A device gives each prefix to one peer. */
const indexes = new WeakMap<WgDevice, ReadonlyMap<string, WgPeer>>()

function peersByPrefix(dump: WgDevice): ReadonlyMap<string, WgPeer> {
  let index = indexes.get(dump)
  if (index === undefined) {
    index = new Map(dump.peers.flatMap((peer) => peer.allowedIps.map((cidr) => [formatCidr(cidr), peer] as const)))
    indexes.set(dump, index)
  }
  return index
}

/**
 * What an earlier run left of a peer: the entry with its key, else the one that has its prefixes, which is the peer before it
 * changed its key. Undefined when there is nothing. `claimed`: the key is somebody's, so not an older one of this peer.
 */
export function kernelFacts(
  peer: PeerAddresses,
  dumps: readonly [WgDevice | undefined, WgDevice | undefined],
  { routed, guarded }: Leftovers,
  claimed: (key: string) => boolean,
  wallMs: number,
): KernelFacts | undefined {
  const prefixes = peer.prefixes.map(formatCidr)
  const tunnel = (slot: Slot): KernelTunnel | undefined => {
    const dump = dumps[slot]
    if (dump === undefined) return undefined
    const byPrefix = peersByPrefix(dump)
    const known = peersByKey(dump).get(peer.record.slots[slot]?.publicKey ?? '')
    const others = prefixes.flatMap((text) => byPrefix.get(text) ?? [])
    const found = known ?? others.find(({ publicKey }) => !claimed(publicKey))
    return found === undefined ? undefined : { key: found.publicKey, stamp: stampOf(found) }
  }
  const tunnels = [tunnel(0), tunnel(1)] as const
  const egress = prefixes.map((text) => routed.get(text)).find((slot) => slot !== undefined)
  if (egress === undefined && SLOTS.every((slot) => tunnels[slot] === undefined)) return undefined
  const strict = prefixes.some((text) => guarded.has(text))
  return {
    egress: egress ?? 0,
    mode: egress === undefined ? 'off' : strict ? 'strict' : 'active',
    tunnels,
    wallMs,
  }
}

/** A device has had a session under a key of the record, and one of the prefixes is that peer's there. */
export const sessionProven = (
  dumps: readonly [WgDevice | undefined, WgDevice | undefined],
  record: NodeRecord,
  prefixes: readonly string[],
): boolean =>
  SLOTS.some((slot) => {
    const key = record.slots[slot]?.publicKey
    const peer = dumps[slot]?.peers.find(({ publicKey }) => publicKey === key)
    if (peer === undefined || peer.lastHandshakeNs === 0n) return false
    return peer.allowedIps.some((cidr) => prefixes.includes(formatCidr(cidr)))
  })

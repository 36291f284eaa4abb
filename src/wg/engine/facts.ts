import { formatCidr } from '../../core/ip.ts'
import type { KernelFacts, KernelTunnel } from '../machine-types.ts'
import type { WgDevice, WgPeer } from '../ports.ts'
import { SLOTS, type Slot } from '../slots.ts'
import type { PeerAddresses } from './wanted.ts'

export const stampOf = (peer: WgPeer): number => Number(peer.lastHandshakeNs / 1_000_000n)

/** Found in the kernel at the start. */
export interface Leftovers {
  /** Slot that a prefix was routed through. */
  readonly routed: ReadonlyMap<string, Slot>
  readonly guarded: ReadonlySet<string>
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
    const peers = dumps[slot]?.peers ?? []
    const key = peer.record.slots[slot]?.publicKey
    const own = (one: WgPeer): boolean =>
      !claimed(one.publicKey) && one.allowedIps.some((cidr) => prefixes.includes(formatCidr(cidr)))
    const found = peers.find(({ publicKey }) => publicKey === key) ?? peers.find(own)
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

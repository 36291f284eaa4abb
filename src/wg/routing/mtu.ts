/**
 * Octets around an inner packet: IP (20, IPv6 40), UDP 8, WireGuard's header and tag 32. WireGuard pads the inner packet to
 * a multiple of 16, but not beyond the MTU: an MTU that is one keeps the padding inside of the reckoning (cilium#45940).
 */
const OVERHEAD = { 4: 60, 6: 80 } as const
const STEP = 16
/** Below it Linux takes IPv6 from an interface (RFC 8200 section 5). */
export const LEAST_IPV6_MTU = 1280
/** When nothing is known of the underlay: Ethernet. */
const UNKNOWN_UNDERLAY = 1500
const LARGEST = 65_520

export interface Underlay {
  /** The smallest of the devices that carry the outer packets; undefined when there is none yet. */
  readonly mtu: number | undefined
  /** Outer packets may be IPv6. */
  readonly ipv6: boolean
}

/**
 * MTU of the slots' devices. Routes carry no MTU of their own (RTAX_MTU): the device's holds for what is forwarded and what
 * the node sends, changes in one place, and pods learn it from the node, one hop away ("packet too big"), which no firewall
 * on the way can eat. What should be spared that one packet: pods made with this MTU from the start.
 */
export function slotMtu({ mtu, ipv6 }: Underlay, setting: number): number {
  if (setting !== 0) return setting
  const inner = (mtu ?? UNKNOWN_UNDERLAY) - OVERHEAD[ipv6 || mtu === undefined ? 6 : 4]
  return Math.min(LARGEST, Math.max(0, Math.floor(inner / STEP) * STEP))
}

/**
 * Why the programs drop a packet: the closed list of native/bpf/drop.h. Numbers below 200 are Cilium's for the same
 * thing, so that its tools name them too.
 */
export const DROP_REASONS = {
  invalid_source: { number: 132, text: 'the source address is not one of the endpoint on this interface' },
  policy: { number: 133, text: 'no policy allows the destination' },
  invalid_packet: { number: 134, text: 'a header is truncated, contradicts itself or routes by source' },
  conntrack_full: { number: 155, text: 'the connection could not be written to the conntrack map' },
  extension_header: { number: 156, text: 'an IPv6 extension header that is not understood, or too many of them' },
  fragment: { number: 157, text: 'a fragment whose first fragment was not seen, or of a packet that is redirected' },
  no_policy_map: { number: 165, text: 'the endpoint is enforced and has no policy map' },
  unsupported_l2: { number: 166, text: 'neither IPv4, IPv6 nor ARP' },
  no_proxy: { number: 178, text: 'the agent does not listen, or does not know the connection' },
  proxy_assign: { number: 179, text: 'the kernel did not take the socket of the agent for the packet' },
  proxy_protocol: { number: 180, text: 'a redirect of something that is neither UDP nor TCP' },
  policy_deny: { number: 181, text: 'a deny rule covers the destination' },
  vlan: { number: 182, text: 'the frame bears a VLAN tag' },
  /** A number of a newer program. */
  other: { number: 0, text: 'a reason this version does not know' },
} as const

export type DropReason = keyof typeof DROP_REASONS

export const DROP_REASON_NAMES = Object.keys(DROP_REASONS) as readonly DropReason[]

const byNumber = new Map(DROP_REASON_NAMES.map((name) => [DROP_REASONS[name].number as number, name]))

export const dropReason = (number: number): DropReason => (number === 0 ? 'other' : (byNumber.get(number) ?? 'other'))

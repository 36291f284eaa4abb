import type { WgPeerReport, WgReport } from './report.ts'
import type { Slot } from './slots.ts'

/** Address and port that our packets of a slot go to; the device's word first, because it follows a peer that moves. */
export function target(
  report: WgReport,
  peer: WgPeerReport,
  slot: Slot,
): { readonly ip: string; readonly port: number } {
  const endpoint = peer.tunnels.find((tunnel) => tunnel.slot === slot)?.endpoint
  const at = endpoint?.lastIndexOf(':') ?? -1
  const port = endpoint === undefined ? NaN : Number(endpoint.slice(at + 1))
  const ip = endpoint?.slice(0, at).replace(/^\[|\]$/g, '')
  return {
    ip: ip ?? peer.endpoints[0] ?? peer.name,
    port: Number.isInteger(port) ? port : ownPort(report, slot),
  }
}

export const ownPort = (report: WgReport, slot: Slot): number =>
  report.slots.find((one) => one.slot === slot)?.port ?? 0

/** Our address of the family that the peer is reached by. */
export function ownAddress(report: WgReport, peerIp: string): string {
  const v6 = peerIp.includes(':')
  const fits = report.endpoints?.find((address) => address.includes(':') === v6)
  return fits ?? report.endpoints?.[0] ?? report.node
}

/** The rule that lets every slot through, both ways: packets go from port to port, and either end may begin. */
export function wholeRule(report: WgReport, peer: WgPeerReport): string {
  const slots = peer.tunnels.map(({ slot }) => slot)
  const far = slots.map((slot) => target(report, peer, slot))
  const ip = far[0]?.ip ?? peer.endpoints[0] ?? peer.name
  const there = range(far.map(({ port }) => port))
  const here = range(slots.map((slot) => ownPort(report, slot)))
  const own = ownAddress(report, ip)
  return here === there
    ? `allow UDP ${here} from ${own} to ${ip} and back`
    : `allow UDP from ${own} to ${ip} port ${there}, and from ${ip} to ${own} port ${here}`
}

function range(ports: readonly number[]): string {
  const sorted = [...new Set(ports)].sort((a, b) => a - b)
  const [first, last] = [sorted[0] ?? 0, sorted.at(-1) ?? 0]
  if (first === last) return String(first)
  return last - first === sorted.length - 1 ? `${first}-${last}` : sorted.join(',')
}

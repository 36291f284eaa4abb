import { equalIp, formatCidr, formatIp, type Cidr } from '../../core/ip.ts'
import type { WgDevice, WgEndpoint, WgPeer } from '../ports.ts'
import { peersByKey } from './by-key.ts'
import type { WantedPeer } from './wanted.ts'

/** What is wrong with one peer of a device. */
export interface PeerFix {
  readonly uid: string
  readonly missing: boolean
  /** The endpoint must be set. */
  readonly endpoint: boolean
  /** Allowed IPs to take away once the right ones stand. */
  readonly extra: readonly Cidr[]
}

export interface PeerDiff {
  readonly fixes: readonly PeerFix[]
  /** Keys of peers that nobody wants in the device. */
  readonly strangers: readonly string[]
}

export const endpointText = ({ ip, port }: WgEndpoint): string =>
  ip.family === 4 ? `${formatIp(ip)}:${port}` : `[${formatIp(ip)}]:${port}`

/** The device's own word: where the peer's packets came from last, when that is an address the peer has published. */
export const isPublished = (endpoint: WgEndpoint, wanted: WantedPeer): boolean =>
  wanted.endpoints.some(({ ip, port }) => port === endpoint.port && equalIp(ip, endpoint.ip))

/**
 * Compares a device with what it must have; pure. `roamed`: this endpoint, published by nobody, is left as it is.
 * Nothing is said of the peers in `skip`: their changes are on the way.
 */
export function diffPeers(
  wanted: Iterable<WantedPeer>,
  device: WgDevice,
  { roamed, skip }: { roamed: (peer: WantedPeer, endpoint: WgEndpoint) => boolean; skip: (uid: string) => boolean },
): PeerDiff {
  const found = peersByKey(device)
  const fixes: PeerFix[] = []
  const known = new Set<string>()
  for (const peer of wanted) {
    known.add(peer.publicKey)
    if (skip(peer.uid)) continue
    const fix = fixOf(peer, found.get(peer.publicKey), roamed)
    if (fix !== undefined) fixes.push(fix)
  }
  const strangers = device.peers.map(({ publicKey }) => publicKey).filter((key) => !known.has(key))
  return { fixes, strangers }
}

/** Most peers have a few prefixes and are right: told without making text of thousands of them. */
const FEW = 8

const sameList = (a: readonly Cidr[], b: readonly Cidr[]): boolean =>
  a.length === b.length &&
  a.length <= FEW &&
  a.every((one) => b.some((other) => one.bits === other.bits && equalIp(one.ip, other.ip)))

function fixOf(
  wanted: WantedPeer,
  found: WgPeer | undefined,
  roamed: (peer: WantedPeer, endpoint: WgEndpoint) => boolean,
): PeerFix | undefined {
  const { uid } = wanted
  if (found === undefined) return { uid, missing: true, endpoint: true, extra: [] }
  const listed = sameList(wanted.allowedIps, found.allowedIps)
  const right = listed ? undefined : new Set(wanted.allowedIps.map(formatCidr))
  const extra = right === undefined ? [] : found.allowedIps.filter((cidr) => !right.has(formatCidr(cidr)))
  const lacks = right !== undefined && found.allowedIps.length - extra.length < right.size
  const endpoint =
    found.endpoint === undefined || !(isPublished(found.endpoint, wanted) || roamed(wanted, found.endpoint))
  const same = !lacks && extra.length === 0 && !endpoint && found.keepalive === wanted.keepalive
  return same ? undefined : { uid, missing: false, endpoint, extra }
}

import { equalIp, formatCidr, formatIp, type Cidr } from '../../core/ip.ts'
import type { WgDevice, WgEndpoint, WgPeer } from '../ports.ts'
import { Finder, peersByKey } from './by-key.ts'
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

/** A peer that was right, and what was looked at to say so: the same objects are right again. */
interface Right {
  readonly wanted: WantedPeer
  readonly endpoint: WgEndpoint | undefined
  readonly allowedIps: readonly Cidr[]
}

/** What one look at a device leaves to the next: devices of thousands are compared every two seconds, and nearly all stays. */
export class DiffMemory {
  readonly finder = new Finder()
  readonly right: (Right | undefined)[] = []
}

/**
 * Compares a device with what it must have. `roamed`: this endpoint, published by nobody, is left as it is. Nothing is said of
 * the peers in `skip`: their changes are on the way. What is said depends on nothing that is in `memory`.
 */
export function diffPeers(
  wanted: Iterable<WantedPeer>,
  device: WgDevice,
  { roamed, skip }: { roamed: (peer: WantedPeer, endpoint: WgEndpoint) => boolean; skip: (uid: string) => boolean },
  { finder, right }: DiffMemory = new DiffMemory(),
): PeerDiff {
  const fixes: PeerFix[] = []
  const known = new Uint8Array(device.peers.length)
  finder.begin(peersByKey(device))
  let turn = -1
  for (const peer of wanted) {
    turn++
    const place = finder.placeOf(peer.publicKey)
    if (place !== undefined) known[place] = 1
    if (skip(peer.uid)) continue
    const found = place === undefined ? undefined : device.peers[place]
    const before = right[turn]
    const { endpoint, allowedIps, keepalive } = found ?? MISSING
    const same = before?.wanted === peer && before.endpoint === endpoint && before.allowedIps === allowedIps
    if (same && keepalive === peer.keepalive) continue
    const fix = fixOf(peer, found, roamed)
    if (fix !== undefined) fixes.push(fix)
    // Whether one has roamed is another question each time.
    const lasts = fix === undefined && endpoint !== undefined && isPublished(endpoint, peer)
    right[turn] = lasts ? { wanted: peer, endpoint, allowedIps } : undefined
  }
  const strangers = device.peers.filter((_, place) => known[place] === 0).map(({ publicKey }) => publicKey)
  return { fixes, strangers }
}

const MISSING = { endpoint: undefined, allowedIps: [], keepalive: -1 } as const

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

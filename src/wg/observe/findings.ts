import { cidrContains, cidrCovers, equalIp, formatCidr, formatIp, maxBits, type Cidr } from '../../core/ip.ts'
import type { WgDevice, WgPeer } from '../ports.ts'
import type { ExpectedNode } from './expected-node.ts'
import { matchPeers, type Match } from './match.ts'

export type { ExpectedNode } from './expected-node.ts'

/** What can be wrong with another manager's device; a closed set, counted. */
export const FINDING_CODES = [
  'no-device',
  'no-key',
  'unreadable',
  'listen-port',
  'mtu',
  'key-unpublished',
  'peer-missing',
  'key-differs',
  'unknown-peer',
  'endpoint-differs',
  'endpoint-shared',
  'never-handshaken',
  'handshake-stale',
  'allowed-ips-missing',
  'allowed-ips-extra',
] as const
export type FindingCode = (typeof FINDING_CODES)[number]

export interface Finding {
  readonly code: FindingCode
  /** Name of the node, or empty where it is about the device. */
  readonly peer: string
  readonly text: string
}

export interface Seen {
  readonly device: WgDevice
  /** Undefined where it cannot be read. */
  readonly mtu: number | undefined
  /** Keys of peers that we sent to since the last look. */
  readonly sending: ReadonlySet<string>
  readonly wallMs: number
}

export interface Odd {
  /** Where the manager's nodes listen. */
  readonly listenPort: number
  /** Undefined where it is unknown. */
  readonly underlayMtu: number | undefined
}

/** A session in use is renewed before it is this old, s: REJECT_AFTER_TIME of the protocol. */
export const STALE_SECONDS = 180
/** IP and UDP of IPv4, and WireGuard's header and tag. */
const LEAST_OVERHEAD = 60
const LEAST_MTU = 1280

export const handshakeAge = (peer: WgPeer, wallMs: number): number | undefined =>
  peer.lastHandshakeNs === 0n ? undefined : Math.max(0, (wallMs - Number(peer.lastHandshakeNs / 1_000_000n)) / 1000)

/** Compares the device with the nodes. `nodes`: the others; undefined while their list is not complete. Pure. */
export function findingsOf(seen: Seen, nodes: readonly ExpectedNode[] | undefined, odd: Odd): Finding[] {
  const { device } = seen
  const found = [...ofDevice(seen, odd)]
  if (nodes === undefined) return found
  const matches = matchPeers(device.peers, nodes)
  for (const match of matches.nodes) found.push(...ofNode(match, seen, nodes))
  for (const peer of matches.unknown) {
    const where = peer.endpoint === undefined ? 'no endpoint' : formatIp(peer.endpoint.ip)
    found.push({ code: 'unknown-peer', peer: '', text: `no node has published the key ${peer.publicKey} (${where})` })
  }
  return [...found, ...sharedEndpoints(device.peers, matches.nodes)]
}

function* ofDevice({ device, mtu }: Seen, { listenPort, underlayMtu }: Odd): Iterable<Finding> {
  const about = (code: FindingCode, text: string): Finding => ({ code, peer: '', text: `${device.name} ${text}` })
  if (device.publicKey === undefined) yield about('no-key', 'has no key')
  if (device.listenPort !== listenPort) {
    yield about('listen-port', `listens on UDP ${device.listenPort}, and peers send to ${listenPort}`)
  }
  if (mtu === undefined) return
  if (mtu < LEAST_MTU) yield about('mtu', `has an MTU of ${mtu}: IPv6 needs ${LEAST_MTU}`)
  if (underlayMtu !== undefined && mtu > underlayMtu - LEAST_OVERHEAD) {
    yield about('mtu', `has an MTU of ${mtu}, which does not fit into the ${underlayMtu} of the underlay`)
  }
}

function* ofNode({ node, peer, byKey }: Match, seen: Seen, nodes: readonly ExpectedNode[]): Iterable<Finding> {
  const about = (code: FindingCode, text: string): Finding => ({ code, peer: node.name, text: `${node.name}: ${text}` })
  if (node.publicKey === undefined) yield about('key-unpublished', 'it has published no key')
  if (peer === undefined) {
    if (node.publicKey !== undefined) yield about('peer-missing', `${seen.device.name} has no peer with its key`)
    return
  }
  if (!byKey && node.publicKey !== undefined) {
    yield about('key-differs', `the device has the key ${peer.publicKey}, and it has published ${node.publicKey}`)
  }
  const { endpoint } = peer
  if (endpoint === undefined || !node.endpoints.some((ip) => equalIp(ip, endpoint.ip))) {
    const where = endpoint === undefined ? 'no endpoint' : formatIp(endpoint.ip)
    yield about(
      'endpoint-differs',
      `the device has ${where}, and it publishes ${node.endpoints.map(formatIp).join(', ')}`,
    )
  }
  yield* ofHandshake(peer, seen, about)
  yield* ofAllowedIps(node, peer, nodes, about)
}

type About = (code: FindingCode, text: string) => Finding

/** A pair that nobody sends in has no session, and needs none. */
function* ofHandshake(peer: WgPeer, { sending, wallMs }: Seen, about: About): Iterable<Finding> {
  const age = handshakeAge(peer, wallMs)
  if (age === undefined && (peer.txBytes > 0 || peer.keepalive > 0)) {
    const heard = peer.rxBytes > 0 ? `${peer.rxBytes} octets arrived: our answers do not reach it` : 'nothing arrived'
    yield about('never-handshaken', `never a handshake; ${peer.txBytes} octets were sent, ${heard}`)
  }
  if (age !== undefined && age > STALE_SECONDS && sending.has(peer.publicKey)) {
    yield about(
      'handshake-stale',
      `the last handshake is ${Math.round(age)} s ago, and packets are sent: they are lost`,
    )
  }
}

/** Managers that list single pods have no prefix as such: one address in it is enough. */
function* ofAllowedIps(
  node: ExpectedNode,
  peer: WgPeer,
  nodes: readonly ExpectedNode[],
  about: About,
): Iterable<Finding> {
  const missing = node.prefixes.filter(
    (prefix) => !peer.allowedIps.some((allowed) => cidrCovers(allowed, prefix) || cidrCovers(prefix, allowed)),
  )
  if (missing.length > 0)
    yield about('allowed-ips-missing', `nothing of ${list(missing.map(formatCidr))} is in its allowed IPs`)
  const extra = peer.allowedIps.filter((allowed) => !belongs(node, allowed))
  if (extra.length === 0) return
  const owners = nodes.filter((other) => other !== node && extra.some((allowed) => overlaps(other, allowed)))
  const whose = owners.length === 0 ? 'of no node' : `of ${list(owners.map(({ name }) => name))}`
  yield about('allowed-ips-extra', `its allowed IPs hold ${list(extra.map(formatCidr))}, ${whose}`)
}

const belongs = ({ prefixes, endpoints }: ExpectedNode, allowed: Cidr): boolean =>
  prefixes.some((prefix) => cidrCovers(prefix, allowed)) ||
  endpoints.some((ip) => allowed.bits === maxBits(ip.family) && cidrContains(allowed, ip))

/** It takes traffic of the node. */
const overlaps = ({ prefixes, endpoints }: ExpectedNode, allowed: Cidr): boolean =>
  prefixes.some((prefix) => cidrCovers(prefix, allowed) || cidrCovers(allowed, prefix)) ||
  endpoints.some((ip) => cidrContains(allowed, ip))

const MOST = 5
const list = (texts: readonly string[]): string =>
  texts.slice(0, MOST).join(', ') + (texts.length > MOST ? ` and ${texts.length - MOST} more` : '')

function* sharedEndpoints(peers: readonly WgPeer[], matches: readonly Match[]): Iterable<Finding> {
  const at = Map.groupBy(
    peers.filter(({ endpoint }) => endpoint !== undefined),
    ({ endpoint }) => (endpoint === undefined ? '' : `${formatIp(endpoint.ip)} port ${endpoint.port}`),
  )
  const nameOf = (key: string): string => matches.find(({ peer }) => peer?.publicKey === key)?.node.name ?? key
  for (const [endpoint, those] of at) {
    if (those.length < 2) continue
    const names = those.map(({ publicKey }) => nameOf(publicKey))
    const peer = matches.find(({ peer: one }) => one !== undefined && those.includes(one))?.node.name ?? ''
    yield { code: 'endpoint-shared', peer, text: `${endpoint} is the endpoint of ${names.join(' and ')}` }
  }
}

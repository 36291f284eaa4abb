import { formatCidr, formatIp, maskIp, maxBits, tryParseCidr, tryParseIp, type Cidr, type Ip } from '../../core/ip.ts'
import { sendsThroughTunnel } from '../activation.ts'
import { accepts } from '../directory/read-record.ts'
import type { NodeRecord } from '../directory/record.ts'
import type { Pair } from '../pair.ts'
import type { WgEndpoint } from '../ports.ts'
import type { PeerRoutes } from '../seams.ts'
import type { Slot } from '../slots.ts'

/** What a device must have of one peer. */
export interface WantedPeer {
  readonly uid: string
  readonly publicKey: string
  /** The best first; never empty. */
  readonly endpoints: readonly WgEndpoint[]
  readonly allowedIps: readonly Cidr[]
  /** Seconds. */
  readonly keepalive: number
}

/** A record with its texts read once: records were checked when they came in. */
export interface PeerAddresses {
  readonly record: NodeRecord
  readonly endpoints: readonly Ip[]
  readonly prefixes: readonly Cidr[]
  readonly nodeIPs: readonly Cidr[]
}

const present = <T>(values: readonly (T | undefined)[]): T[] => values.filter((value) => value !== undefined)

const hostOf = (ip: Ip): Cidr => ({ ip, bits: maxBits(ip.family) })

function unique(cidrs: readonly Cidr[]): Cidr[] {
  return [...new Map(cidrs.map((cidr) => [formatCidr(cidr), cidr])).values()]
}

export function addressesOf(record: NodeRecord): PeerAddresses {
  return {
    record,
    endpoints: present(record.endpoints.map(({ ip }) => tryParseIp(ip))),
    prefixes: unique(present(record.prefixes.map((text) => tryParseCidr(text)))),
    nodeIPs: unique(present(record.nodeIPs.map((text) => tryParseIp(text))).map(hostOf)),
  }
}

/** The same addresses, whatever else of the record changed. */
export const sameAddresses = (a: NodeRecord, b: NodeRecord): boolean =>
  JSON.stringify([a.endpoints, a.prefixes, a.nodeIPs, a.slots.map(({ port }) => port)]) ===
  JSON.stringify([b.endpoints, b.prefixes, b.nodeIPs, b.slots.map(({ port }) => port)])

/** Undefined when the peer has no tunnel in this slot. `families`: those of our own underlay. */
export function wantedPeer(
  peer: PeerAddresses,
  pair: Pair,
  slot: Slot,
  with_: { readonly families: ReadonlySet<4 | 6>; readonly keepalive: number; readonly nodeIPs: readonly Cidr[] },
): WantedPeer | undefined {
  const publicKey = pair.tunnels[slot].key
  const port = peer.record.slots[slot]?.port
  if (publicKey === undefined || port === undefined) return undefined
  const reachable = peer.endpoints.filter(({ family }) => with_.families.has(family))
  const endpoints = (reachable.length === 0 ? peer.endpoints : reachable).map((ip) => ({ ip, port }))
  return {
    uid: pair.uid,
    publicKey,
    endpoints,
    allowedIps: unique([...peer.prefixes, ...with_.nodeIPs]),
    keepalive: with_.keepalive,
  }
}

/** Node addresses are routed only from `active` on; the devices accept them from the start, as the peer may be ahead of us. */
export function wantedRoutes(peer: PeerAddresses, pair: Pair, nodeIPs: readonly Cidr[]): PeerRoutes {
  const prefixes = sendsThroughTunnel(pair.mode) ? unique([...peer.prefixes, ...nodeIPs]) : peer.prefixes
  return { uid: pair.uid, prefixes, egress: pair.egress, mode: pair.mode }
}

/**
 * Where a node's echo socket is: the first host of its first prefix of each family, and without prefixes its own addresses.
 * Both ends work it out from the record.
 */
export function probeAddresses(prefixes: readonly Cidr[], nodeIPs: readonly Ip[]): Ip[] {
  const firsts = ([4, 6] as const).map((family) => prefixes.find(({ ip }) => ip.family === family))
  const found = present(firsts).map(firstHost)
  return found.length > 0 ? found : nodeIPs.slice(0, 2)
}

function firstHost({ ip, bits }: Cidr): Ip {
  const bytes = Uint8Array.from(maskIp(ip, bits).bytes)
  const last = bytes.length - 1
  if (bits < maxBits(ip.family)) bytes[last] = (bytes[last] ?? 0) | 1
  return { family: ip.family, bytes }
}

/**
 * Which peer has which node address: the one that has it in a device with a session, else the node that published first, as a
 * device gives an address to one peer only, and two claims would push each other out at every look. Addresses of our own, and such as lie in the prefix of another, are nobody's:
 * they would draw traffic of others to the claimant.
 */
export function nodeAddressOwners(
  peers: Iterable<PeerAddresses>,
  own: {
    readonly addresses: readonly Ip[]
    readonly prefixes: readonly Cidr[]
    readonly accept?: readonly Cidr[]
    readonly proven?: (record: NodeRecord, prefixes: readonly string[]) => boolean
  },
): ReadonlyMap<string, string> {
  const all = [...peers]
  const holders = new Map<string, string>(own.prefixes.map((cidr) => [formatCidr(cidr), '']))
  for (const { record, prefixes } of all) for (const cidr of prefixes) holders.set(formatCidr(cidr), record.nodeUID)
  const lengths = new Set([...holders.keys()].map((text) => Number(text.split('/')[1])))
  const mine = new Set(own.addresses.map(formatIp))
  const foreign = (uid: string, { ip }: Cidr): boolean =>
    mine.has(formatIp(ip)) ||
    [...lengths].some((bits) => {
      if (bits > maxBits(ip.family)) return false
      const holder = holders.get(formatCidr({ ip: maskIp(ip, bits), bits }))
      return holder !== undefined && holder !== uid
    })
  const owners = new Map<string, NodeRecord>()
  for (const { record, nodeIPs } of all) {
    for (const cidr of nodeIPs) {
      if (foreign(record.nodeUID, cidr) || !accepts(own.accept, cidr)) continue
      const text = formatCidr(cidr)
      const held = owners.get(text)
      if (held === undefined || comesBefore(record, held, (one) => own.proven?.(one, [text]) === true)) {
        owners.set(text, record)
      }
    }
  }
  return new Map([...owners].map(([text, record]) => [text, record.nodeUID]))
}

function comesBefore(one: NodeRecord, other: NodeRecord, proven: (record: NodeRecord) => boolean): boolean {
  const [mine, its] = [proven(one), proven(other)]
  if (mine !== its) return mine
  return one.created !== other.created ? one.created < other.created : one.nodeUID < other.nodeUID
}

import { type Cidr, formatCidr, formatIp, tryParseCidr, tryParseIp } from '../../core/ip.ts'
import { encodeKey } from '../keys.ts'
import type { WgDevice, WgEndpoint, WgPeer, WgPeerBatch, WgPeerSet } from '../ports.ts'
import { keyBytes, NOBODY } from './key-bytes.ts'

/** The text protocol of userspace WireGuard: lines `key=value`, an empty line ends a message; keys in lower-case hex. */
const hexKey = (publicKey: string): string => Buffer.from(keyBytes(publicKey)).toString('hex')

function parseHexKey(text: string): string | undefined {
  return /^[0-9a-f]{64}$/.test(text) ? encodeKey(Buffer.from(text, 'hex')) : undefined
}

const formatEndpoint = ({ ip, port }: WgEndpoint): string =>
  ip.family === 4 ? `${formatIp(ip)}:${port}` : `[${formatIp(ip)}]:${port}`

function parseEndpoint(text: string): WgEndpoint | undefined {
  const found = /^(?:\[([^\]%]+)(?:%[^\]]*)?\]|([^:]+)):(\d+)$/.exec(text)
  const ip = tryParseIp(found?.[1] ?? found?.[2] ?? '')
  return ip && { ip, port: Number(found?.[3]) }
}

/** Lines that add or change a peer, but take nothing from it. */
export const peerLines = (peer: WgPeerSet): string[] => [
  `public_key=${hexKey(peer.publicKey)}`,
  ...(peer.updateOnly === true ? ['update_only=true'] : []),
  ...(peer.endpoint === undefined ? [] : [`endpoint=${formatEndpoint(peer.endpoint)}`]),
  ...(peer.keepalive === undefined ? [] : [`persistent_keepalive_interval=${peer.keepalive}`]),
  ...(peer.addAllowedIps ?? []).map((cidr) => `allowed_ip=${formatCidr(cidr)}`),
]

/** Lines that take allowed IPs from a peer, where the program can. */
export const allowedIpRemovalLines = (peer: WgPeerSet): string[] =>
  (peer.removeAllowedIps ?? []).length === 0
    ? []
    : [
        `public_key=${hexKey(peer.publicKey)}`,
        'update_only=true',
        ...(peer.removeAllowedIps ?? []).map((cidr) => `allowed_ip=-${formatCidr(cidr)}`),
      ]

export const removalLines = (publicKey: string): string[] => [`public_key=${hexKey(publicKey)}`, 'remove=true']

/** Takes these allowed IPs from whoever has them, by way of a peer that is removed at once. */
export const detourLines = (gone: readonly Cidr[]): string[] =>
  gone.length === 0 ? [] : [...peerLines({ publicKey: NOBODY, addAllowedIps: gone }), ...removalLines(NOBODY)]

/** Additions, then removals. */
export const batchLines = (batch: WgPeerBatch, removeAllowedIps: boolean): string[] => [
  ...(batch.set ?? []).flatMap(peerLines),
  ...(removeAllowedIps ? (batch.set ?? []).flatMap(allowedIpRemovalLines) : []),
  ...(batch.remove ?? []).flatMap(removalLines),
]

export const request = (operation: 'get' | 'set', lines: readonly string[]): Uint8Array =>
  new TextEncoder().encode([`${operation}=1`, ...lines, '', ''].join('\n'))

export interface Reply {
  /** Positive, 0 for success. */
  readonly errno: number
  readonly lines: readonly (readonly [key: string, value: string])[]
}

/** Undefined when there is no `errno=` or a line is no pair. */
export function parseReply(bytes: Uint8Array): Reply | undefined {
  const lines: (readonly [string, string])[] = []
  let errno: number | undefined
  for (const line of new TextDecoder().decode(bytes).split('\n')) {
    if (line === '') continue
    const equals = line.indexOf('=')
    if (equals < 1) return undefined
    const pair = [line.slice(0, equals), line.slice(equals + 1)] as const
    if (pair[0] !== 'errno') lines.push(pair)
    else if (/^-?\d{1,6}$/.test(pair[1])) errno = Math.abs(Number(pair[1]))
    else return undefined
  }
  return errno === undefined ? undefined : { errno, lines }
}

type Draft = { -readonly [K in keyof WgPeer]: WgPeer[K] } & { allowedIps: Cidr[] }

function number(text: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN
  if (!Number.isSafeInteger(value)) throw new RangeError(text)
  return value
}

function setPeerField(peer: Draft, key: string, value: string): void {
  if (key === 'endpoint') peer.endpoint = parseEndpoint(value)
  if (key === 'persistent_keepalive_interval') peer.keepalive = number(value)
  if (key === 'rx_bytes') peer.rxBytes = number(value)
  if (key === 'tx_bytes') peer.txBytes = number(value)
  if (key === 'last_handshake_time_sec') peer.lastHandshakeNs += BigInt(number(value)) * 1_000_000_000n
  if (key === 'last_handshake_time_nsec') peer.lastHandshakeNs += BigInt(number(value))
  if (key !== 'allowed_ip') return
  const cidr = tryParseCidr(value)
  if (cidr === undefined) throw new RangeError(value)
  peer.allowedIps.push(cidr)
}

/** Keys this version does not know are passed over. Throws RangeError with a value that cannot be read. */
export function parseDevice(name: string, lines: Reply['lines']): WgDevice {
  const peers: Draft[] = []
  const head = { publicKey: undefined as string | undefined, listenPort: 0, fwmark: 0 }
  for (const [key, value] of lines) {
    const peer = peers.at(-1)
    if (key === 'public_key') {
      const publicKey = parseHexKey(value)
      if (publicKey === undefined) throw new RangeError(key)
      peers.push({
        publicKey,
        endpoint: undefined,
        allowedIps: [],
        keepalive: 0,
        lastHandshakeNs: 0n,
        rxBytes: 0,
        txBytes: 0,
      })
    } else if (peer !== undefined) setPeerField(peer, key, value)
    else if (key === 'public_self') head.publicKey = parseHexKey(value)
    else if (key === 'listen_port') head.listenPort = number(value)
    else if (key === 'fwmark') head.fwmark = number(value)
  }
  return { name, ...head, peers }
}

import { formatCidr, formatIp } from '../../core/ip.ts'
import type { SlotState } from '../pair.ts'
import type { WgEndpoint, WgPeer } from '../ports.ts'
import type { WgPeerReport, WgSlotReport } from '../report.ts'
import { HANDSHAKE_STALE_MS } from '../slots.ts'
import { handshakeAge, STALE_SECONDS, type ExpectedNode, type Seen } from './findings.ts'
import { matchPeers } from './match.ts'

/** Peers of the device as the nodes they are; those of no node under their key. */
export function peerReports(seen: Seen, nodes: readonly ExpectedNode[]): WgPeerReport[] {
  const { nodes: matches, unknown } = matchPeers(seen.device.peers, nodes)
  return [
    ...matches.map(({ node, peer }) =>
      peerReport(seen, node.name, peer, node.endpoints.map(formatIp), node.prefixes.map(formatCidr)),
    ),
    ...unknown.map((peer) => peerReport(seen, peer.publicKey, peer, [], [])),
  ]
}

function peerReport(
  seen: Seen,
  name: string,
  peer: WgPeer | undefined,
  endpoints: readonly string[],
  prefixes: readonly string[],
): WgPeerReport {
  return {
    uid: peer?.publicKey ?? name,
    name,
    endpoints,
    prefixes,
    egress: 0,
    mode: peer === undefined ? 'off' : 'active',
    excused: false,
    tunnels: [
      {
        slot: 0,
        state: stateOf(seen, peer),
        publicKey: peer?.publicKey,
        endpoint: peer?.endpoint === undefined ? undefined : formatEndpoint(peer.endpoint),
        allowedIps: (peer?.allowedIps ?? []).map(formatCidr),
        handshakeAgeSeconds: peer === undefined ? undefined : handshakeAge(peer, seen.wallMs),
        rxBytes: peer?.rxBytes ?? 0,
        txBytes: peer?.txBytes ?? 0,
        probesLost: 0,
        rttMs: undefined,
      },
    ],
    announced: undefined,
  }
}

/** There are no probes: a young handshake is all the proof, and an old one is bad only where packets are sent. */
function stateOf({ sending, wallMs }: Seen, peer: WgPeer | undefined): SlotState {
  if (peer === undefined) return 'absent'
  const age = handshakeAge(peer, wallMs)
  if (age === undefined) return 'installed'
  if (age * 1000 <= HANDSHAKE_STALE_MS) return 'proven'
  return age > STALE_SECONDS && sending.has(peer.publicKey) ? 'dead' : 'suspect'
}

const formatEndpoint = ({ ip, port }: WgEndpoint): string =>
  ip.family === 6 ? `[${formatIp(ip)}]:${port}` : `${formatIp(ip)}:${port}`

/** The one device, and the counts of peers that go with it. */
export function slotReport(
  device: string,
  seen: Seen | undefined,
  peers: readonly WgPeerReport[],
  key: { readonly generation: number; readonly age: number },
): { readonly slot: WgSlotReport; readonly active: number; readonly strict: number } {
  const proven = peers.filter(({ tunnels }) => tunnels[0]?.state === 'proven').length
  return {
    slot: {
      slot: 0,
      device,
      publicKey: seen?.device.publicKey,
      port: seen?.device.listenPort ?? 0,
      generation: Math.max(0, key.generation),
      keyAgeSeconds: key.age,
      mtu: seen?.mtu ?? 0,
      programmed: seen?.device.peers.length ?? 0,
      proven,
      recreations: 0,
      recreatedFor: { missing: 0, broken: 0 },
    },
    active: peers.filter(({ mode }) => mode === 'active').length,
    strict: 0,
  }
}

import type { SealPeer } from './wg-ports.ts'

const STATES = ['dead', 'absent', 'installed', 'suspect', 'proven']

/** A session in use has a handshake younger than this, s; older says only that nothing was sent. */
const HANDSHAKE_YOUNG = 180

/**
 * Peers in the order an operator should look at them: first those whose egress does not work, the excused last among them;
 * then those whose other slot does not; then by lost probes, old handshakes and round trip.
 */
export const worstFirst = (peers: readonly SealPeer[]): SealPeer[] =>
  peers
    .map((peer) => ({ peer, score: scoreOf(peer) }))
    .sort((a, b) => compare(a.score, b.score) || (a.peer.name < b.peer.name ? -1 : 1))
    .map(({ peer }) => peer)

function scoreOf(peer: SealPeer): number[] {
  const rank = (slot: number): number => {
    const state = peer.tunnels.find((tunnel) => tunnel.slot === slot)?.state ?? 'absent'
    return STATES.indexOf(state)
  }
  const others = peer.tunnels.filter(({ slot }) => slot !== peer.egress).map(({ slot }) => rank(slot))
  const lost = Math.max(0, ...peer.tunnels.map(({ probesLost }) => probesLost))
  const age = Math.max(0, ...peer.tunnels.map(({ handshakeAgeSeconds }) => handshakeAgeSeconds ?? 0))
  const rtt = Math.max(0, ...peer.tunnels.map(({ rttMs }) => rttMs ?? 0))
  const egress = rank(peer.egress)
  return [
    egress === STATES.length - 1 ? 1 : 0,
    peer.excused ? 1 : 0,
    egress,
    Math.min(...others, STATES.length),
    -lost,
    -Math.max(0, age - HANDSHAKE_YOUNG),
    -rtt,
  ]
}

function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((value, i) => value !== b[i])
  return at < 0 ? 0 : (a[at] ?? 0) - (b[at] ?? 0)
}

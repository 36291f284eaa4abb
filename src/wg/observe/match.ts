import { formatIp } from '../../core/ip.ts'
import type { WgPeer } from '../ports.ts'
import type { ExpectedNode } from './expected-node.ts'

export interface Match {
  readonly node: ExpectedNode
  readonly peer: WgPeer | undefined
  /** False: the peer is at an address of the node, with another key. */
  readonly byKey: boolean
}

export interface Matches {
  readonly nodes: readonly Match[]
  /** Peers that are no node's. */
  readonly unknown: readonly WgPeer[]
}

/** Which peer is which node: by published key, else by the address of a peer whose key nobody published. */
export function matchPeers(peers: readonly WgPeer[], nodes: readonly ExpectedNode[]): Matches {
  const byKey = new Map(peers.map((peer) => [peer.publicKey, peer]))
  const published = new Set(nodes.flatMap(({ publicKey }) => publicKey ?? []))
  const left = new Map<string, WgPeer>()
  for (const peer of peers) {
    if (peer.endpoint !== undefined && !published.has(peer.publicKey)) left.set(formatIp(peer.endpoint.ip), peer)
  }
  const taken = new Set<WgPeer>()
  const matched = nodes.map((node): Match => {
    const known = node.publicKey === undefined ? undefined : byKey.get(node.publicKey)
    const here = node.endpoints.map((ip) => left.get(formatIp(ip))).find((one) => one !== undefined)
    const peer = known ?? here
    if (peer !== undefined) taken.add(peer)
    return { node, peer, byKey: known !== undefined }
  })
  return { nodes: matched, unknown: peers.filter((peer) => !taken.has(peer)) }
}

import { formatCidr } from '../core/ip.ts'
import { selectorText } from './labels.ts'
import type { Peer, PortRange } from './rules.ts'

/** Peers and ports in words, for people. */

export function describePeer(peer: Peer): string {
  switch (peer.kind) {
    case 'fqdn':
      return peer.pattern.text
    case 'entity':
      return peer.entity
    case 'cidr': {
      const except = peer.except.map(formatCidr).join(', ')
      return except === '' ? formatCidr(peer.cidr) : `${formatCidr(peer.cidr)} except ${except}`
    }
    case 'endpoints':
      return `endpoints {${selectorText(peer.selector)}}`
  }
}

export function describePorts(ports: readonly PortRange[]): string {
  if (ports.length === 0) return 'every port'
  return ports
    .map(({ protocol, port, endPort }) => {
      const range = port === 0 ? '*' : port === endPort ? String(port) : `${port}-${endPort}`
      return `${protocol}/${range}`
    })
    .join(' ')
}

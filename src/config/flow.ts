import { formatCidr, tryParseCidr, type Cidr } from '../core/ip.ts'

/** Where packets go: a prefix, and where given one port of one protocol. */
export interface Flow {
  readonly cidr: Cidr
  readonly protocol?: 'tcp' | 'udp'
  readonly port?: number
}

/** "192.0.2.1/32", "192.0.2.1/32 tcp/6443"; a bare address stands for itself alone. Undefined when the text is neither. */
export function parseFlow(text: string): Flow | undefined {
  const [, prefix = '', protocol, digits] = /^(\S+)(?: +(tcp|udp)\/([0-9]{1,5}))?$/.exec(text.trim()) ?? []
  const cidr = tryParseCidr(prefix)
  if (cidr === undefined) return undefined
  if (protocol === undefined) return { cidr }
  const port = Number(digits)
  return port >= 1 && port <= 65535 ? { cidr, protocol: protocol as 'tcp' | 'udp', port } : undefined
}

export const formatFlow = ({ cidr, protocol, port }: Flow): string =>
  protocol === undefined ? formatCidr(cidr) : `${formatCidr(cidr)} ${protocol}/${port}`

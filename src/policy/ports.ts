import type { PortRange, Protocol } from './rules.ts'

/** IANA protocol numbers; 0 is the policy map's wildcard. */
export const PROTOCOL_NUMBER: Readonly<Record<Protocol, number>> = { ANY: 0, TCP: 6, UDP: 17, SCTP: 132 }
const PORT_PROTOCOLS = [6, 17, 132] as const

/** `portBits` leading bits of `port` count: 16 is one port, 0 every port (then `port` is 0). */
export interface PortBlock {
  readonly protocol: number
  readonly port: number
  readonly portBits: number
}

/** The blocks, in the shape of the policy map's key, that make up the ranges; none given means everything. */
export function portBlocks(ranges: readonly PortRange[]): PortBlock[] {
  if (ranges.length === 0) return [{ protocol: 0, port: 0, portBits: 0 }]
  const blocks: PortBlock[] = []
  for (const range of ranges) {
    if (range.port === 0) {
      blocks.push({ protocol: PROTOCOL_NUMBER[range.protocol], port: 0, portBits: 0 })
      continue
    }
    // The key has no form for "any protocol, this port".
    const protocols = range.protocol === 'ANY' ? PORT_PROTOCOLS : [PROTOCOL_NUMBER[range.protocol]]
    for (const protocol of protocols) splitRange(protocol, range.port, range.endPort, blocks)
  }
  return blocks
}

function splitRange(protocol: number, first: number, last: number, out: PortBlock[]): void {
  for (let port = first; port <= last;) {
    let bits = 16
    while (bits > 0) {
      const size = 1 << (17 - bits)
      if (port % size !== 0 || port + size - 1 > last) break
      bits--
    }
    out.push({ protocol, port, portBits: bits })
    port += 1 << (16 - bits)
  }
}

/** True when the ranges hold this protocol and port. */
export function rangesCover(ranges: readonly PortRange[], protocol: number, port: number): boolean {
  if (ranges.length === 0) return true
  return ranges.some((range) => {
    const number = PROTOCOL_NUMBER[range.protocol]
    const protocolFits =
      number === protocol || (number === 0 && (range.port === 0 || PORT_PROTOCOLS.some((known) => known === protocol)))
    return protocolFits && (range.port === 0 || (range.port <= port && port <= range.endPort))
  })
}

import type { PortBlock } from './ports.ts'

export type RowVerdict = 'allow' | 'deny' | 'redirect'

/** One row of a policy map. */
export interface PolicyRow extends PortBlock {
  /** `staticRows`: the identity number; `rowsFor`: 0, it stands for the identity asked about. */
  readonly label: number
  readonly verdict: RowVerdict
}

/** Precedence in the map, ascending (allow 0xFFFFFF01, redirect 0xFFFFFF86, deny 0xFFFFFFFF). */
const STRENGTH: Readonly<Record<RowVerdict, number>> = { allow: 1, redirect: 2, deny: 3 }

/**
 * Gathers the rows of one label. The kernel takes the longest prefix within a label, whatever its verdict; so
 * rows that a broader deny covers are left out, and so are rows that change nothing.
 */
export class RowSet {
  readonly #rows = new Map<number, RowVerdict>()

  add(block: PortBlock, verdict: RowVerdict): void {
    const key = blockKey(block.protocol, block.port, block.portBits)
    const old = this.#rows.get(key)
    if (old === undefined || STRENGTH[old] < STRENGTH[verdict]) this.#rows.set(key, verdict)
  }

  get size(): number {
    return this.#rows.size
  }

  /** The rows that are needed, by protocol, port and length. */
  rows(label: number): PolicyRow[] {
    const kept: PolicyRow[] = []
    for (const [key, verdict] of [...this.#rows].sort(([a], [b]) => a - b)) {
      const { protocol, port, portBits } = keyBlock(key)
      const cover = this.#coverOf(protocol, port, portBits)
      if (cover.denied || cover.nearest === verdict) continue
      kept.push({ label, protocol, port, portBits, verdict })
    }
    return kept
  }

  /** Whether any broader row denies, and the verdict of the nearest broader row. */
  #coverOf(protocol: number, port: number, portBits: number): { denied: boolean; nearest: RowVerdict | undefined } {
    let nearest: RowVerdict | undefined
    const look = (key: number): boolean => {
      const verdict = this.#rows.get(key)
      nearest ??= verdict
      return verdict === 'deny'
    }
    for (let bits = portBits - 1; bits >= 0; bits--) {
      const mask = bits === 0 ? 0 : (0xffff << (16 - bits)) & 0xffff
      if (look(blockKey(protocol, port & mask, bits))) return { denied: true, nearest }
    }
    const denied = protocol !== 0 && look(blockKey(0, 0, 0))
    return { denied, nearest }
  }
}

const blockKey = (protocol: number, port: number, portBits: number): number =>
  (protocol * 0x10000 + port) * 0x20 + portBits

function keyBlock(key: number): PortBlock {
  const upper = Math.floor(key / 0x20)
  return { protocol: Math.floor(upper / 0x10000), port: upper % 0x10000, portBits: key % 0x20 }
}

import { type Cidr, formatCidr, maskIp, writeAddr16, type Ip } from '../core/ip.ts'
import type { LabelSets } from './label-sets.ts'

export const cidrLabel = (cidr: Cidr): string => `cidr:${formatCidr(cidr)}`

/** addr16 and length of a prefix as a map key: 16 octets and one more. */
export function prefixKey(addr16: Uint8Array, offset: number, bits: number): string {
  let key = String.fromCharCode(bits)
  for (let i = 0; i < 16; i++) key += String.fromCharCode(addr16[offset + i] as number)
  return key
}

/**
 * The policy's prefixes. `chainOf(address)` is the set of the labels of all prefixes that contain the address:
 * that of the longest one, worked out when the index is made. Costs one look-up for each length in use.
 */
export class PrefixIndex {
  readonly #chains = new Map<string, number>()
  /** Lengths in addr16 bits (IPv4 lengths + 96), longest first, by family. */
  readonly #lengths4: number[]
  readonly #lengths6: number[]
  readonly #sets: LabelSets
  readonly #masked = new Uint8Array(16)

  constructor(prefixes: readonly Cidr[], sets: LabelSets) {
    this.#sets = sets
    const lengths = (family: 4 | 6): number[] =>
      [...new Set(prefixes.filter((p) => p.ip.family === family).map((p) => p.bits + (family === 4 ? 96 : 0)))].sort(
        (a, b) => b - a,
      )
    this.#lengths4 = lengths(4)
    this.#lengths6 = lengths(6)
    const own = new Uint8Array(16)
    // Shorter first, so that the chain of what contains a prefix is there already.
    for (const prefix of [...prefixes].sort((a, b) => a.bits - b.bits)) {
      writeAddr16(prefix.ip, own, 0)
      const above = this.chainOf(own, 0)
      const label = sets.of([cidrLabel(prefix)])
      const bits = prefix.bits + (prefix.ip.family === 4 ? 96 : 0)
      this.#chains.set(prefixKey(own, 0, bits), sets.union(above, label))
      sets.release(label)
    }
  }

  /** The set stays the index's own; 0 when no prefix contains the address. */
  chainOf(addr16: Uint8Array, offset: number, maxBits = 128): number {
    for (const bits of isV4(addr16, offset) ? this.#lengths4 : this.#lengths6) {
      if (bits > maxBits) continue
      for (let i = 0; i < 16; i++) {
        const keep = Math.min(8, Math.max(0, bits - 8 * i))
        this.#masked[i] = (addr16[offset + i] as number) & (0xff00 >> keep) & 0xff
      }
      const chain = this.#chains.get(prefixKey(this.#masked, 0, bits))
      if (chain !== undefined) return chain
    }
    return 0
  }

  dispose(): void {
    for (const chain of this.#chains.values()) this.#sets.release(chain)
    this.#chains.clear()
  }
}

export function isV4(addr16: Uint8Array, offset: number): boolean {
  for (let i = 0; i < 10; i++) if (addr16[offset + i] !== 0) return false
  return addr16[offset + 10] === 0xff && addr16[offset + 11] === 0xff
}

/** The prefix of `bits` (addr16 bits) at an address, as the map wants it. */
export function cidrOf(addr16: Uint8Array, offset: number, bits: number): Cidr {
  const v4 = isV4(addr16, offset) && bits >= 96
  const ip: Ip = v4
    ? { family: 4, bytes: addr16.slice(offset + 12, offset + 16) }
    : { family: 6, bytes: addr16.slice(offset, offset + 16) }
  const own = v4 ? bits - 96 : bits
  return { ip: own === (v4 ? 32 : 128) ? ip : maskIp(ip, own), bits: own }
}

import { ADDR16_BYTES, isMapped, writeAddr16 } from '../../core/ip.ts'
import type { Cidr, Ip } from '../../core/ip.ts'
import { mix2, tableSlots } from './hash.ts'
import * as L from './layout.ts'
import type { Sections } from './layout.ts'

/** Word `i` of an addr16, network order, signed (see hash.ts). */
export const addressWord = (bytes: Uint8Array, offset: number, i: number): number => {
  const at = offset + 4 * i
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
}

const hash4 = (a: number, b: number, c: number, d: number): number => mix2(mix2(a, b), mix2(c, d))

export interface AddressEntry {
  readonly ip: Ip
  readonly owner: typeof L.OWNER_ENDPOINT | typeof L.OWNER_HOST
  readonly endpoint: number
}

export interface PrefixEntry {
  readonly cidr: Cidr
  readonly serverClass: number
}

const addressWords = (ip: Ip): number[] => {
  const bytes = new Uint8Array(ADDR16_BYTES)
  writeAddr16(ip, bytes, 0)
  return [0, 1, 2, 3].map((i) => addressWord(bytes, 0, i))
}

/** Length of a prefix of an addr16. */
const bits16 = (cidr: Cidr): number => cidr.bits + (cidr.ip.family === 4 ? 96 : 0)

export function buildAddresses(entries: readonly AddressEntry[]): Uint32Array {
  const slots = tableSlots(entries.length)
  const table = new Uint32Array(slots * L.ADDRESS_WORDS)
  for (const { ip, owner, endpoint } of entries) {
    const [a = 0, b = 0, c = 0, d = 0] = addressWords(ip)
    let slot = hash4(a, b, c, d) & (slots - 1)
    while (table[slot * L.ADDRESS_WORDS + 4] !== L.OWNER_FREE) slot = (slot + 1) & (slots - 1)
    table.set([a, b, c, d, owner, endpoint], slot * L.ADDRESS_WORDS)
  }
  return table
}

export function buildPrefixes(entries: readonly PrefixEntry[]): { prefixes: Uint32Array; prefixLengths: Uint32Array } {
  const slots = tableSlots(entries.length)
  const table = new Uint32Array(slots * L.PREFIX_WORDS)
  for (const { cidr, serverClass } of entries) {
    const [a = 0, b = 0, c = 0, d = 0] = addressWords(cidr.ip)
    const bits = bits16(cidr)
    let slot = mix2(hash4(a, b, c, d), bits) & (slots - 1)
    while (table[slot * L.PREFIX_WORDS + 4] !== 0) slot = (slot + 1) & (slots - 1)
    table.set([a, b, c, d, bits + 1, serverClass], slot * L.PREFIX_WORDS)
  }
  const lengths = [...new Set(entries.map(({ cidr }) => bits16(cidr)))].sort((a, b) => b - a)
  return { prefixes: table, prefixLengths: Uint32Array.from(lengths) }
}

const keep = (word: number, bits: number): number => (bits <= 0 ? 0 : bits >= 32 ? word : word & (-1 << (32 - bits)))

function sameAddress(table: Uint32Array, at: number, a: number, b: number, c: number, d: number): boolean {
  if ((table[at]! | 0) !== a || (table[at + 1]! | 0) !== b) return false
  return (table[at + 2]! | 0) === c && (table[at + 3]! | 0) === d
}

/** Who an address is: an endpoint, the host, or part of the world under its longest prefix. */
export class AddressTable {
  readonly #addresses: Uint32Array
  readonly #addressMask: number
  readonly #prefixes: Uint32Array
  readonly #prefixMask: number
  readonly #lengths: Uint32Array

  constructor(sections: Sections) {
    this.#addresses = sections.table('addresses', L.ADDRESS_WORDS, 4)
    this.#addressMask = this.#addresses.length / L.ADDRESS_WORDS - 1
    this.#prefixes = sections.table('prefixes', L.PREFIX_WORDS, 4)
    this.#prefixMask = this.#prefixes.length / L.PREFIX_WORDS - 1
    this.#lengths = sections.words('prefixLengths', 1)
  }

  /** Index of the endpoint with this address; -1 none, -2 the address is the host's. */
  owner(bytes: Uint8Array, offset: number): number {
    const a = addressWord(bytes, offset, 0)
    const b = addressWord(bytes, offset, 1)
    const c = addressWord(bytes, offset, 2)
    const d = addressWord(bytes, offset, 3)
    const table = this.#addresses
    for (let slot = hash4(a, b, c, d) & this.#addressMask; ; slot = (slot + 1) & this.#addressMask) {
      const at = slot * L.ADDRESS_WORDS
      const owner = table[at + 4]!
      if (owner === L.OWNER_FREE) return -1
      if (sameAddress(table, at, a, b, c, d)) {
        return owner === L.OWNER_HOST ? -2 : table[at + 5]!
      }
    }
  }

  /** Class of an address that is no endpoint's and not the host's. */
  worldClass(bytes: Uint8Array, offset: number): number {
    const v4 = isMapped(bytes, offset)
    const a = addressWord(bytes, offset, 0)
    const b = addressWord(bytes, offset, 1)
    const c = addressWord(bytes, offset, 2)
    const d = addressWord(bytes, offset, 3)
    for (let i = 0; i < this.#lengths.length; i++) {
      const bits = this.#lengths[i]!
      // An IPv6 prefix that is short enough to hold ::ffff:0:0/96 holds no IPv4 address.
      if (v4 && bits < 96) break
      const found = this.#prefixClass(keep(a, bits), keep(b, bits - 32), keep(c, bits - 64), keep(d, bits - 96), bits)
      if (found !== 0) return found
    }
    return v4 ? L.CLASS_WORLD4 : L.CLASS_WORLD6
  }

  #prefixClass(a: number, b: number, c: number, d: number, bits: number): number {
    const table = this.#prefixes
    for (let slot = mix2(hash4(a, b, c, d), bits) & this.#prefixMask; ; slot = (slot + 1) & this.#prefixMask) {
      const at = slot * L.PREFIX_WORDS
      const length = table[at + 4]!
      if (length === 0) return 0
      if (length === bits + 1 && sameAddress(table, at, a, b, c, d)) return table[at + 5]!
    }
  }
}

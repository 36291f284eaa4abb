/**
 * Hashes of the snapshot's open-addressing tables. Writer and reader must agree, so both import these. Results are
 * signed: an unsigned word above 2^31 is a heap object as soon as it crosses a call that is not inlined.
 */

/** FNV-1a (Fowler, Noll, Vo), 32 bits: offset basis and prime. */
export const FNV_BASIS = 0x811c9dc5 | 0
export const FNV_PRIME = 0x01000193

/** Spreads two words over 32 bits: the finisher of MurmurHash3 over their combination. */
export function mix2(a: number, b: number): number {
  let h = a ^ Math.imul(b, 0x9e3779b1)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}

export const mix3 = (a: number, b: number, c: number): number => mix2(mix2(a, b), c)

/** Slots of a table for `entries`: a power of two, at most half full, never full. */
export function tableSlots(entries: number): number {
  let slots = 4
  while (slots < entries * 2) slots *= 2
  return slots
}

export function fnv(bytes: Uint8Array, from: number, to: number): number {
  let h = FNV_BASIS
  for (let i = from; i < to; i++) h = Math.imul(h ^ (bytes[i] ?? 0), FNV_PRIME)
  return h
}

/** As `fnv`, from the last octet to the first. */
export function fnvBackward(bytes: Uint8Array, from: number, to: number): number {
  let h = FNV_BASIS
  for (let i = to - 1; i >= from; i--) h = Math.imul(h ^ (bytes[i] ?? 0), FNV_PRIME)
  return h
}

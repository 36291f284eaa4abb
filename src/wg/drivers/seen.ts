import type { AttributeReader } from '../../netlink/attributes.ts'
import type { WgPeer } from '../ports.ts'

/** Octets within a message that stays in memory; `at` and `length` in words of four. */
export interface Span {
  readonly words: Int32Array
  readonly at: number
  readonly length: number
}

/** A peer of the dump before, and the octets it was read from. */
export interface Seen {
  readonly peer: WgPeer
  readonly key: Span | undefined
  readonly endpoint: Span | undefined
  /** Undefined also when its allowed IPs went on in another message. */
  allowedIps: Span | undefined
}

/** Undefined where words do not lie on words, as they do in what the kernel sends. */
export function wordsOf({ view }: AttributeReader): Int32Array | undefined {
  if (view.byteOffset % 4 !== 0) return undefined
  return new Int32Array(view.buffer, view.byteOffset, view.byteLength >> 2)
}

export function spanOf(words: Int32Array | undefined, at: number, octets: number): Span | undefined {
  if (words === undefined || at % 4 !== 0 || octets % 4 !== 0) return undefined
  return { words, at: at >> 2, length: octets >> 2 }
}

/** The same octets; false when one is not known. */
export function sameSpan(a: Span | undefined, b: Span | undefined): boolean {
  if (a === undefined || b?.length !== a.length) return false
  for (let i = 0; i < a.length; i++) if (a.words[a.at + i] !== b.words[b.at + i]) return false
  return true
}

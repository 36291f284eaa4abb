import { foldByte } from '../core/fqdn.ts'
import { PLAIN_OCTETS } from './patterns/pattern.ts'
import type { DomainPattern } from './patterns/pattern.ts'

/**
 * The reference matcher: one pattern against one name, label by label, as plainly as it can be written.
 * The compiled snapshot is tested against it; the command line uses it.
 */

/** Labels of a name, left to right, without the root; the root name is one empty label (the text `.`). */
export type NameLabels = readonly Uint8Array[]

/** Label octets of an uncompressed, well-formed wire name, ASCII upper case folded. */
export function wireLabels(name: Uint8Array, offset = 0): NameLabels {
  const labels: Uint8Array[] = []
  for (let at = offset; ;) {
    const length = name[at] ?? 0
    if (length === 0) break
    labels.push(name.slice(at + 1, at + 1 + length).map(foldByte))
    at += length + 1
  }
  return labels.length === 0 ? [new Uint8Array(0)] : labels
}

const encoder = new TextEncoder()

/**
 * Labels of a presentation form (RFC 1035 section 5.1), the final dot optional. Lax on purpose: empty labels and
 * labels of any length are kept, because verdicts on such texts are defined too. Undefined for a broken escape.
 */
export function textLabels(text: string): NameLabels | undefined {
  const source = encoder.encode(text)
  const labels: Uint8Array[] = []
  let label: number[] = []
  for (let i = 0; i < source.length; i++) {
    let byte = source[i] ?? 0
    if (byte === 0x2e) {
      labels.push(Uint8Array.from(label))
      label = []
      if (i === source.length - 1) return labels
      continue
    }
    if (byte === 0x5c) {
      const digits = /^[0-9]{3}/.exec(text3(source, i + 1))
      if (digits !== null) {
        byte = Number(digits[0])
        if (byte > 255) return undefined
        i += 3
      } else {
        if (i + 1 >= source.length) return undefined
        byte = source[++i] ?? 0
      }
    }
    label.push(foldByte(byte))
  }
  labels.push(Uint8Array.from(label))
  return labels
}

const text3 = (source: Uint8Array, at: number): string => String.fromCharCode(...source.subarray(at, at + 3))

/** True when the name is one that the pattern stands for. */
export function walkMatches(pattern: DomainPattern, name: NameLabels): boolean {
  switch (pattern.form) {
    case 'everything':
      return true
    case 'nothing':
      return false
    case 'plain':
      return (name.length === 1 && name[0]?.length === 0) || name.every(isWholePlain)
    case 'labels':
      return labelsMatch(pattern, name)
  }
}

function labelsMatch(pattern: DomainPattern, name: NameLabels): boolean {
  const extra = name.length - pattern.labels.length
  if (pattern.deep ? extra < 1 : extra !== 0) return false
  if (!name.slice(0, extra).every(isWholePlain)) return false
  return pattern.labels.every((label, i) => labelMatches(label, name[extra + i] ?? new Uint8Array(0)))
}

const isPlain = (label: Uint8Array): boolean => label.every((byte) => PLAIN_OCTETS[byte] === 1)
const isWholePlain = (label: Uint8Array): boolean => label.length > 0 && isPlain(label)

/** reachable[k]: the first k characters of the pattern can stand for the octets read so far. */
function labelMatches(pattern: string, label: Uint8Array): boolean {
  let reachable = afterStars(pattern, [true, ...new Array<boolean>(pattern.length).fill(false)])
  for (const byte of label) {
    const next = new Array<boolean>(pattern.length + 1).fill(false)
    for (let k = 0; k < pattern.length; k++) {
      if (!(reachable[k] ?? false)) continue
      if (pattern[k] === '*') {
        if (PLAIN_OCTETS[byte] === 1) next[k] = true
      } else if (pattern.charCodeAt(k) === byte) next[k + 1] = true
    }
    reachable = afterStars(pattern, next)
  }
  return reachable[pattern.length] ?? false
}

function afterStars(pattern: string, reachable: boolean[]): boolean[] {
  for (let k = 0; k < pattern.length; k++) if ((reachable[k] ?? false) && pattern[k] === '*') reachable[k + 1] = true
  return reachable
}

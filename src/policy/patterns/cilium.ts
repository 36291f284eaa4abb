import { err, ok } from '../../core/errors.ts'
import type { Result } from '../../core/errors.ts'
import { EVERYTHING, NOTHING, PLAIN, PLAIN_OCTETS, labelsPattern, lowerAscii } from './pattern.ts'
import type { DomainPattern } from './pattern.ts'

export type CiliumKind = 'toFQDNs.matchPattern' | 'toFQDNs.matchName' | 'dns.matchPattern' | 'dns.matchName'

export const CILIUM_KINDS: readonly CiliumKind[] = [
  'toFQDNs.matchPattern',
  'toFQDNs.matchName',
  'dns.matchPattern',
  'dns.matchName',
]

/** What a leading run of two or more `*` and a dot means: one or more labels (1.19 and later), or one label. */
export type DoubleStar = 'labels' | 'label'

/** Cilium 1.19's limit, in characters. */
const MAX_PATTERN = 255

/**
 * Cilium's own reading (pkg/fqdn/matchpattern, pkg/policy/api). The kinds differ: a bare `*` in a DNS rule allows
 * odd octets that a toFQDNs selector does not select, and the length limit is taken before or after the final dot.
 */
export function parseCiliumPattern(
  kind: CiliumKind,
  text: string,
  doubleStar: DoubleStar,
): Result<DomainPattern, string> {
  const forName = kind === 'toFQDNs.matchName' || kind === 'dns.matchName'
  const forDns = kind === 'dns.matchPattern' || kind === 'dns.matchName'
  if (!allowedCharacters(text, !forName)) return err(characterMessage(kind, text))
  const modern = doubleStar === 'labels'
  const allStars = !forName && isAllStars(text)
  const bare = modern ? allStars : !forName && text === '*'
  const complete = bare || text.endsWith('.') ? text : `${text}.`
  if (modern && kind !== 'dns.matchName' && (forDns ? text : complete).length > MAX_PATTERN) {
    return err(`Invalid ${forName ? 'MatchName' : 'MatchPattern'}: ${quote(text)}. Must be <= 255 characters long.`)
  }
  if (bare) return ok(forDns ? EVERYTHING : PLAIN)
  if (text === '') return ok(forDns ? NOTHING : labelsPattern('', false))
  const body = lowerAscii(complete.slice(0, -1))
  if (modern && !forName) {
    const stars = leadingStars(body)
    if (stars >= 2 && body[stars] === '.') return ok(labelsPattern(body.slice(stars + 1), true))
  }
  return ok(labelsPattern(body, false))
}

/** `*`, `**`, `*.`, `***.`: nothing but asterisks and at most one final dot. */
function isAllStars(text: string): boolean {
  const stars = leadingStars(text)
  return stars > 0 && (stars === text.length || (stars === text.length - 1 && text.endsWith('.')))
}

function leadingStars(text: string): number {
  let n = 0
  while (text[n] === '*') n++
  return n
}

function allowedCharacters(text: string, star: boolean): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 256 && PLAIN_OCTETS[code] === 1) continue
    if (code === 0x2e || (star && code === 0x2a)) continue
    return false
  }
  return true
}

/** Cilium's words, so that they are found in its documentation and issues. */
function characterMessage(kind: CiliumKind, text: string): string {
  switch (kind) {
    case 'toFQDNs.matchName':
      return `Invalid characters in MatchName: ${quote(text)}. Only 0-9, a-z, A-Z and ., -, _ characters are allowed`
    case 'dns.matchName':
      return `Invalid characters in MatchName: ${quote(text)}. Only 0-9, a-z, A-Z, _ and . and - characters are allowed`
    case 'toFQDNs.matchPattern':
    case 'dns.matchPattern':
      return `Invalid characters in MatchPattern: ${quote(text)}. Only 0-9, a-z, A-Z and ., -, _ and * characters are allowed`
  }
}

const quote = (text: string): string => `"${text}"`

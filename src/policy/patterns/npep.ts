import { err, ok } from '../../core/errors.ts'
import type { Result } from '../../core/errors.ts'
import { PLAIN_OCTETS, labelsPattern, lowerAscii } from './pattern.ts'
import type { DomainPattern } from './pattern.ts'

export type NpepKind = 'domainNames'
export const NPEP_KINDS: readonly NpepKind[] = ['domainNames']

/**
 * ClusterNetworkPolicy `domainNames` (network-policy-api, NPEP-133). A leading `*.` stands for one or more whole
 * labels; there is no other wildcard. The class `a-zA-z` of the published expression also lets `[ \ ] ^` and a
 * backtick pass; those are refused here, the underscore is taken as it is written.
 */
export function parseNpepPattern(text: string): Result<DomainPattern, string> {
  const deep = text.startsWith('*.')
  const rest = deep ? text.slice(2) : text
  const body = rest.endsWith('.') ? rest.slice(0, -1) : rest
  const labels = body.split('.')
  if (labels.length < 2) return err(`domain name "${text}" needs two labels or more`)
  for (const label of labels) {
    if (label === '') return err(`empty label in domain name "${text}"`)
    for (let i = 0; i < label.length; i++) {
      const code = label.charCodeAt(i)
      if (code > 255 || PLAIN_OCTETS[code] !== 1) return err(`invalid character in domain name "${text}"`)
    }
    const last = label[label.length - 1]
    if (label.startsWith('-') || last === '-' || (last === '_' && label.length > 1)) {
      return err(`a label starts or ends with - or _ in domain name "${text}"`)
    }
  }
  return ok(labelsPattern(lowerAscii(body), deep))
}

import { err, ok } from '../../core/errors.ts'
import type { Result } from '../../core/errors.ts'
import { PLAIN, PLAIN_OCTETS, labelsPattern, lowerAscii } from './pattern.ts'
import type { DomainPattern } from './pattern.ts'

export type GkeKind = 'name' | 'pattern'

/**
 * GKE FQDNNetworkPolicy `matches[]` (networking.gke.io/v1alpha1). `*` stands for zero or more octets inside one label,
 * wherever it is; alone it is every name. The syntax is that of the custom resource's schema: labels start and
 * end with a letter, a digit or (patterns) `*`.
 */
export function parseGkePattern(kind: GkeKind, text: string): Result<DomainPattern, string> {
  if (text === '') return err('empty')
  if (kind === 'pattern' && text === '*') return ok(PLAIN)
  const body = text.endsWith('.') ? text.slice(0, -1) : text
  for (const label of body.split('.')) {
    const fault = labelFault(label, kind === 'pattern')
    if (fault !== undefined) return err(`${fault} in ${kind} "${text}"`)
  }
  return ok(labelsPattern(lowerAscii(body), false))
}

function labelFault(label: string, star: boolean): string | undefined {
  if (label === '') return 'empty label'
  for (let i = 0; i < label.length; i++) {
    const code = label.charCodeAt(i)
    if (star && code === 0x2a) continue
    if (code > 255 || PLAIN_OCTETS[code] !== 1) return 'invalid character'
    const edge = i === 0 || i === label.length - 1
    if (edge && (code === 0x2d || code === 0x5f)) return 'label starts or ends with - or _'
  }
  return undefined
}

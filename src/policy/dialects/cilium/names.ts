import { parseCiliumPattern } from '../../patterns/cilium.ts'
import type { CiliumKind, DoubleStar } from '../../patterns/cilium.ts'
import { unmatchable } from '../../patterns/pattern.ts'
import type { DomainPattern } from '../../patterns/pattern.ts'
import type { At, Reader, Shape } from '../reader.ts'

/** The custom resources' `maxLength`. */
const MAX_TEXT = 255

const SIBLING = 'must be a sibling of toPorts in spec.egress[]'

/** Fields of an egress rule that people write one level too deep. */
export const MISPLACED_PEERS: Readonly<Record<string, string>> = Object.fromEntries(
  ['toFQDNs', 'toCIDR', 'toCIDRSet', 'toEntities', 'toEndpoints'].map((field) => [field, `${field} ${SIBLING}`]),
)

const SHAPE: Shape = { fields: ['matchName', 'matchPattern'], misplaced: MISPLACED_PEERS }

export interface NamedPattern {
  readonly pattern: DomainPattern
  readonly value: At
}

/** One `matchName` / `matchPattern` item of `toFQDNs` or `rules.dns`; a DNS item may have both. */
export function readNames(reader: Reader, item: At, list: 'toFQDNs' | 'dns', doubleStar: DoubleStar): NamedPattern[] {
  const before = reader.problems.length
  const fields = reader.object(item, SHAPE)
  if (fields === undefined) return []
  const given = (['matchName', 'matchPattern'] as const).flatMap((field) => {
    const value = fields.get(field)
    return value === undefined ? [] : [{ field, value }]
  })
  if (given.length === 0 && reader.problems.length === before) {
    reader.error(item.tree.at, `${item.path} needs matchName or matchPattern`, 'Cilium takes it for no name at all')
  }
  if (given.length === 2 && list === 'toFQDNs') {
    reader.error(item.tree.at, `${item.path}: only one of MatchName or MatchPattern is allowed in an FQDNSelector`)
    return []
  }
  return given.flatMap(({ field, value }) => {
    const pattern = readPattern(reader, value, `${list}.${field}`, doubleStar)
    return pattern === undefined ? [] : [{ pattern, value }]
  })
}

function readPattern(reader: Reader, value: At, kind: CiliumKind, doubleStar: DoubleStar): DomainPattern | undefined {
  const text = reader.string(value)
  if (text === undefined) return undefined
  const refuse = (message: string, hint?: string): undefined => {
    reader.error(value.tree.at, `${value.path}: ${message}`, hint)
    return undefined
  }
  if (text === '') return refuse('empty', 'Cilium takes it for the root name or for no name at all')
  if (text === '.') return refuse('the root name cannot be selected', "Cilium's resource definition refuses it too")
  const parsed = parseCiliumPattern(kind, text, doubleStar)
  if (!parsed.ok) return refuse(parsed.error)
  if (text.length > MAX_TEXT) return refuse(`longer than ${MAX_TEXT} characters`)
  const never = unmatchable(parsed.value)
  if (never !== undefined)
    return refuse(`"${text}" can match no name: ${never}`, 'Cilium accepts some of these and never matches them')
  return parsed.value
}

import { err } from '../core/errors.ts'
import type { Result } from '../core/errors.ts'
import { CILIUM_KINDS, parseCiliumPattern } from './patterns/cilium.ts'
import type { CiliumKind } from './patterns/cilium.ts'
import { parseGkePattern } from './patterns/gke.ts'
import type { GkeKind } from './patterns/gke.ts'
import { NPEP_KINDS, parseNpepPattern } from './patterns/npep.ts'
import type { DomainPattern } from './patterns/pattern.ts'

export type { DomainPattern } from './patterns/pattern.ts'
export { unmatchable } from './patterns/pattern.ts'
export type { DoubleStar } from './patterns/cilium.ts'

/** `cilium` is 1.19 and later, where a leading `**.` is one or more labels. */
export type Dialect = 'cilium' | 'cilium-1.18' | 'gke' | 'npep-133'

/** Every dialect with its kinds of pattern, the default kind first. */
export const DIALECT_KINDS: Readonly<Record<Dialect, readonly string[]>> = {
  cilium: CILIUM_KINDS,
  'cilium-1.18': CILIUM_KINDS,
  gke: ['pattern', 'name'],
  'npep-133': NPEP_KINDS,
}

export const isDialect = (text: string): text is Dialect => Object.hasOwn(DIALECT_KINDS, text)

/** Reads one pattern as the given dialect and kind of rule read it; the error is a sentence. */
export function parsePattern(dialect: Dialect, kind: string, text: string): Result<DomainPattern, string> {
  if (!DIALECT_KINDS[dialect].includes(kind)) {
    return err(`dialect ${dialect} has no kind "${kind}" (it has ${DIALECT_KINDS[dialect].join(', ')})`)
  }
  switch (dialect) {
    case 'cilium':
      return parseCiliumPattern(kind as CiliumKind, text, 'labels')
    case 'cilium-1.18':
      return parseCiliumPattern(kind as CiliumKind, text, 'label')
    case 'gke':
      return parseGkePattern(kind as GkeKind, text)
    case 'npep-133':
      return parseNpepPattern(text)
  }
}

import { FAMILY_4, FAMILY_6, SELECTION_WORDS, SELECTS_ENDPOINTS } from './layout.ts'
import type { BuiltShape } from './shape-builder.ts'
import { WordList } from './word-list.ts'

interface Selection {
  readonly of: number
  readonly shape: number
  readonly rule: number
  readonly except: readonly number[]
}

/** Tables from a selector or a prefix to the rules that name it, ascending by shape. */
export function buildSelection(
  shapes: readonly BuiltShape[],
  selectorCount: number,
  prefixCount: number,
): Record<'fqdnOffsets' | 'fqdnPairs' | 'prefixOffsets' | 'prefixPairs' | 'excepts' | 'shapeFlags', Uint32Array> {
  const excepts = new WordList()
  // Offset 0 is the empty list.
  excepts.push(0)
  const fqdns: Selection[] = []
  const prefixes: Selection[] = []
  const flags = new Uint32Array(shapes.length)
  shapes.forEach(({ rules, names, cidrs }, shape) => {
    names.forEach((list, rule) => list.forEach((of) => fqdns.push({ of, shape, rule, except: [] })))
    cidrs.forEach((list, rule) => list.forEach(([of, except]) => prefixes.push({ of, shape, rule, except })))
    for (const { entities, families, selectors } of rules) {
      const has = (family: 4 | 6): boolean =>
        families.some(([one]) => one === family) || entities.includes(`world-ipv${family}`)
      flags[shape]! |=
        (has(4) ? FAMILY_4 : 0) | (has(6) ? FAMILY_6 : 0) | (selectors.length > 0 ? SELECTS_ENDPOINTS : 0)
    }
  })
  const byFqdn = compress(fqdns, selectorCount, excepts)
  const byPrefix = compress(prefixes, prefixCount, excepts)
  return {
    fqdnOffsets: byFqdn.offsets,
    fqdnPairs: byFqdn.pairs,
    prefixOffsets: byPrefix.offsets,
    prefixPairs: byPrefix.pairs,
    excepts: excepts.view(),
    shapeFlags: flags,
  }
}

/** Compressed sparse rows: `offsets[i]` to `offsets[i + 1]` are the entries of `i`. The order of entries is kept. */
function compress(
  selections: readonly Selection[],
  count: number,
  excepts: WordList,
): { offsets: Uint32Array; pairs: Uint32Array } {
  const offsets = new Uint32Array(count + 1)
  for (const { of } of selections) offsets[of + 1]!++
  for (let i = 0; i < count; i++) offsets[i + 1]! += offsets[i]!
  const next = offsets.slice()
  const pairs = new Uint32Array(selections.length * SELECTION_WORDS)
  for (const { of, shape, rule, except } of selections) {
    const at = next[of]!++ * SELECTION_WORDS
    pairs[at] = shape
    pairs[at + 1] = rule
    pairs[at + 2] = except.length === 0 ? 0 : excepts.push(except.length, ...except)
  }
  return { offsets, pairs }
}

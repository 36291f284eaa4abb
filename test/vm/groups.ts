/** Which tests a guest runs: TESTS, and the boots that the long form is made of. Pure. */

/** What one guest runs. */
export interface Group {
  readonly name: string
  /** As TESTS. */
  readonly tests: string
}

/**
 * Whether a test is asked for: `filter` has parts of names between commas, those of which any is in the name are; behind a
 * `!` the others are.
 */
export function asksFor(filter: string, name: string): boolean {
  const others = filter.startsWith('!')
  return partsOf(filter).some((part) => name.includes(part)) !== others
}

const partsOf = (filter: string): string[] => filter.replace(/^!/, '').split(',')

/** Parts of the filter that no test has in its name: then something was asked for and did not run. */
export function missedParts(filter: string, names: readonly string[]): string[] {
  if (filter.startsWith('!')) return names.some((name) => asksFor(filter, name)) ? [] : [filter]
  return partsOf(filter).filter((part) => !names.some((name) => name.includes(part)))
}

/** Each ends in about four minutes: who measures on the same machine comes in between. */
const APART: readonly Group[] = [
  { name: 'kills', tests: 'T-ROTATE: an agent is killed,T-REBIRTH,T-DISABLE' },
  { name: 'faults', tests: 'T-ROTATE: the directory,T-HEAL,T-FW,T-MOVE' },
  { name: 'silence', tests: 'T-SILENCE' },
  { name: 'both', tests: 'T-BOTH' },
]

/** Boots of the long form, one after the other. The first has whatever the others leave. */
export const GROUPS: readonly Group[] = [
  { name: 'rotations', tests: `!${APART.map(({ tests }) => tests).join(',')}` },
  ...APART,
]

/** `only`: names of groups between commas. @throws Error for a name that no group has */
export function groupsOf(long: boolean, filter: string, only: string): readonly Group[] {
  if (!long || filter !== '') return [{ name: '', tests: filter }]
  if (only === '') return GROUPS
  return only.split(',').map((name) => {
    const found = GROUPS.find((group) => group.name === name)
    if (found === undefined) throw new Error(`no group ${name}: ${GROUPS.map((group) => group.name).join(', ')}`)
    return found
  })
}

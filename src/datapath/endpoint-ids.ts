import { readFileSync } from 'node:fs'
import { writeFileAtomic } from '../core/atomic-file.ts'
import { SekishoError } from '../core/errors.ts'

/** Ids are u16 in the maps, and 0 is none. */
export const MAX_ENDPOINT_ID = 65535

export interface EndpointIds {
  /**
   * The id of each name, new ones for names that have none; ids of names that are not in the list are given up. The
   * file is written before this returns when anything changed. Throws SEKISHO_DATAPATH_IDS when none is left.
   */
  assign(names: readonly string[]): ReadonlyMap<string, number>
}

interface Stored {
  readonly version: 1
  /** Where the search for a free id goes on: a given-up id is used again as late as can be. */
  readonly next: number
  readonly ids: Readonly<Record<string, number>>
}

const isId = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 1 && (value as number) <= MAX_ENDPOINT_ID

function parse(text: string): Stored | undefined {
  let value: Partial<Stored> | null
  try {
    value = JSON.parse(text) as Partial<Stored> | null
  } catch {
    return undefined
  }
  if (value === null || typeof value !== 'object' || value.version !== 1 || !isId(value.next)) return undefined
  const ids = value.ids
  if (ids === null || typeof ids !== 'object' || Array.isArray(ids)) return undefined
  const all = Object.values(ids)
  if (!all.every(isId) || new Set(all).size !== all.length) return undefined
  return { version: 1, next: value.next, ids }
}

/**
 * Names ("namespace/name") and their ids, kept in a file, because what is learned and written to disk bears ids.
 * A damaged file is refused: new ids would hand one endpoint's names to another. A file that cannot be written is tried again
 * at the next change; `problem` is told. Until then new endpoints have their ids in memory only.
 *
 * `inKernel`: ids that pinned maps bear from an earlier run. One that the file does not know is given to nobody: its rows may
 * be another endpoint's.
 */
export function openEndpointIds(
  file: string,
  inKernel: ReadonlySet<number> = new Set(),
  problem: (error: unknown) => void = (error) => {
    throw error
  },
): EndpointIds {
  let stored: Stored = { version: 1, next: 1, ids: {} }
  let text: string | undefined
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  if (text !== undefined) {
    const parsed = parse(text)
    if (parsed === undefined) {
      throw new SekishoError('SEKISHO_DATAPATH_IDS', file, {
        hint: 'Remove the files in state.dir (what was learned is forgotten) and start again.',
      })
    }
    stored = parsed
  }
  const known = new Set(Object.values(stored.ids))
  const foreign = new Set([...inKernel].filter((id) => !known.has(id)))
  let written = stored
  return {
    assign(names) {
      const wanted = [...new Set(names)]
      const ids = new Map<string, number>()
      for (const name of wanted) {
        const id = Object.hasOwn(stored.ids, name) ? stored.ids[name] : undefined
        if (id !== undefined) ids.set(name, id)
      }
      const used = new Set(ids.values())
      let next = stored.next
      for (const name of wanted) {
        if (ids.has(name)) continue
        if (used.size + foreign.size >= MAX_ENDPOINT_ID) {
          throw new SekishoError('SEKISHO_DATAPATH_IDS', 'every id is in use')
        }
        while (used.has(next) || foreign.has(next)) next = (next % MAX_ENDPOINT_ID) + 1
        ids.set(name, next)
        used.add(next)
        next = (next % MAX_ENDPOINT_ID) + 1
      }
      const changed: Stored = { version: 1, next, ids: Object.fromEntries(ids) }
      stored = changed
      if (JSON.stringify(changed) === JSON.stringify(written)) return ids
      try {
        writeFileAtomic(file, [new TextEncoder().encode(`${JSON.stringify(changed)}\n`)])
        written = changed
      } catch (error) {
        problem(error)
      }
      return ids
    },
  }
}

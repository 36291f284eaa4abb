import { err, ok, type Result } from '../core/errors.ts'
import { suggest } from '../core/suggest.ts'
import { readDocument, type Entry, type Value } from './document.ts'
import { strayVariables, variableOf } from './environment.ts'
import { isSection, type Leaf, type Section } from './kinds.ts'
import { readScalar, show, type LeafFault } from './leaf.ts'
import type { ConfigProblem, Origin } from './problem.ts'
import { checkNeeded, checkTogether } from './together.ts'
import { configSchema, type Config } from './schema.ts'

type Environment = Readonly<Record<string, string | undefined>>

interface Walk {
  readonly env: Environment
  readonly problems: ConfigProblem[]
}

/**
 * YAML text and environment to one frozen configuration, or every problem at once. Pure: nothing is opened and no
 * path is looked at. The environment wins over the file, the file over the default.
 *
 * @param text whole text of the file; undefined when there is none
 */
export function loadConfig(text: string | undefined, env: Environment): Result<Config, readonly ConfigProblem[]> {
  const { root, problems } = text === undefined ? { root: undefined, problems: [] } : readDocument(text)
  const schema = configSchema as unknown as Section
  const broken = problems.length > 0
  const walk: Walk = { env, problems }
  // A file that is no YAML has no settings to miss: only the environment is checked beside it.
  const value = readSection(schema, broken ? { ...walk, problems: [] } : walk, root, '')
  problems.push(...strayVariables(schema, env))
  // The walk fills every key of the schema or adds a problem.
  const config = value as Config
  if (!broken) problems.push(...checkNeeded(config))
  if (problems.length === 0) problems.push(...checkTogether(config))
  return problems.length > 0 ? err(problems.sort(byPlace)) : ok(config)
}

function readSection(schema: Section, walk: Walk, value: Value | undefined, prefix: string): object {
  const entries = entriesOf(walk, value, prefix)
  for (const entry of entries) {
    if (!Object.hasOwn(schema.properties, entry.key)) walk.problems.push(unknownKey(schema, entry, prefix))
  }
  const out: Record<string, unknown> = {}
  for (const [key, node] of Object.entries(schema.properties)) {
    const given = entries.find((entry) => entry.key === key)
    out[key] = isSection(node)
      ? readSection(node, walk, given?.value, `${prefix}${key}.`)
      : readLeaf(node, walk, given, prefix + key)
  }
  return Object.freeze(out)
}

function entriesOf(walk: Walk, value: Value | undefined, prefix: string): readonly Entry[] {
  // "dns:" with nothing below it is an empty section.
  if (value === undefined || (value.kind === 'scalar' && value.value === null)) return []
  if (value.kind === 'map') return value.entries
  walk.problems.push({
    code: 'SEKISHO_CONFIG_TYPE',
    path: prefix.slice(0, -1),
    origin: value.at,
    message: 'a section with settings is wanted here',
  })
  return []
}

function unknownKey(schema: Section, entry: Entry, prefix: string): ConfigProblem {
  const near = suggest(entry.key, Object.keys(schema.properties))
  return {
    code: 'SEKISHO_CONFIG_UNKNOWN',
    path: prefix + entry.key,
    origin: entry.at,
    message: 'there is no such setting',
    hint: near === undefined ? `known here: ${Object.keys(schema.properties).join(', ')}` : `did you mean ${near}?`,
  }
}

function readLeaf(leaf: Leaf, walk: Walk, given: Entry | undefined, path: string): unknown {
  const variable = variableOf(path)
  const text = walk.env[variable]
  // Both are checked: an override must not hide a broken file.
  const fromFile = given === undefined ? undefined : readValue(leaf, walk, given.value, path)
  if (text !== undefined) return readText(leaf, walk, text, path, { kind: 'environment', variable })
  if (given !== undefined) return fromFile
  if (leaf.default === undefined) {
    walk.problems.push({
      code: 'SEKISHO_CONFIG_MISSING',
      path,
      origin: { kind: 'absent' },
      message: 'must be given',
      hint: `set it in the file or by ${variable}`,
    })
  }
  return freeze(leaf.default)
}

function readValue(leaf: Leaf, walk: Walk, value: Value, path: string): unknown {
  if (leaf.kind === 'list' && value.kind === 'list') return readList(leaf, walk, value.items, path)
  if (value.kind === 'scalar') return readOne(leaf, walk, value.value, path, value.at)
  const wanted = leaf.kind === 'list' ? 'list' : 'single value'
  walk.problems.push({ code: 'SEKISHO_CONFIG_TYPE', path, origin: value.at, message: `a ${wanted} is wanted here` })
  return undefined
}

function readText(leaf: Leaf, walk: Walk, text: string, path: string, origin: Origin): unknown {
  if (leaf.kind !== 'list') return readOne(leaf, walk, text, path, origin)
  const items = text.split(',').map((item) => item.trim())
  const values = text.trim() === '' ? [] : items
  return readItems(
    leaf,
    walk,
    values.map((value) => ({ value, origin })),
    path,
  )
}

function readList(leaf: Leaf, walk: Walk, items: readonly Value[], path: string): unknown {
  const scalars = items.map((item) => ({ value: item.kind === 'scalar' ? item.value : [], origin: item.at }))
  return readItems(leaf, walk, scalars, path)
}

function readItems(
  leaf: Leaf,
  walk: Walk,
  items: readonly { readonly value: unknown; readonly origin: Origin }[],
  path: string,
): readonly unknown[] {
  const out: unknown[] = []
  items.forEach(({ value, origin }, i) => {
    const here = `${path}[${i}]`
    const item = readOne(leaf, walk, value, here, origin, true)
    if (item !== undefined && out.includes(item)) {
      walk.problems.push({
        code: 'SEKISHO_CONFIG_VALUE',
        path: here,
        origin,
        message: `${show(value)} stands there twice`,
      })
    }
    out.push(item)
  })
  return Object.freeze(out)
}

function readOne(leaf: Leaf, walk: Walk, raw: unknown, path: string, origin: Origin, item = false): unknown {
  const reading = readScalar(leaf, raw, item ? leaf.itemKind : leaf.kind)
  if (reading.ok) return reading.value
  walk.problems.push(problemOf(reading.error, path, origin))
  return undefined
}

const problemOf = (fault: LeafFault, path: string, origin: Origin): ConfigProblem => ({ ...fault, path, origin })

const freeze = (value: unknown): unknown => (Array.isArray(value) ? Object.freeze([...(value as unknown[])]) : value)

/** The file from top to bottom, then what nobody gave, then the environment. */
function byPlace({ origin: a }: ConfigProblem, { origin: b }: ConfigProblem): number {
  if (a.kind === 'file' && b.kind === 'file') return a.line - b.line || a.column - b.column
  const order = ['file', 'absent', 'environment']
  return order.indexOf(a.kind) - order.indexOf(b.kind)
}

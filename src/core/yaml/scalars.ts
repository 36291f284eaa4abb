import {
  boolCoreTag,
  boolYaml11Tag,
  floatCoreTag,
  floatYaml11Tag,
  getScalarValue,
  intCoreTag,
  intYaml11Tag,
  NOT_RESOLVED,
  nullCoreTag,
  nullYaml11Tag,
  SCALAR_STYLE,
  type ScalarEvent,
} from 'js-yaml'

/** In 1.1 an unquoted `no` is a boolean, and in 1.2 (core schema) text. A date is text in both, as kubectl has it. */
export type YamlVersion = '1.1' | '1.2'

type Tag = typeof nullCoreTag | typeof boolCoreTag | typeof intCoreTag

interface Tags {
  /** First character -> the tags that it may begin; most text begins with none of them. */
  readonly byFirst: ReadonlyMap<string, readonly Tag[]>
  readonly byName: ReadonlyMap<string, Tag>
}

function tags(all: readonly Tag[]): Tags {
  const byFirst = new Map<string, Tag[]>()
  for (const tag of all) {
    for (const first of tag.implicitFirstChars ?? []) byFirst.set(first, [...(byFirst.get(first) ?? []), tag])
  }
  return { byFirst, byName: new Map(all.map((tag) => [tag.tagName.replace(/^tag:yaml\.org,2002:/, '!!'), tag])) }
}

const TAGS: Readonly<Record<YamlVersion, Tags>> = {
  1.1: tags([nullYaml11Tag, boolYaml11Tag, intYaml11Tag, floatYaml11Tag]),
  1.2: tags([nullCoreTag, boolCoreTag, intCoreTag, floatCoreTag]),
}

/** The value does not fit its tag, or the tag is none of those above. */
export class TagError extends Error {}

/** The value of a scalar: a string, number, boolean or null. Throws TagError. */
export function scalarValue(text: string, event: ScalarEvent, version: YamlVersion): unknown {
  const source = getScalarValue(text, event)
  const { byFirst, byName } = TAGS[version]
  if (event.tagStart >= 0) return tagged(source, text.slice(event.tagStart, event.tagEnd), byName)
  if (event.style !== SCALAR_STYLE.PLAIN) return source
  for (const tag of byFirst.get(source.charAt(0)) ?? []) {
    const value = tag.resolve(source, false, tag.tagName)
    if (value !== NOT_RESOLVED) return value
  }
  return source
}

function tagged(source: string, name: string, byName: Tags['byName']): unknown {
  if (name === '!' || name === '!!str') return source
  const tag = byName.get(name)
  if (tag === undefined) throw new TagError(`the tag ${name} is not known`)
  const value = tag.resolve(source, true, tag.tagName)
  if (value === NOT_RESOLVED) throw new TagError(`the value does not fit its tag ${name}`)
  return value
}

/** Where it starts: quotes count. Undefined for one that is not written at all. */
export function scalarStart(event: ScalarEvent): number | undefined {
  if (event.valueStart < 0) return undefined
  const quoted = event.style === SCALAR_STYLE.SINGLE_QUOTED || event.style === SCALAR_STYLE.DOUBLE_QUOTED
  return quoted ? event.valueStart - 1 : event.valueStart
}

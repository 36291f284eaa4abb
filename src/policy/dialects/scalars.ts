import {
  boolYaml11Tag,
  floatYaml11Tag,
  getScalarValue,
  intYaml11Tag,
  NOT_RESOLVED,
  nullYaml11Tag,
  SCALAR_STYLE,
  type ScalarEvent,
} from 'js-yaml'

/** What a plain scalar can be but a string, YAML 1.1. A date stays a string, as kubectl has it. */
const IMPLICIT = [nullYaml11Tag, boolYaml11Tag, intYaml11Tag, floatYaml11Tag]

/** First character -> the tags it may begin; most strings begin with none of them. */
const BY_FIRST = new Map<string, typeof IMPLICIT>()
for (const tag of IMPLICIT) {
  for (const first of tag.implicitFirstChars ?? []) BY_FIRST.set(first, [...(BY_FIRST.get(first) ?? []), tag])
}

const EXPLICIT = new Map<string, (typeof IMPLICIT)[number]>([
  ['!!null', nullYaml11Tag],
  ['!!bool', boolYaml11Tag],
  ['!!int', intYaml11Tag],
  ['!!float', floatYaml11Tag],
])

/** The value does not fit its tag, or the tag is none that a policy may have. */
export class TagError extends Error {}

/** The value of a scalar: a string, number, boolean or null. Throws TagError. */
export function scalarValue(text: string, event: ScalarEvent): unknown {
  const source = getScalarValue(text, event)
  if (event.tagStart >= 0) return tagged(source, text.slice(event.tagStart, event.tagEnd))
  if (event.style !== SCALAR_STYLE.PLAIN) return source
  for (const tag of BY_FIRST.get(source.charAt(0)) ?? []) {
    const value = tag.resolve(source, false, tag.tagName)
    if (value !== NOT_RESOLVED) return value
  }
  return source
}

function tagged(source: string, name: string): unknown {
  if (name === '!' || name === '!!str') return source
  const tag = EXPLICIT.get(name)
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

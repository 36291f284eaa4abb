import { walkMatches } from './label-walk.ts'
import type { NameLabels } from './label-walk.ts'
import type { DomainPattern } from './patterns/pattern.ts'

/** Why a pattern that looks like the name does not stand for it; undefined when it is not near. */
export function nearMiss(pattern: DomainPattern, name: NameLabels): string | undefined {
  if (pattern.form !== 'labels' || walkMatches(pattern, name)) return undefined
  const { labels, deep } = pattern
  const first = labels[0] ?? ''
  const wildcard = deep || first === '*'
  const base = deep ? labels : labels.slice(1)
  if (wildcard && base.length > 0 && matches(base, name)) {
    return `${pattern.text} covers what is below ${base.join('.')}, not ${base.join('.')} itself: add matchName: ${base.join('.')}`
  }
  if (!deep && first === '*' && base.length > 0 && endsIn(base, name)) {
    return `the * of ${pattern.text} covers one label only: write **.${base.join('.')}`
  }
  if (!deep && !pattern.text.includes('*') && endsIn(labels, name)) {
    return `${pattern.text} is that name only: write **.${pattern.text} for the names below it`
  }
  if (!deep && first.startsWith('*') && first !== '*' && endsIn([first.slice(1), ...base], name)) {
    return `the * of ${pattern.text} stays inside one label: write **.${[first.slice(1), ...base].join('.')}`
  }
  return undefined
}

const asPattern = (labels: readonly string[], deep: boolean): DomainPattern => ({
  text: '',
  form: 'labels',
  deep,
  labels,
})

const matches = (labels: readonly string[], name: NameLabels): boolean => walkMatches(asPattern(labels, false), name)

/** The name lies below these labels. */
const endsIn = (labels: readonly string[], name: NameLabels): boolean => walkMatches(asPattern(labels, true), name)

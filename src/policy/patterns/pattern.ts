/**
 * A name pattern, free of dialect. Names are matched as wire labels; C is `[-a-zA-Z0-9_]`.
 *
 * - `everything`: every name, whatever octets its labels hold
 * - `plain`: the root, and names all of whose labels are non-empty and made of C
 * - `nothing`: no name
 * - `labels`: as many labels as `labels`, one by one; with `deep`, one or more further labels of C in front
 */
export interface DomainPattern {
  /** Canonical text: two patterns of equal meaning have equal text. Lower case, no final dot (but `.` and `*.`). */
  readonly text: string
  readonly form: 'everything' | 'plain' | 'nothing' | 'labels'
  readonly deep: boolean
  /** Left to right, lower case; `*` stands for zero or more octets of C, runs of it are one. The root is `['']`. */
  readonly labels: readonly string[]
}

/** Octets that a `*` may stand for, and that a pattern may be written with: 1 where the octet is in C. */
export const PLAIN_OCTETS: Uint8Array = new Uint8Array(256)
for (const char of '-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz') {
  PLAIN_OCTETS[char.charCodeAt(0)] = 1
}

export const EVERYTHING: DomainPattern = { text: '*', form: 'everything', deep: false, labels: [] }
export const PLAIN: DomainPattern = { text: '*', form: 'plain', deep: false, labels: [] }
export const NOTHING: DomainPattern = { text: '', form: 'nothing', deep: false, labels: [] }

/** `text` is lower case, its final dot is gone already. */
export function labelsPattern(text: string, deep: boolean): DomainPattern {
  const labels = collapseStars(text).split('.')
  return { text: canonicalText(labels, deep), form: 'labels', deep, labels }
}

function canonicalText(labels: readonly string[], deep: boolean): string {
  const only = labels.length === 1 ? labels[0] : undefined
  if (!deep && only === '') return '.'
  if (!deep && only === '*') return '*.'
  return deep ? `**.${labels.join('.')}` : labels.join('.')
}

function collapseStars(text: string): string {
  if (!text.includes('**')) return text
  let out = ''
  for (const char of text) if (char !== '*' || !out.endsWith('*')) out += char
  return out
}

/** ASCII letters only. */
export function lowerAscii(text: string): string {
  return text.replace(/[A-Z]/g, (char) => char.toLowerCase())
}

/**
 * Why no name on the wire can match (RFC 1035 section 2.3.4: labels of 1 to 63 octets, 255 octets in all), or
 * undefined. The root alone can be asked for.
 */
export function unmatchable(pattern: DomainPattern): string | undefined {
  if (pattern.form === 'nothing') return 'it is empty'
  if (pattern.form !== 'labels') return undefined
  const { labels, deep } = pattern
  if (labels.length === 1 && labels[0] === '' && !deep) return undefined
  let octets = deep ? 3 : 1
  for (const label of labels) {
    const least = label.includes('*') ? label.replaceAll('*', '').length : label.length
    if (label === '') return 'it has an empty label'
    if (least > 63) return 'a label is longer than 63 octets'
    octets += Math.max(1, least) + 1
  }
  return octets > 255 ? 'it is longer than 255 octets on the wire' : undefined
}

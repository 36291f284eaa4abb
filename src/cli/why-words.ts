import { formatFqdn, tryParseFqdn } from '../core/fqdn.ts'
import { wireLabels } from '../policy/label-walk.ts'
import type { NameLabels } from '../policy/label-walk.ts'
import type { Answer, Reason, WhyReport } from '../policy/why.ts'
import { paint, printable } from './style.ts'

interface Painter {
  readonly colour: boolean
}

export interface WhySubject {
  readonly endpoint: string
  readonly name: string
  readonly server: string | null
}

/** The name's labels and its text as we print it; undefined when it is no name. */
export function readFqdn(text: string): { readonly labels: NameLabels; readonly text: string } | undefined {
  const name = tryParseFqdn(text)
  return name === undefined ? undefined : { labels: wireLabels(name), text: formatFqdn(name) }
}

/** The report for a person. */
export function renderWhy(io: Painter, subject: WhySubject, report: WhyReport): string {
  const at = subject.server === null ? '' : ` at ${subject.server}`
  const lines = [paint(io, 'bold', `${printable(subject.endpoint)} -> ${printable(subject.name)}${at}`)]
  if (!report.enforced) {
    return `${lines.join('\n')}\n${paint(io, 'green', 'allowed')}: no policy selects this endpoint, everything is open\n`
  }
  lines.push(`policies   ${report.policies.map(printable).join(', ')}`)
  lines.push(...answer(io, 'look-up', 'at', report.lookup))
  lines.push(...answer(io, 'connect', 'to', report.connection))
  if (report.missing.length > 0) {
    lines.push('missing')
    lines.push(...report.missing.map((sentence) => `  ${printable(sentence)}`))
  }
  return `${lines.join('\n')}\n`
}

function answer(io: Painter, what: string, word: string, { allowed, by, against }: Answer): string[] {
  const verdict = allowed ? paint(io, 'green', 'allowed') : paint(io, 'red', 'denied')
  return [
    `${what.padEnd(10)} ${verdict}`,
    ...by.map((reason) => `  ${paint(io, 'dim', 'by')}      ${describe(word, reason)}`),
    ...against.map((reason) => `  ${paint(io, 'red', 'denied')}  ${describe(word, reason)}`),
  ]
}

function describe(word: string, { policy, origin, matched, peers, ports }: Reason): string {
  const place = `${origin.file}:${origin.line}:${origin.column}`
  const what = matched.length > 0 ? matched.join(', ') : 'any name'
  const where = word === 'at' ? `, at ${shorten(peers)}` : ''
  return printable(`${place}  ${policy}: ${what}${where}, ${ports}`)
}

/** A rule may name thousands. */
const shorten = (texts: readonly string[]): string =>
  texts.length <= 3 ? texts.join('; ') : `${texts.slice(0, 3).join('; ')} and ${texts.length - 3} more`

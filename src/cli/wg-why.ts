import type { SealFinding, SealReport } from '../http/wg-ports.ts'
import type { WgPeerReport, WgReport } from '../wg/report.ts'
import { whyPeer, type WgWhy } from '../wg/why.ts'
import { ask } from './api.ts'
import { EXIT, UsageError, type CliIo } from './io.ts'
import { parseOptions } from './options.ts'
import { paint, printable, type Style } from './style.ts'
import { asJson, askSeal, openSeal, tellProblem, wgOptions } from './wg-api.ts'

/** `sekisho wg why PEER`: 0 when packets to its pods go through the tunnel, 1 when they do not. */
export async function wgWhy(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseOptions(args, wgOptions)
  const [name, extra] = positionals
  if (name === undefined) throw new UsageError('which peer?', 'sekisho wg peers lists them')
  if (extra !== undefined) throw new UsageError(`unexpected argument ${extra}`)
  const base = await openSeal(io, values)
  if (typeof base === 'number') return base
  const report = await askSeal<SealReport>(io, base, '/v1/wg')
  if (typeof report === 'number') return report
  const found = await ask(io, base, `/v1/wg/peers/${encodeURIComponent(name)}`)
  if (found === undefined) return EXIT.unavailable
  if (found.status !== 200 && found.status !== 404) {
    tellProblem(io, found.body)
    return EXIT.failed
  }
  const peer = found.status === 200 ? (found.body as WgPeerReport) : undefined
  if (report.mode === 'observe') return observed(io, report, peer?.name ?? name, values.output)
  const why = whyPeer(report as WgReport, peer, name)
  io.out(values.output === 'json' ? asJson({ peer: peer?.name ?? name, ...why }) : render(io, peer?.name ?? name, why))
  return why.verdict === 'encrypted' ? EXIT.ok : EXIT.failed
}

/** Another manager sends the packets: there is only what the device shows. */
function observed(io: CliIo, report: SealReport, name: string, output: string): number {
  const findings = (report.findings ?? []).filter(({ peer }) => peer === name)
  const text = (finding: SealFinding): string =>
    `${paint(io, 'red', 'fault')}  ${printable(finding.text)} [${finding.code}]\n`
  if (output === 'json') io.out(asJson({ peer: name, findings }))
  else io.out(findings.length === 0 ? `nothing was found about ${printable(name)}\n` : findings.map(text).join(''))
  return findings.length === 0 ? EXIT.ok : EXIT.failed
}

const VERDICTS: Readonly<Record<WgWhy['verdict'], { readonly text: string; readonly style: Style }>> = {
  encrypted: { text: 'encrypted', style: 'green' },
  dropped: { text: 'dropped: the tunnel does not work, and clear text is not sent', style: 'red' },
  clear: { text: 'in the clear', style: 'yellow' },
  unknown: { text: 'no peer', style: 'red' },
}
const LEVELS: Readonly<Record<WgWhy['lines'][number]['level'], Style>> = { good: 'green', note: 'dim', fault: 'red' }

function render(io: CliIo, name: string, { verdict, lines, remedies }: WgWhy): string {
  const { text, style } = VERDICTS[verdict]
  const parts = [`${paint(io, 'bold', printable(name))}: ${paint(io, style, text)}`]
  for (const line of lines)
    parts.push(`  ${paint(io, LEVELS[line.level], line.level.padEnd(5))}  ${printable(line.text)}`)
  if (remedies.length > 0) parts.push('to do', ...remedies.map((remedy) => `  - ${printable(remedy)}`))
  return `${parts.join('\n')}\n`
}

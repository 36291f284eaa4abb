import type { SealPeer, SealReport, SealRotation } from '../http/wg-ports.ts'
import { EXIT, UsageError, type CliIo } from './io.ts'
import { parseOptions } from './options.ts'
import { paint, printable } from './style.ts'
import { table, type Cell } from './table.ts'
import { asJson, askSeal, openSeal, wgOptions } from './wg-api.ts'
import { age, clusterStatus, encryptStatus, peerTable, statusLines } from './wg-words.ts'

const WORST = 10

/** `sekisho wg status`: 0 when every peer is proven and nothing is amiss, 1 otherwise, 69 when nobody answers. */
export async function wgStatus(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseOptions(args, wgOptions)
  if (positionals.length > 0) throw new UsageError(`unexpected argument ${positionals[0]}`)
  const base = await openSeal(io, values, ['debuginfo'])
  if (typeof base === 'number') return base
  const report = await askSeal<SealReport>(io, base, '/v1/wg')
  if (typeof report === 'number') return report
  const status = isSound(report) ? EXIT.ok : EXIT.failed
  if (values.output === 'debuginfo') {
    const info = await askSeal<object>(io, base, '/v1/wg/debuginfo')
    if (typeof info === 'number') return info
    io.out(asJson(info))
    return status
  }
  const page = await askSeal<{ peers: readonly SealPeer[] }>(io, base, `/v1/wg/peers?order=worst&limit=${WORST}`)
  if (typeof page === 'number') return page
  io.out(values.output === 'json' ? asJson({ ...report, worst: page.peers }) : render(io, report, page.peers))
  return status
}

const isSound = ({ slots, peers, directory, findings = [] }: SealReport): boolean =>
  slots.every(({ publicKey }) => publicKey !== undefined) &&
  peers.unproven === 0 &&
  directory.lost === undefined &&
  directory.refused.length === 0 &&
  findings.length === 0

function render(io: CliIo, report: SealReport, worst: readonly SealPeer[]): string {
  const { peers, directory, dropped } = report
  const packets = dropped.filter((one) => one.packets > 0)
  const unproven = `${peers.unproven} unproven`
  const observed = report.mode === 'observe'
  const head: [string, string][] = [
    ['seal', `${report.mode}, ${report.driver} driver, domain ${report.domain}, target ${report.target}`],
    ['node', [report.node, ...(report.endpoints ?? [])].join(' ')],
    ['peers', `${peers.expected} expected, ${peers.active} active, ${peers.strict} strict, ${unproven}`],
    ...(observed ? [] : [['rotation', rotationWords(report.rotation)] satisfies [string, string]]),
    [
      'directory',
      `${directory.complete ? 'read whole' : 'not read whole yet'}, ${directory.published ? 'our record is published' : 'our record is not published'}, heard ${age(directory.ageSeconds)} ago`,
    ],
    [
      'dropped',
      packets.length === 0
        ? 'no clear text'
        : `clear text: ${packets.map((one) => `${one.packets} ${one.direction} IPv${one.family}`).join(', ')}`,
    ],
  ]
  const notes = [
    ...(directory.lost === undefined ? [] : [paint(io, 'red', `directory: ${printable(directory.lost)}`)]),
    ...directory.refused.map(({ name, reason, detail }) =>
      paint(io, 'red', printable(`the record of ${name} is refused: ${reason} (${detail})`)),
    ),
    ...(report.findings ?? []).map(({ code, text }) => paint(io, 'red', printable(`${text} [${code}]`))),
    ...report.warnings.map((warning) => paint(io, 'yellow', printable(warning))),
  ]
  const parts = [head.map(([key, value]) => `${key.padEnd(10)} ${printable(value)}\n`).join('')]
  if (notes.length > 0) parts.push(notes.map((note) => `! ${note}\n`).join(''))
  parts.push(slotTable(io, report))
  if (worst.length > 0) {
    const title = peers.expected > worst.length ? `the ${worst.length} worst of ${peers.expected} peers` : 'peers'
    parts.push(`${paint(io, 'bold', title)}\n${peerTable(io, worst)}`)
  }
  parts.push(statusLines(report), encryptStatus(report), clusterStatus(report))
  return parts.join('\n')
}

const slotTable = (io: CliIo, { slots, peers }: SealReport): string =>
  table(
    io,
    [
      { title: 'slot' },
      { title: 'device' },
      { title: 'port', align: 'right' },
      { title: 'generation', align: 'right' },
      { title: 'key age', align: 'right' },
      { title: 'programmed', align: 'right' },
      { title: 'proven', align: 'right' },
      { title: 'mtu', align: 'right' },
      { title: 'made again', align: 'right' },
      { title: 'public key' },
    ],
    slots.map((slot): Cell[] => [
      String(slot.slot),
      printable(slot.device),
      String(slot.port),
      String(slot.generation),
      age(slot.keyAgeSeconds),
      share(slot.programmed, peers.expected),
      share(slot.proven, peers.expected),
      String(slot.mtu),
      String(slot.recreations),
      slot.publicKey === undefined ? { text: 'missing', style: 'red' } : printable(slot.publicKey),
    ]),
  )

const share = (count: number, all: number): Cell => ({
  text: `${count}/${all}`,
  style: count >= all ? 'green' : 'red',
})

function rotationWords(rotation: SealRotation): string {
  const { phase, slot, reason, seconds, dueSeconds, completed, lastSeconds, queue } = rotation
  const done = `${completed} done${lastSeconds === undefined ? '' : `, the last took ${lastSeconds.toFixed(1)} s`}`
  const queued = queue.length === 0 ? '' : `; then ${queue.map((job) => `slot ${job.slot} (${job.reason})`).join(', ')}`
  if (phase === 'idle') {
    const due = dueSeconds === undefined ? '' : `, next in ${age(Math.max(0, dueSeconds))}`
    return `idle${due}; ${done}${queued}`
  }
  const waits = rotation.awaited.filter(({ count }) => count > 0).map(awaitedWords)
  const on = waits.length === 0 ? '' : `, waits for ${waits.join(', ')}`
  return `${phase} slot ${slot ?? '?'} (${reason ?? '?'}) for ${age(seconds)}${on}${queued}; ${done}`
}

/** "2 on-slot (n3, n4)". Not free of control characters. */
export function awaitedWords({ why, count, names }: SealRotation['awaited'][number]): string {
  const more = count > names.length && names.length > 0 ? ', ...' : ''
  return `${count} ${why}${names.length === 0 ? '' : ` (${names.join(', ')}${more})`}`
}

import { prepareBase, prepareCheckout, prepareKernel } from '../../test/vm/image.ts'
import { runGuest } from '../../test/vm/machine.ts'
import { parseLine } from '../../test/vm/protocol.ts'
import { prepareScale, SCALE_ENTRY } from '../../test/vm/scale-image.ts'
import type { Context } from '../context.ts'
import { readRows, RESULTS, row } from '../rows.ts'
import type { Row, Series } from '../rows.ts'

/** Oldest and newest that are supported, each with few and with many peers in a guest of its own. */
const KERNELS = ['6.12', '6.1']
const LOADS = [
  { peers: 1000, rounds: 3 },
  { peers: 5000, rounds: 2 },
]
/** Of one guest. Emulated, on a machine that does other things too. */
const TIMEOUT_SECONDS = 1800
const MEMORY_MIB = 3072
const OWN = 'sekisho'

/**
 * What the seal costs with many peers, in turn with wireguard-tools and iproute2 on equal devices and tables. WireGuard of the
 * kernel runs in guests under emulation only, so times are many times those of a machine: the ratios count. A guest takes
 * minutes: SEAL_GUESTS=6.12/1000,6.1/5000 takes some of them, and leaves the rows of the others as they were.
 */
export async function seal({ field }: Context): Promise<Row[]> {
  const wanted = process.env['SEAL_GUESTS']?.split(',')
  const parts = [prepareBase(), await prepareCheckout(), await prepareScale()]
  const rows: Row[] = []
  for (const line of KERNELS) {
    for (const { peers, rounds } of LOADS) {
      const end = `, ${peers.toLocaleString('en')} peers, Linux ${line}`
      if (wanted?.includes(`${line}/${peers}`) === false) {
        rows.push(...readRows(RESULTS, 'seal').filter(({ figure }) => figure.endsWith(end)))
        continue
      }
      const errors: string[] = []
      const run = await runGuest(prepareKernel(line), parts, {
        entry: SCALE_ENTRY,
        timeoutSeconds: TIMEOUT_SECONDS,
        memory: MEMORY_MIB,
        environment: { SCALE_SIZES: String(peers), SCALE_ROUNDS: String(rounds) },
        onLine(text) {
          field.progress.step(`Linux ${line}: ${text}`)
          if (parseLine(text).kind === 'other') errors.push(text)
        },
      })
      const failed = run.results.find(({ ok }) => !ok)
      if (run.broken !== undefined || failed !== undefined || run.results.length !== 1) {
        throw new Error(`Linux ${line}: ${failed?.error ?? run.broken ?? ''}\n${errors.slice(-20).join('\n')}`)
      }
      for (const { figures } of run.results) rows.push(...rowsOf(figures ?? {}, line))
    }
  }
  return rows
}

/** Figures are named `figure|unit|subject|round`. */
function rowsOf(figures: Readonly<Record<string, number>>, line: string): Row[] {
  const found = new Map<string, { unit: string; series: Map<string, number[]> }>()
  for (const [name, value] of Object.entries(figures)) {
    const [figure = '', unit = '', subject = ''] = name.split('|')
    const entry = found.get(figure) ?? { unit, series: new Map<string, number[]>() }
    found.set(figure, entry)
    entry.series.set(subject, [...(entry.series.get(subject) ?? []), value])
  }
  return [...found].map(([figure, { unit, series }]) => {
    const all = [...series].map(([subject, values]): Series => ({ subject, values }))
    const own = all.find(({ subject }) => subject === OWN) ?? all[0]
    if (own === undefined) throw new Error(`${figure}: no values`)
    const peer = all.find((one) => one !== own)
    return row(`${figure}, Linux ${line}`, unit, own, peer)
  })
}

import { parseDuration } from '../config/units.ts'
import { REQUEST_HEADER } from '../http/forgery.ts'
import type { SealReport } from '../http/wg-ports.ts'
import { tellUnreachable } from './api.ts'
import { EXIT, UsageError, type CliIo } from './io.ts'
import { parseOptions } from './options.ts'
import { printable } from './style.ts'
import { asJson, askSeal, openSeal, tellProblem, wgOptions } from './wg-api.ts'
import { awaitedWords } from './wg-status.ts'

const options = {
  ...wgOptions,
  compromised: { type: 'boolean' },
  'no-wait': { type: 'boolean' },
  timeout: { type: 'string', short: 't', default: '10m' },
} as const

const POST_MS = 5000
const POLL_MS = 500
/** Lines that do not change are told again after this where there is no terminal, ms. */
const REPEAT_MS = 10_000

/** `sekisho wg rotate`: 0 when the new keys are in use (with --no-wait: when the agent took it on), 1 when not in time. */
export async function wgRotate(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseOptions(args, options)
  if (positionals.length > 0) throw new UsageError(`unexpected argument ${positionals[0]}`)
  const timeoutMs = parseDuration(values.timeout)
  if (timeoutMs === undefined) throw new UsageError(`"${values.timeout}" is no duration`, 'as in 30s, 10m')
  const base = await openSeal(io, values)
  if (typeof base === 'number') return base
  const before = await askSeal<SealReport>(io, base, '/v1/wg')
  if (typeof before === 'number') return before
  const compromised = values.compromised === true
  const refused = await order(io, base, compromised)
  if (refused !== undefined) return refused
  const json = values.output === 'json'
  if (values['no-wait'] === true) {
    io.out(
      json ? asJson({ accepted: true, compromised }) : 'the agent rotates; sekisho wg status shows how far it is\n',
    )
    return EXIT.ok
  }
  return follow(io, base, before, { slots: compromised ? before.slots.length : 1, timeoutMs, json })
}

async function order(io: CliIo, base: string, compromised: boolean): Promise<number | undefined> {
  try {
    const headers = { [REQUEST_HEADER]: '1' }
    const { status, body } = await io.post(`${base}/v1/wg/rotate`, JSON.stringify({ compromised }), headers, POST_MS)
    if (status === 202) return undefined
    tellProblem(io, JSON.parse(body))
    return EXIT.failed
  } catch (error) {
    tellUnreachable(io, base, error)
    return EXIT.unavailable
  }
}

interface Wanted {
  /** How many slots must have a new key. */
  readonly slots: number
  readonly timeoutMs: number
  readonly json: boolean
}

/** Looks until the keys are new and nothing is left to do. An agent that starts again meanwhile goes on where it was. */
async function follow(io: CliIo, base: string, before: SealReport, wanted: Wanted): Promise<number> {
  const progress = wanted.json ? { show: () => {}, end: () => {} } : createProgress(io)
  const start = io.monotonicMs()
  const generation = new Map(before.slots.map((slot) => [slot.slot, slot.generation]))
  let last = before
  for (;;) {
    const report = await read(io, base)
    const elapsed = io.monotonicMs() - start
    if (report === undefined) progress.show('the agent does not answer')
    else {
      last = report
      const renewed = report.slots.filter((slot) => slot.generation > (generation.get(slot.slot) ?? -1))
      const idle = report.rotation.phase === 'idle' && report.rotation.queue.length === 0
      if (idle && renewed.length >= wanted.slots) {
        progress.end()
        const slots = renewed.map(({ slot }) => slot)
        const words = renewed.map(({ slot, generation: now }) => `slot ${slot} has key generation ${now}`).join(', ')
        io.out(
          wanted.json
            ? asJson({ done: true, slots, seconds: elapsed / 1000, rotation: report.rotation })
            : `done in ${(elapsed / 1000).toFixed(1)} s: ${words}\n`,
        )
        return EXIT.ok
      }
      progress.show(progressWords(report))
    }
    if (elapsed >= wanted.timeoutMs) break
    await io.sleep(Math.min(POLL_MS, wanted.timeoutMs - elapsed))
  }
  progress.end()
  if (wanted.json) io.out(asJson({ done: false, seconds: wanted.timeoutMs / 1000, rotation: last.rotation }))
  io.err(`sekisho: not done in ${wanted.timeoutMs / 1000} s: ${progressWords(last)}; the agent goes on with it\n`)
  return EXIT.failed
}

async function read(io: CliIo, base: string): Promise<SealReport | undefined> {
  try {
    const { status, body } = await io.get(`${base}/v1/wg`, POST_MS)
    return status === 200 ? (JSON.parse(body) as SealReport) : undefined
  } catch {
    return undefined
  }
}

/** "draining slot 1: 3/5 drained, 5/5 proven; awaits 2 on-slot (n3, n4)". */
export function progressWords({ rotation, peers, slots }: SealReport): string {
  const { phase, slot, awaited, queue } = rotation
  if (phase === 'idle' || slot === undefined)
    return queue.length > 0 ? 'the rotation is queued' : 'the rotation is asked for'
  const count = (why: string): number => awaited.find((one) => one.why === why)?.count ?? 0
  const drained = Math.max(0, peers.expected - Math.max(count('on-slot'), count('unheard')))
  const proven = slots.find((one) => one.slot === slot)?.proven ?? 0
  const figures =
    {
      waiting: [],
      draining: [`${drained}/${peers.expected} drained`],
      rekeying: ['all drained'],
      settling: [`${proven}/${peers.expected} proven`],
    }[phase] ?? []
  const waits = awaited.filter((one) => one.count > 0).map(awaitedWords)
  const tail = waits.length === 0 ? '' : `awaits ${waits.join(', ')}`
  const rest = [figures.join(', '), tail].filter((part) => part !== '').join('; ')
  return printable(`${phase} slot ${slot}${rest === '' ? '' : `: ${rest}`}`)
}

interface Progress {
  show(text: string): void
  end(): void
}

/** One line that changes on a terminal; elsewhere a line for each change. */
function createProgress(io: CliIo): Progress {
  const { columns } = io
  let shown = ''
  let shownAt = -Infinity
  return {
    show(text) {
      const now = io.monotonicMs()
      if (columns !== undefined) io.out(`\r\x1b[K${text.slice(0, Math.max(1, columns - 1))}`)
      else if (text !== shown || now - shownAt >= REPEAT_MS) {
        io.out(`${text}\n`)
        shownAt = now
      }
      shown = text
    },
    end() {
      if (columns !== undefined && shown !== '') io.out('\r\x1b[K')
    },
  }
}

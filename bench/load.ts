import { join } from 'node:path'
import { must } from '../lab/run.ts'
import { podAddress, podInterface } from './ground.ts'
import type { Ground, Side } from './ground.ts'

/** Microseconds. */
export interface Latency {
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

/** What bench/tools/load.c prints. */
export interface LoadReport {
  readonly sent: number
  readonly answered: number
  readonly lost: number
  readonly unsent: number
  readonly stray: number
  readonly badQuestion: number
  readonly badRcode: number
  readonly badAddress: number
  readonly sendErrors: number
  readonly sockets: number
  readonly seconds: number
  readonly rate: number
  readonly cpuUs: number
  readonly lateMaxUs: number
  readonly latency: Latency
  readonly wait: Latency
}

/** `rate` in queries a second, or `window` in flight as fast as it goes. */
export interface Load {
  readonly label: string
  readonly rate?: number
  readonly window?: number
  readonly seconds: number
  readonly count?: number
}

export const program = (name: 'load' | 'upstream'): string => join(import.meta.dirname, '../build/bench', name)

/** Lines "ADDRESS DEVICE" of the pods of a side, as the load generator reads them. */
export const sourceLines = (g: Ground, side: Side): string =>
  Array.from({ length: g.pods }, (_, i) => `${podAddress(side, i)} ${podInterface(i)}\n`).join('')

export interface Target {
  readonly side: Side
  readonly server: string
}

/** Runs one load to its end. Throws when the generator fails, not when queries do: the report tells. */
export async function runLoad(
  g: Ground,
  target: Target,
  files: { readonly names: string; readonly sources: string },
  load: Load,
): Promise<LoadReport> {
  const pace = load.rate === undefined ? ['--window', String(load.window ?? 1)] : ['--rate', String(load.rate)]
  const bound = load.count === undefined ? [] : ['--count', String(load.count)]
  const text = await must(
    g.inside(target.side, [
      program('load'),
      ...['--server', `${target.server}:53`, '--names', files.names, '--sources', files.sources],
      ...[...pace, ...bound, '--seconds', String(load.seconds)],
    ]),
    { timeoutMs: load.seconds * 1000 + 20_000 },
  )
  return JSON.parse(text) as LoadReport
}

/** Queries that did not come back right, whatever the reason. */
export const failures = (r: LoadReport): number => r.lost + r.badQuestion + r.badRcode + r.badAddress + r.unsent

/** What went wrong, in words, or nothing. */
export function failureText(r: LoadReport): string | undefined {
  const kinds = ['lost', 'unsent', 'stray', 'badQuestion', 'badRcode', 'badAddress', 'sendErrors'] as const
  const found = kinds.filter((kind) => r[kind] > 0).map((kind) => `${r[kind]} ${kind}`)
  return found.length === 0 ? undefined : `${found.join(', ')} of ${r.sent}`
}

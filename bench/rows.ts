import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** One line of a result file: what was measured of whom, and of the peer in the same run. */
export interface Row {
  readonly figure: string
  readonly subject: string
  /** Median of the rounds. */
  readonly value: number
  readonly unit: string
  readonly peer: string | null
  readonly peerValue: number | null
  /** value / peerValue. */
  readonly ratio: number | null
  readonly rounds: number
  /** Least and greatest of the rounds. */
  readonly spread: readonly [number, number]
}

export const RESULTS = join(import.meta.dirname, 'results')

/** Three or four significant digits: what the noise leaves. */
export function round(value: number): number {
  const magnitude = Math.abs(value)
  const factor = magnitude >= 1000 ? 1 : magnitude >= 100 ? 10 : magnitude >= 1 ? 100 : 10_000
  return Math.round(value * factor) / factor
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle]
  const lower = sorted[sorted.length - 1 - middle]
  if (upper === undefined || lower === undefined) throw new Error('no values')
  return (upper + lower) / 2
}

export interface Series {
  readonly subject: string
  readonly values: readonly number[]
}

/** A row from the rounds of a subject and, where there is one, of its peer. */
export function row(figure: string, unit: string, own: Series, peer?: Series): Row {
  const value = round(median(own.values))
  const peerValue = peer === undefined ? null : round(median(peer.values))
  return {
    figure,
    subject: own.subject,
    value,
    unit,
    peer: peer?.subject ?? null,
    peerValue,
    ratio: peerValue === null || peerValue === 0 ? null : round(value / peerValue),
    rounds: own.values.length,
    spread: [round(Math.min(...own.values)), round(Math.max(...own.values))],
  }
}

export function writeRows(directory: string, name: string, rows: readonly Row[]): void {
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, `${name}.json`), `[\n${rows.map((r) => `  ${JSON.stringify(r)}`).join(',\n')}\n]\n`)
}

export const readRows = (directory: string, name: string): readonly Row[] =>
  JSON.parse(readFileSync(join(directory, `${name}.json`), 'utf8')) as Row[]

export const resultNames = (directory: string): string[] =>
  readdirSync(directory)
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.slice(0, -5))
    .sort()

const MILLISECONDS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }
const OCTETS: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 }

export const DURATION_FORM = 'a whole number and a unit: 500ms, 10s, 5m, 2h'
export const SIZE_FORM = 'a whole number and a unit: 512B, 64KiB, 4MiB, 1GiB'

/** "5m" to 300000. Undefined when the text is no duration. */
export const parseDuration = (text: string): number | undefined => parseWith(MILLISECONDS, text)

/** "4MiB" to 4194304. Undefined when the text is no size. */
export const parseSize = (text: string): number | undefined => parseWith(OCTETS, text)

/** The shortest text that reads back as `ms`. */
export const formatDuration = (ms: number): string => (ms === 0 ? '0s' : formatWith(MILLISECONDS, ms))

export const formatSize = (octets: number): string => formatWith(OCTETS, octets)

function parseWith(units: Readonly<Record<string, number>>, text: string): number | undefined {
  const match = /^([0-9]{1,15})([A-Za-z]+)$/.exec(text)
  const unit = units[match?.[2] ?? '']
  if (match === null || unit === undefined) return undefined
  const value = Number(match[1]) * unit
  return Number.isSafeInteger(value) ? value : undefined
}

function formatWith(units: Readonly<Record<string, number>>, value: number): string {
  const [unit, factor] = Object.entries(units).findLast(([, size]) => value % size === 0) ?? ['', 1]
  return `${value / factor}${unit}`
}

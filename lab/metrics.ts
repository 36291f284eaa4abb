/** One sample of the Prometheus text format. */
export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

const LINE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)(?: -?\d+)?$/
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)/gy

/** Reads an exposition; throws at the first line that is not of the format, so that a test sees it. */
export function parseMetrics(text: string): Sample[] {
  const samples: Sample[] = []
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    const [, name, labelText, value] = LINE.exec(line) ?? []
    if (name === undefined || value === undefined) throw new Error(`not a sample: ${line}`)
    samples.push({ name, labels: parseLabels(labelText ?? '', line), value: parseValue(value, line) })
  }
  return samples
}

function parseLabels(text: string, line: string): Record<string, string> {
  const labels: Record<string, string> = {}
  LABEL.lastIndex = 0
  let end = 0
  for (let m = LABEL.exec(text); m !== null; m = LABEL.exec(text)) {
    labels[m[1] ?? ''] = (m[2] ?? '').replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c))
    end = LABEL.lastIndex
  }
  if (end !== text.length) throw new Error(`bad labels: ${line}`)
  return labels
}

function parseValue(text: string, line: string): number {
  // Go's ParseFloat, which reads it, does not mind the case; prom-client writes "Nan".
  const lower = text.toLowerCase()
  const value = { '+inf': Infinity, '-inf': -Infinity, nan: NaN }[lower] ?? Number(text)
  if (Number.isNaN(value) && lower !== 'nan') throw new Error(`bad value: ${line}`)
  return value
}

/** A reading of /metrics. */
export class Metrics {
  readonly samples: readonly Sample[]

  constructor(samples: readonly Sample[]) {
    this.samples = samples
  }

  /** Sum of the samples of this name whose labels include these; a label value may be a pattern. Throws for a name that does not exist. */
  sum(name: string, labels: Readonly<Record<string, string | RegExp>> = {}): number {
    const named = this.samples.filter((sample) => sample.name === name)
    if (named.length === 0) throw new Error(`no metric ${name}`)
    return named
      .filter((sample) =>
        Object.entries(labels).every(([key, want]) => {
          const have = sample.labels[key]
          return typeof want === 'string' ? have === want : have !== undefined && want.test(have)
        }),
      )
      .reduce((sum, sample) => sum + sample.value, 0)
  }
}

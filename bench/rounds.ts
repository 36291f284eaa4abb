import { costOf } from './process-cost.ts'
import { failureText, runLoad } from './load.ts'
import type { Load, LoadReport } from './load.ts'
import type { Ground } from './ground.ts'
import type { Progress } from './progress.ts'
import type { Subject } from './subjects.ts'
import type { Series } from './rows.ts'

/** One load on one subject, and what it cost. Microseconds of CPU for each answered query. */
export interface Sample {
  readonly report: LoadReport
  readonly subjectUs: number
  readonly upstreamUs: number
  readonly clientUs: number
  readonly switches: number
}

/** What a subject is asked in a scenario; `label` tells two targets of one subject apart. */
export interface Contender {
  readonly label: string
  readonly subject: Subject
  readonly files: { readonly names: string; readonly sources: string }
}

export interface Field {
  readonly ground: Ground
  readonly upstream: Subject
  readonly progress: Progress
}

export async function measure(field: Field, contender: Contender, load: Load): Promise<Sample> {
  const { subject } = contender
  const before = costOf(subject.pid)
  const upstreamBefore = costOf(field.upstream.pid)
  const report = await runLoad(field.ground, subject, contender.files, load)
  const after = costOf(subject.pid)
  const upstreamAfter = costOf(field.upstream.pid)
  const trouble = failureText(report)
  if (trouble !== undefined) field.progress.scenario(`  ${contender.label}, ${load.label}: ${trouble}`)
  if (report.answered === 0) throw new Error(`${contender.label}: not one query of ${report.sent} was answered`)
  return {
    report,
    subjectUs: (after.cpuUs - before.cpuUs) / report.answered,
    upstreamUs: (upstreamAfter.cpuUs - upstreamBefore.cpuUs) / report.answered,
    clientUs: report.cpuUs / report.answered,
    switches: (after.switches - before.switches) / report.answered,
  }
}

/** Samples by contender and load, one a round. */
export class Samples {
  readonly #samples = new Map<string, Sample[]>()

  add(contender: string, load: string, sample: Sample): void {
    const key = `${contender}\n${load}`
    const list = this.#samples.get(key)
    if (list === undefined) this.#samples.set(key, [sample])
    else list.push(sample)
  }

  /** The rounds of one figure, taken out of each sample. */
  series(contender: string, load: string, take: (sample: Sample) => number): Series {
    const samples = this.#samples.get(`${contender}\n${load}`)
    if (samples === undefined) throw new Error(`no sample of ${contender} at ${load}`)
    return { subject: contender, values: samples.map(take) }
  }
}

/** Every contender under every load, `count` times, in turn: what drifts, drifts for all. The order turns with the round. */
export async function rounds(
  field: Field,
  contenders: readonly Contender[],
  loads: readonly Load[],
  count: number,
): Promise<Samples> {
  const samples = new Samples()
  for (let n = 0; n < count; n++) {
    for (const load of loads) {
      for (let i = 0; i < contenders.length; i++) {
        const contender = contenders[(i + n) % contenders.length]
        if (contender === undefined) continue
        field.progress.step(`${contender.label}, ${load.label}, round ${n + 1} of ${count}`)
        samples.add(contender.label, load.label, await measure(field, contender, load))
      }
    }
  }
  return samples
}

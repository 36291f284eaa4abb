import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { contender, standardFiles, standardPairs, subjectsOf } from '../context.ts'
import type { Context } from '../context.ts'
import { sleep } from '../../lab/run.ts'
import type { Load } from '../load.ts'
import { perfWorks, sampleProcess } from '../perf.ts'
import type { Shares } from '../perf.ts'
import { costOf } from '../process-cost.ts'
import { measure } from '../rounds.ts'
import type { Contender, Sample } from '../rounds.ts'
import { row } from '../rows.ts'
import type { Row } from '../rows.ts'
import { startAgent } from '../subjects.ts'
import { standardLoads } from './forward.ts'

/** Work that takes less of a process's time is not listed. */
const LEAST_SHARE = 0.01

export interface Profile {
  readonly rows: Row[]
  /** For people: the largest shares and symbols of each subject and load. */
  readonly text: string
}

/** Where the time goes: threads, context switches, system calls, and what perf sees. */
export async function profile(context: Context): Promise<Profile> {
  if (context.peersOnly) return lookAt(context)
  // The names of JavaScript functions reach perf through a file; that is why this agent is one of its own.
  const agent = await startAgent(context.stage, standardFiles(context.sizes), { NODE_OPTIONS: '--perf-basic-prof' })
  try {
    return await lookAt({ ...context, agent })
  } finally {
    await agent.stop()
    rmSync(`/tmp/perf-${agent.pid}.map`, { force: true })
  }
}

async function lookAt(context: Context): Promise<Profile> {
  const { sizes, field, stage } = context
  const pairs = standardPairs(sizes)
  const contenders = subjectsOf(context)
    .filter((s) => s.name !== 'direct')
    .map((s) => contender(context, s.name, s, pairs))
  for (const c of contenders)
    await measure(field, c, { label: 'warm-up', rate: 5000, seconds: 30, count: pairs.length })
  const withPerf = await perfWorks()
  const rows: Row[] = []
  const text: string[] = withPerf ? [] : ['perf does not work here: no samples.']
  for (const load of standardLoads(sizes.seconds).slice(0, sizes.slowLoads)) {
    for (const c of contenders) {
      field.progress.step(`${c.label}, ${load.label}`)
      const { sample, threads } = await byThread(context, c, load)
      const one = (figure: string, unit: string, value: number): Row =>
        row(`${figure}, ${load.label}`, unit, { subject: c.label, values: [value] })
      rows.push(one('context switches a query', 'switches', sample.switches))
      for (const [name, us] of threads) rows.push(one(`CPU a query, thread ${name}`, 'µs', us))
      for (const [name, calls] of await systemCalls(context, c, load)) rows.push(one(`${name} a query`, 'calls', calls))
      if (!withPerf) continue
      const seen = await sampled(context, c, load, join(stage.directory, 'perf.data'))
      for (const [work, share] of seen.byWork.filter(([, share]) => share >= LEAST_SHARE)) {
        rows.push(one(`share of CPU, ${work}`, '%', share * 100))
      }
      text.push(sampleText(`${c.label}, ${load.label}`, sample, seen))
    }
  }
  return { rows, text: text.join('\n') }
}

/** CPU a query of every thread that used any, most first. */
async function byThread(
  context: Context,
  c: Contender,
  load: Load,
): Promise<{ sample: Sample; threads: (readonly [string, number])[] }> {
  const before = costOf(c.subject.pid).threads
  const sample = await measure(context.field, c, load)
  const byName = new Map<string, number>()
  for (const [key, us] of costOf(c.subject.pid).threads) {
    const name = key.replace(/\/\d+$/, '')
    byName.set(name, (byName.get(name) ?? 0) + (us - (before.get(key) ?? 0)) / sample.report.answered)
  }
  const threads = [...byName].filter(([, us]) => us >= 0.05).sort((a, b) => b[1] - a[1])
  return { sample, threads }
}

/** System calls an answered query, by name. strace slows its target: numbers of calls are right, times are not. */
async function systemCalls(context: Context, c: Contender, load: Load): Promise<(readonly [string, number])[]> {
  const file = join(context.stage.directory, 'strace.txt')
  const tracer = spawn('strace', ['-c', '-f', '-q', '-U', 'calls,name', '-p', String(c.subject.pid), '-o', file], {
    stdio: 'ignore',
  })
  const ended = once(tracer, 'exit')
  await Promise.race([sleep(500), ended])
  if (tracer.exitCode !== null) throw new Error(`strace does not attach to ${c.label}`)
  const calm: Load = load.rate === undefined ? { label: load.label, window: 128, seconds: load.seconds } : load
  const sample = await measure(context.field, c, { ...calm, seconds: Math.min(2, load.seconds) })
  tracer.kill('SIGINT')
  await ended
  return [...readFileSync(file, 'utf8').matchAll(/^\s*(\d+)\s+(\w+)$/gm)]
    .filter((m) => m[2] !== 'total')
    .map((m) => [m[2] ?? '', Number(m[1]) / sample.report.answered] as const)
    .filter(([, calls]) => calls >= 0.02)
    .sort((a, b) => b[1] - a[1])
}

async function sampled(context: Context, c: Contender, load: Load, file: string): Promise<Shares> {
  const work = measure(context.field, c, { ...load, seconds: load.seconds + 1 })
  await sleep(300)
  const [seen] = await Promise.all([sampleProcess(c.subject.pid, load.seconds, file), work])
  return seen
}

const percent = (share: number): string => `${(share * 100).toFixed(1).padStart(6)} %`

function sampleText(title: string, sample: Sample, { samples, byWork, bySymbol }: Shares): string {
  return [
    `${title}: ${sample.subjectUs.toFixed(1)} µs a query, ${sample.report.rate.toFixed(0)} queries/s, ${samples} samples`,
    ...byWork.filter(([, share]) => share >= LEAST_SHARE).map(([work, share]) => `${percent(share)}  ${work}`),
    '  by symbol:',
    ...bySymbol.slice(0, 20).map(([symbol, share]) => `${percent(share)}  ${symbol}`),
    '',
  ].join('\n')
}

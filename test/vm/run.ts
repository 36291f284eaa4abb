/**
 * `node test/vm/run.ts [kernel...]`: boots each kernel line and runs the guest's tests. VM_JSON=file writes the summary,
 * VM_REPORT=file the steps for tools/summary.ts; VM_VERBOSE=1 shows the console, TESTS=text runs the tests whose
 * name has it, VM_LONG=1 also those that take long, in several boots: VM_GROUPS=kills,both takes some of them.
 */
import { writeFileSync } from 'node:fs'
import { type Group, groupsOf, missedParts } from './groups.ts'
import { GUEST, type Kernel, META_PACKAGES, prepareBase, prepareCheckout, prepareKernel } from './image.ts'
import { prepareLab } from './lab-image.ts'
import { type GuestRun, runGuest } from './machine.ts'
import { parseLine } from './protocol.ts'

const lines = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(META_PACKAGES)
const verbose = process.env['VM_VERBOSE'] === '1'
const filter = process.env['TESTS'] ?? ''
const long = process.env['VM_LONG'] === '1'
const groups = groupsOf(long, filter, process.env['VM_GROUPS'] ?? '')
const parts = [prepareBase(), await prepareCheckout()]
const isBoth = ({ tests }: Group): boolean => tests.startsWith('T-BOTH')
const lab = groups.some(isBoth) ? [await prepareLab([])] : []
const runs: (GuestRun & { readonly group?: string })[] = []
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

async function boot(kernel: Kernel, group: Group): Promise<GuestRun> {
  const { tests } = group
  return runGuest(kernel, isBoth(group) ? [...parts, ...lab] : parts, {
    entry: GUEST,
    timeoutSeconds: Number(process.env['VM_TIMEOUT'] ?? (long ? 900 : 300)),
    environment: { LAB_SLOW: '10', ...(tests === '' ? {} : { TESTS: tests }), ...(long ? { VM_LONG: '1' } : {}) },
    onLine(text) {
      const found = parseLine(text)
      if (found.kind === 'result') {
        const { name, ok, milliseconds, error, figures } = found.result
        console.log(
          `  ${ok ? 'ok  ' : 'FAIL'} ${name} (${milliseconds} ms)${figures ? ` ${JSON.stringify(figures)}` : ''}`,
        )
        if (error !== undefined) console.log(error.replaceAll(/^/gm, '       '))
      } else if (verbose) console.log(`  | ${text}`)
    },
  })
}

/** Boots again when the guest never came to run a test, and says what was asked for and did not run. */
async function runGroup(kernel: Kernel, group: Group): Promise<GuestRun> {
  let one = await boot(kernel, group)
  // Seen once: the emulator stumbles over code that the kernel changes while it starts its second processor (Oops: int3).
  if (Number.isNaN(one.bootSeconds)) {
    console.log(`  not booted: ${one.broken}; once more`)
    one = await boot(kernel, group)
  }
  const missed = missedParts(
    group.tests,
    one.results.map(({ name }) => name),
  )
  const nothing = missed.length > 0 ? `no test ran of: ${missed.join(', ')}` : undefined
  return { ...one, broken: one.broken ?? nothing }
}

for (const line of lines) {
  const kernel = prepareKernel(line)
  const before = runs.length
  for (const group of groups) {
    console.log(`kernel ${kernel.version}${group.name === '' ? '' : `, ${group.name}`}`)
    const one = await runGroup(kernel, group)
    if (one.broken !== undefined) console.log(`  FAIL ${one.broken}`)
    const { bootSeconds, seconds, cpuSeconds } = one
    console.log(
      `  booted in ${bootSeconds.toFixed(1)} s, all in ${seconds.toFixed(1)} s (${cpuSeconds} s of processors)`,
    )
    runs.push(group.name === '' ? one : { group: group.name, ...one })
  }
  const mine = runs.slice(before)
  const seconds = mine.reduce((sum, one) => sum + one.seconds, 0)
  if (mine.length > 1) console.log(`kernel ${kernel.version}: ${mine.length} boots, ${seconds.toFixed(0)} s`)
}

const all = runs.flatMap(({ results }) => results)
const failures = all.filter(({ ok }) => !ok).length + runs.filter(({ broken }) => broken !== undefined).length
console.log(`${all.filter(({ ok }) => ok).length} passed, ${failures} failed`)
const file = process.env['VM_JSON']
if (file !== undefined) writeFileSync(file, `${JSON.stringify(runs, null, 2)}\n`)
const report = process.env['VM_REPORT']
if (report !== undefined) {
  const steps = runs.flatMap(({ kernel, group, results, broken }) => {
    const where = group === undefined ? kernel : `${kernel}, ${group}`
    return [
      ...results.map(({ name, ok }) => ({ step: `${where}: ${name}`, ok })),
      ...(broken === undefined ? [] : [{ step: `${where}: ${broken}`, ok: false }]),
    ]
  })
  writeFileSync(report, JSON.stringify(steps))
}
// Nothing run is no success.
process.exitCode = failures > 0 || all.length === 0 ? 1 : 0

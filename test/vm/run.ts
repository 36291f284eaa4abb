/**
 * `node test/vm/run.ts [kernel...]`: boots each kernel line and runs the guest's tests. VM_JSON=file writes the summary,
 * VM_REPORT=file the steps for tools/summary.ts; VM_VERBOSE=1 shows the console, TESTS=text runs the tests whose
 * name has it, VM_LONG=1 also those that take long.
 */
import { writeFileSync } from 'node:fs'
import { GUEST, type Kernel, META_PACKAGES, prepareBase, prepareCheckout, prepareKernel } from './image.ts'
import { prepareLab } from './lab-image.ts'
import { type GuestRun, runGuest } from './machine.ts'
import { parseLine } from './protocol.ts'

const lines = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(META_PACKAGES)
const verbose = process.env['VM_VERBOSE'] === '1'
const filter = process.env['TESTS'] ?? ''
const long = process.env['VM_LONG'] === '1'
const parts = [prepareBase(), await prepareCheckout()]
if (long || filter.startsWith('T-BOTH')) parts.push(await prepareLab([]))
const runs: GuestRun[] = []
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

async function boot(kernel: Kernel): Promise<GuestRun> {
  return runGuest(kernel, parts, {
    entry: GUEST,
    timeoutSeconds: Number(process.env['VM_TIMEOUT'] ?? (long ? 3600 : 300)),
    environment: { LAB_SLOW: '10', ...(filter === '' ? {} : { TESTS: filter }), ...(long ? { VM_LONG: '1' } : {}) },
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

for (const line of lines) {
  const kernel = prepareKernel(line)
  console.log(`kernel ${kernel.version}`)
  let one = await boot(kernel)
  // Seen once: the emulator stumbles over code that the kernel changes while it starts its second processor (Oops: int3).
  if (Number.isNaN(one.bootSeconds)) {
    console.log(`  not booted: ${one.broken}; once more`)
    one = await boot(kernel)
  }
  if (one.broken !== undefined) console.log(`  FAIL ${one.broken}`)
  const { bootSeconds, seconds, cpuSeconds } = one
  console.log(`  booted in ${bootSeconds.toFixed(1)} s, all in ${seconds.toFixed(1)} s (${cpuSeconds} s of processors)`)
  runs.push(one)
}

const all = runs.flatMap(({ results }) => results)
const failures = all.filter(({ ok }) => !ok).length + runs.filter(({ broken }) => broken !== undefined).length
console.log(`${all.filter(({ ok }) => ok).length} passed, ${failures} failed`)
const file = process.env['VM_JSON']
if (file !== undefined) writeFileSync(file, `${JSON.stringify(runs, null, 2)}\n`)
const report = process.env['VM_REPORT']
if (report !== undefined) {
  const steps = runs.flatMap(({ kernel, results, broken }) => [
    ...results.map(({ name, ok }) => ({ step: `${kernel}: ${name}`, ok })),
    ...(broken === undefined ? [] : [{ step: `${kernel}: ${broken}`, ok: false }]),
  ])
  writeFileSync(report, JSON.stringify(steps))
}
// Nothing run is no success.
process.exitCode = failures > 0 || all.length === 0 ? 1 : 0

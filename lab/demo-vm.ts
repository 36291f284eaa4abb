/**
 * `node lab/demo-vm.ts [KERNEL]` (make demo-vm): the part of the demo that needs two nodes, in QEMU on a kernel of Debian, with
 * the WireGuard of that kernel. DEMO_JSON as in demo.ts; VM_VERBOSE=1 shows the whole console.
 */
import { writeFileSync } from 'node:fs'
import { prepareBase, prepareCheckout, prepareKernel } from '../test/vm/image.ts'
import { prepareLab } from '../test/vm/lab-image.ts'
import { runGuest } from '../test/vm/machine.ts'

const JSON_LINE = '@@DEMO '
const kernel = prepareKernel(process.argv[2] ?? '6.12')
const parts = [prepareBase(), await prepareCheckout(), await prepareLab(['lab/demo.ts'])]
const verbose = process.env['VM_VERBOSE'] === '1'
/** What the machine itself says before and after is left out. */
let plays = false
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))

console.log(`Debian's kernel ${kernel.version} in QEMU, emulated: everything takes some twenty times as long`)
const guest = await runGuest(kernel, parts, {
  entry: 'build/vm/demo.mjs',
  timeoutSeconds: Number(process.env['VM_TIMEOUT'] ?? 900),
  environment: { DEMO_PART: 'seal', DEMO_JSON: '-', LAB_SLOW: '10', NO_COLOR: '1' },
  onLine(text) {
    if (text.startsWith(JSON_LINE)) {
      const file = process.env['DEMO_JSON']
      const lines: unknown = JSON.parse(text.slice(JSON_LINE.length))
      if (file !== undefined && file !== '') writeFileSync(file, JSON.stringify(lines, null, 2) + '\n')
    } else if ((plays && !text.startsWith('@@')) || verbose) console.log(text)
    if (text.startsWith('@@BOOT ')) plays = true
    else if (text.startsWith('@@END ')) plays = false
  },
})
if (guest.broken !== undefined) console.log(`demo-vm: ${guest.broken}`)
console.log(`booted in ${guest.bootSeconds.toFixed(1)} s, all in ${guest.seconds.toFixed(1)} s`)
process.exitCode = guest.broken === undefined ? 0 : 1

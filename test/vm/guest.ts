/** Runs within the guest: what needs WireGuard of the kernel, and what depends on the kernel's age. */
import { testControl } from './control.ts'
import { testDriver } from './driver.ts'
import { filter, finish, LONG, settled, wanted } from './harness.ts'
import { testPump } from './pump.ts'
import { testSeal } from './seal.ts'

const seal = wanted('T-') || (filter.startsWith('T-') && !filter.startsWith('T-BOTH'))
// Each in namespaces of its own. The last two wait more than they work, while agents start.
await Promise.all([
  seal ? testSeal() : undefined,
  wanted('kernel driver:', 'T-KEYMEM:') ? testDriver() : undefined,
  testControl(),
])
await settled()
await testPump()
// Its clients and servers are in the image only when it is asked for (run.ts), and it takes minutes.
if (LONG || filter.startsWith('T-BOTH')) await (await import('./both.ts')).testBoth()
finish()

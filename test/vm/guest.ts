/** Runs within the guest: what needs WireGuard of the kernel, and what depends on the kernel's age. */
import { testControl } from './control.ts'
import { testDriver } from './driver.ts'
import { filter, finish, LONG, wanted } from './harness.ts'
import { testPump } from './pump.ts'
import { testSeal } from './seal.ts'

await testControl()
if (wanted('kernel driver:', 'T-KEYMEM:')) await testDriver()
if (wanted('T-') || (filter.startsWith('T-') && !filter.startsWith('T-BOTH'))) await testSeal()
await testPump()
// Its clients and servers are in the image only when it is asked for (run.ts), and it takes minutes.
if (LONG || filter.startsWith('T-BOTH')) await (await import('./both.ts')).testBoth()
finish()

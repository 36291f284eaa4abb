/** Runs within the guest: what needs WireGuard of the kernel, and what depends on the kernel's age. */
import { testControl } from './control.ts'
import { testDriver } from './driver.ts'
import { filter, finish, wanted } from './harness.ts'
import { testPump } from './pump.ts'
import { testSeal } from './seal.ts'

await testControl()
if (wanted('kernel driver:', 'T-KEYMEM:')) await testDriver()
if (wanted('T-') || filter.startsWith('T-')) await testSeal()
await testPump()
finish()

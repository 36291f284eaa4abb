/** Runs within the guest: what needs WireGuard of the kernel, and what depends on the kernel's age. */
import { testControl } from './control.ts'
import { testDriver } from './driver.ts'
import { finish, wanted } from './harness.ts'
import { testPump } from './pump.ts'
import { testSeal } from './seal.ts'

await testControl()
if (wanted('kernel driver:', 'T-KEYMEM:')) await testDriver()
if (wanted('T-ENABLE', 'T-ROTATE', 'T-DISABLE', 'T-HEAL', 'T-KEYMEM of the agents', 'T-KEYDISK')) await testSeal()
await testPump()
finish()

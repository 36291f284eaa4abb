/** Runs within the guest: what needs WireGuard of the kernel. */
import { testControl } from './control.ts'
import { testDriver } from './driver.ts'
import { finish } from './harness.ts'

await testControl()
await testDriver()
finish()

/** A driver of WireGuard in a namespace: runs the compliance cases, and is the process whose memory is searched. */
import { loadNative } from '../../../src/native/load.ts'
import { KernelWgDriver } from '../../../src/wg/drivers/kernel.ts'
import { UapiWgDriver } from '../../../src/wg/drivers/uapi.ts'
import { CASES } from '../../compliance/wg-driver.ts'
import { serve } from '../datapath/in-namespace.ts'

const native = loadNative()
const prefix = process.env['SEKISHO_TEST_PREFIX'] ?? 'skt'
const driver = process.env['SEKISHO_TEST_DRIVER'] === 'kernel' ? new KernelWgDriver(native) : new UapiWgDriver(native)
const OPTIONS = { listenPort: 51871, fwmark: 0x1e00, mtu: 1408 }

serve({
  async run(name: string) {
    const found = CASES.find((one) => one.name === name)
    if (found === undefined) throw new Error(`no case ${name}`)
    await found.run({ driver, prefix })
  },
  features: () => driver.features(),
  pid: () => process.pid,
  create: (name: string) => driver.create(name, OPTIONS),
  delete: (name: string) => driver.delete(name),
  rotate: (name: string) => driver.rotateKey(name),
  async readOften(name: string, times: number) {
    for (let i = 0; i < times; i++) await driver.read(name)
  },
})

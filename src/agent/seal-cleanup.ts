import { linkByName } from '../netlink/netlink.ts'
import { KernelWgDriver } from '../wg/drivers/kernel.ts'
import { UapiWgDriver } from '../wg/drivers/uapi.ts'
import { cleanupEngine } from '../wg/engine.ts'
import { sealParts, type SealPartsDeps } from './seal-parts.ts'

const KINDS = ['wireguard', 'tun']

/**
 * Takes devices, routes, rules and guard of the seal off the node, and its record out of the directory. False when something
 * could not be removed; the rest was all the same. Another manager's device is never touched.
 */
export async function cleanupSeal(deps: SealPartsDeps, tell: (line: string) => void): Promise<boolean> {
  const { config, native, route } = deps
  const { devices, routing, guard, directory } = sealParts(deps)
  const standing = devices.filter((name) => KINDS.includes(linkByName(route, name)?.kind ?? ''))
  const userspace = standing.some((name) => linkByName(route, name)?.kind === 'tun')
  const driver = userspace
    ? new UapiWgDriver(native, { command: config.wireguard.command })
    : new KernelWgDriver(native)
  const published = config.wireguard.mode === 'manage' ? { directory } : {}
  try {
    await cleanupEngine(standing, { driver, routing, guard, ...published })
    tell('removed: WireGuard devices, routes and guard')
    return true
  } catch (error) {
    tell(`not everything of WireGuard could be removed: ${error instanceof Error ? error.message : String(error)}`)
    return false
  } finally {
    await driver.close()
  }
}

import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import type { Config } from '../config/schema.ts'
import { SekishoError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { Native } from '../native/binding.ts'
import { linkByName, type NetlinkConnection } from '../netlink/netlink.ts'
import { KernelWgDriver } from '../wg/drivers/kernel.ts'
import { UapiWgDriver } from '../wg/drivers/uapi.ts'
import type { WgDriver } from '../wg/ports.ts'

export interface DriverDeps {
  readonly native: Native
  readonly route: NetlinkConnection
  readonly log: Log
  /** True when the program can be run. */
  readonly runnable?: (command: string) => boolean
}

/**
 * The driver of the setting. `auto` takes the kernel's WireGuard, and where it has none the program; devices that the program
 * made before stay the program's, also when the kernel has learned it meanwhile.
 *
 * @throws SekishoError SEKISHO_WG_UNSUPPORTED
 */
export async function pickDriver(
  { wireguard: { driver: wanted, command } }: Pick<Config, 'wireguard'>,
  devices: readonly string[],
  { native, route, log, runnable = isRunnable }: DriverDeps,
): Promise<WgDriver> {
  const userspace = (why: string): WgDriver => {
    log.info({ driver: 'userspace', command, why }, 'WireGuard is that of a program')
    return new UapiWgDriver(native, { command })
  }
  if (wanted === 'userspace') return userspace('it is configured')
  if (wanted === 'auto' && devices.some((name) => linkByName(route, name)?.kind === 'tun')) {
    return userspace('it made the devices that stand')
  }
  const kernel = new KernelWgDriver(native)
  try {
    const { removeAllowedIp } = await kernel.features()
    log.info({ driver: 'kernel', removeAllowedIp }, 'WireGuard is that of the kernel')
    return kernel
  } catch (error) {
    await kernel.close()
    if (!(error instanceof SekishoError) || error.code !== 'SEKISHO_WG_UNSUPPORTED' || wanted === 'kernel') throw error
    if (runnable(command)) return userspace('the kernel has none')
    throw new SekishoError('SEKISHO_WG_UNSUPPORTED', `neither the kernel nor ${command}`, {
      hint: 'load the module `wireguard`, or install wireguard-go',
      cause: error,
    })
  }
}

function isRunnable(command: string): boolean {
  const places = command.includes('/')
    ? ['']
    : (process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin').split(delimiter)
  return places.some((place) => {
    try {
      accessSync(place === '' ? command : join(place, command), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

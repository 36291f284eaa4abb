import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** What a device counts: packets with a source outside of the allowed IPs; all received in vain; all that could not be sent. */
export const LINK_ERRORS = ['rx_frame', 'rx', 'tx'] as const
export type LinkError = (typeof LINK_ERRORS)[number]

/** Counters of a device (Documentation/ABI/testing/sysfs-class-net-statistics); undefined while there is none. */
export function readLinkErrors(device: string, root = '/sys/class/net'): Record<LinkError, number> | undefined {
  try {
    const read = (kind: LinkError): number =>
      Number(readFileSync(join(root, device, 'statistics', `${kind}_errors`), 'utf8'))
    return { rx_frame: read('rx_frame'), rx: read('rx'), tx: read('tx') }
  } catch {
    return undefined
  }
}

import { formatIp, type Ip } from '../core/ip.ts'

/** One text for one set of addresses, whatever the order. */
export const addressesKey = (addresses: readonly Ip[]): string => addresses.map(formatIp).sort().join(' ')

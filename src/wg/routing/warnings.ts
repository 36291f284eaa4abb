import type { Rule } from '../../netlink/netlink.ts'
import { LEAST_IPV6_MTU } from './mtu.ts'
import type { Sysctl } from './sysctl.ts'

/** What is known of the host, beside its settings. */
export interface Surroundings {
  readonly devices: readonly string[]
  /** Names of the devices of the outer packets. */
  readonly underlay: readonly string[]
  readonly mtu: number
  /** The largest MTU of the tunnels that fits into the underlay; undefined while that is unknown. */
  readonly fits: number | undefined
  readonly rulePriority: number
  readonly rulesBefore: readonly Rule[]
  /** Routes of others in our tables. */
  readonly foreignRoutes: ReadonlyMap<number, number>
  readonly foreignNexthops: number
}

/** Sentences for the operator, about what breaks the seal or could. Pure but for the settings read. */
export function warningsOf(sysctl: Sysctl, around: Surroundings): string[] {
  const conf = (device: string, name: string): number => Number(sysctl.read(`ipv4/conf/${device}/${name}`) ?? 0)
  /** The kernel takes the larger of the two. */
  const filter = (device: string): number => Math.max(conf('all', 'rp_filter'), conf(device, 'rp_filter'))
  const found: string[] = []

  for (const device of around.devices) {
    const effective = filter(device)
    if (effective === 1) {
      found.push(
        `rp_filter of ${device} is 1 and cannot be set to 2: packets of peers that use the other tunnel are dropped`,
      )
    }
    if (sysctl.read(`ipv6/conf/${device}/disable_ipv6`) === '1') {
      found.push(`IPv6 is disabled on ${device} (disable_ipv6): IPv6 of peers stays shut`)
    }
  }
  for (const device of around.underlay) {
    if (filter(device) !== 1) continue
    found.push(
      `rp_filter of ${device} is 1 in effect: clear text of peers that are half way into encryption is dropped; set ` +
        `net.ipv4.conf.all.rp_filter and net.ipv4.conf.${device}.rp_filter to 0 or 2`,
    )
  }
  for (const device of ['all', ...around.devices, ...around.underlay]) {
    if (conf(device, 'src_valid_mark') === 0) continue
    found.push(
      `net.ipv4.conf.${device}.src_valid_mark is 1 (wg-quick sets it): marked packets are checked against the wrong ` +
        'table and dropped; set it to 0',
    )
  }
  if (sysctl.read('ipv4/ip_forward') === '0') found.push('net.ipv4.ip_forward is 0: IPv4 of pods is not forwarded')
  if (sysctl.read('ipv6/conf/all/forwarding') === '0') {
    found.push('net.ipv6.conf.all.forwarding is 0: IPv6 of pods is not forwarded')
  }
  if (around.mtu < LEAST_IPV6_MTU) {
    found.push(`the MTU of the tunnels would be ${around.mtu}, below the ${LEAST_IPV6_MTU} that IPv6 needs`)
  }
  if (around.fits !== undefined && around.mtu > around.fits) {
    found.push(
      `wireguard.mtu is ${around.mtu}, and ${around.fits} fits into the underlay: full packets are split on their way, or ` +
        'lost; set it to 0',
    )
  }
  if (around.underlay.length === 0) {
    found.push('no device of the underlay was found: the MTU of the tunnels is a guess; set wireguard.mtu')
  }
  for (const rule of around.rulesBefore) {
    found.push(
      `an IPv${rule.family} rule of priority ${rule.priority} (lookup ${rule.table}) is asked before ours ` +
        `(${around.rulePriority}) and may take packets of peers`,
    )
  }
  for (const [table, count] of around.foreignRoutes) {
    found.push(`routing table ${table} has ${count} routes that are not ours: choose another table`)
  }
  if (around.foreignNexthops > 0) {
    found.push(`${around.foreignNexthops} nexthop objects in our range are not ours: choose another nexthopBase`)
  }
  return found
}

import { type Cidr, equalIp } from '../../core/ip.ts'
import { type MarkRule, type Rule, RT_TABLE_LOCAL, RT_TABLE_MAIN } from '../../netlink/netlink.ts'
import { SLOTS } from '../slots.ts'
import type { RoutingOptions } from './options.ts'
import { FAMILIES } from './tables.ts'

const IP_PROTOCOLS = { tcp: 6, udp: 17 } as const
const LOOKUP = 1

/** In the order they are added: what goes round the tunnels is known before anything is led into them. */
export function wantedRules(options: RoutingOptions): MarkRule[] {
  const { protocol, table, slotTables, fwmark, fwmarkMask, devices, bypass } = options
  const bypassPriority = options.bypassPriority ?? Math.max(1, options.slotRulePriority - 10)
  const round = bypass.map((one): MarkRule => ({
    family: one.cidr.ip.family,
    priority: bypassPriority,
    mark: 0,
    mask: 0,
    table: RT_TABLE_MAIN,
    protocol,
    ...(one.cidr.bits === 0 ? {} : { to: one.cidr }),
    ...(one.protocol === undefined ? {} : { ipProtocol: IP_PROTOCOLS[one.protocol] }),
    ...(one.port === undefined ? {} : { destinationPort: one.port }),
  }))
  const bound = FAMILIES.flatMap((family) =>
    SLOTS.map((slot): MarkRule => ({
      family,
      priority: options.slotRulePriority,
      mark: 0,
      mask: 0,
      table: slotTables[slot],
      protocol,
      oifName: devices[slot],
    })),
  )
  const main = FAMILIES.map((family): MarkRule => ({
    family,
    priority: options.rulePriority,
    mark: fwmark,
    mask: fwmarkMask,
    table,
    protocol,
    inverted: true,
  }))
  return [...round, ...bound, ...main]
}

const sameCidr = (a: Cidr | undefined, b: Cidr | undefined): boolean =>
  a === undefined || b === undefined ? a === b : a.bits === b.bits && equalIp(a.ip, b.ip)

/** Whoever made it. */
export const sameRule = (found: Rule, wanted: MarkRule): boolean =>
  found.opaque === undefined &&
  found.action === LOOKUP &&
  found.family === wanted.family &&
  found.priority === wanted.priority &&
  found.table === wanted.table &&
  found.mark === wanted.mark &&
  found.mask === wanted.mask &&
  found.inverted === (wanted.inverted ?? false) &&
  found.oifName === wanted.oifName &&
  found.ipProtocol === wanted.ipProtocol &&
  found.destinationPort === wanted.destinationPort &&
  sameCidr(found.to, wanted.to)

/** FR_ACT_NOP of <linux/fib_rules.h>. */
const ACTION_NOP = 3

/**
 * Rules of others that the kernel asks before ours and that could take packets of peers: not those that only look for this
 * machine's own addresses, nor those for a mark (the DNS gate's, Cilium's), nor those that do nothing (where the gate's jump ends).
 */
export function rulesBefore(found: readonly Rule[], wanted: readonly MarkRule[], priority: number): Rule[] {
  return found.filter(
    (rule) =>
      rule.priority < priority &&
      rule.table !== RT_TABLE_LOCAL &&
      rule.action !== ACTION_NOP &&
      (rule.mask === 0 || rule.inverted) &&
      !wanted.some((one) => sameRule(rule, one)),
  )
}

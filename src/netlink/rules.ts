import { attributeU32, attributeU8, parseAttributes, readU32, readU8 } from './attributes.ts'
import type { NetlinkConnection } from './connection.ts'
import {
  AF_INET,
  AF_INET6,
  FIB_RULE_INVERT,
  FR_ACT_TO_TBL,
  FRA_FWMARK,
  FRA_FWMASK,
  FRA_PRIORITY,
  FRA_PROTOCOL,
  FRA_TABLE,
  NLM_F_CREATE,
  NLM_F_EXCL,
  RTM_DELRULE,
  RTM_GETRULE,
  RTM_NEWRULE,
} from './constants.ts'
import { isRefusal } from './errors.ts'
import type { Message } from './message.ts'

/** struct fib_rule_hdr: u8 family, dst_len, src_len, tos, table, res1, res2, action, u32 flags. */
const RULE_BYTES = 12

/** "fwmark mark/mask lookup table priority n". */
export interface MarkRule {
  readonly family: 4 | 6
  readonly priority: number
  readonly mark: number
  readonly mask: number
  readonly table: number
  /** RTPROT_* of who made it. */
  readonly protocol: number
}

/** A rule as the kernel lists it. */
export interface Rule extends MarkRule {
  /** FR_ACT_*: 1 is "lookup table". */
  readonly action: number
  readonly inverted: boolean
  /** Selectors this reader does not show (addresses, interfaces, ports, ...): the rule is not a plain mark rule. */
  readonly narrowed: boolean
}

const familyNumber = (family: 4 | 6): number => (family === 4 ? AF_INET : AF_INET6)

/** Body of a request that adds or deletes the rule. Tables over 255 stand in the attribute only. */
export function encodeRule(rule: MarkRule): Uint8Array[] {
  const header = new Uint8Array(RULE_BYTES)
  header[0] = familyNumber(rule.family)
  header[4] = rule.table < 256 ? rule.table : 0
  header[7] = FR_ACT_TO_TBL
  return [
    header,
    attributeU32(FRA_PRIORITY, rule.priority),
    attributeU32(FRA_FWMARK, rule.mark),
    attributeU32(FRA_FWMASK, rule.mask),
    attributeU32(FRA_TABLE, rule.table),
    attributeU8(FRA_PROTOCOL, rule.protocol),
  ]
}

/** What every rule can carry without being narrower: FRA_PAD, SUPPRESS_*, and what MarkRule shows. */
const PLAIN = new Set([FRA_PRIORITY, FRA_FWMARK, FRA_FWMASK, FRA_TABLE, FRA_PROTOCOL, 13, 14, 18])

/** Undefined when the message is no IPv4 or IPv6 rule or is malformed. */
export function decodeRule(message: Message): Rule | undefined {
  const body = message.body
  if (body.length < RULE_BYTES) return undefined
  const attributes = parseAttributes(body, RULE_BYTES)
  const family = body[0] === AF_INET ? 4 : body[0] === AF_INET6 ? 6 : undefined
  if (attributes === undefined || family === undefined) return undefined
  const flags = new DataView(body.buffer, body.byteOffset, body.byteLength).getUint32(8, true)
  const mark = readU32(attributes, FRA_FWMARK) ?? 0
  return {
    family,
    priority: readU32(attributes, FRA_PRIORITY) ?? 0,
    mark,
    mask: readU32(attributes, FRA_FWMASK) ?? (mark === 0 ? 0 : 0xffffffff),
    table: readU32(attributes, FRA_TABLE) ?? body[4] ?? 0,
    protocol: readU8(attributes, FRA_PROTOCOL) ?? 0,
    action: body[7] ?? 0,
    inverted: (flags & FIB_RULE_INVERT) !== 0,
    narrowed: body[1] !== 0 || body[2] !== 0 || body[3] !== 0 || attributes.some((one) => !PLAIN.has(one.type)),
  }
}

export function listRules(connection: NetlinkConnection, family: 4 | 6): Rule[] {
  const header = new Uint8Array(RULE_BYTES)
  header[0] = familyNumber(family)
  return connection
    .dump('list of routing rules', RTM_GETRULE, [header])
    .filter((message) => message.type === RTM_NEWRULE)
    .map(decodeRule)
    .filter((rule): rule is Rule => rule !== undefined)
}

const nameOf = (rule: MarkRule): string =>
  `IPv${rule.family} rule ${rule.priority}: fwmark 0x${rule.mark.toString(16)}/0x${rule.mask.toString(16)} lookup ${rule.table}`

/** False when an equal rule stood already. */
export function addRule(connection: NetlinkConnection, rule: MarkRule): boolean {
  try {
    connection.request(nameOf(rule), RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, encodeRule(rule))
    return true
  } catch (error) {
    if (isRefusal(error, 'EEXIST')) return false
    throw error
  }
}

/** False when there was none. */
export function deleteRule(connection: NetlinkConnection, rule: MarkRule): boolean {
  try {
    connection.request(nameOf(rule), RTM_DELRULE, 0, encodeRule(rule))
    return true
  } catch (error) {
    if (isRefusal(error, 'ENOENT', 'ESRCH')) return false
    throw error
  }
}

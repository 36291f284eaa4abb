import { type Cidr, maxBits } from '../core/ip.ts'
import {
  type Attribute,
  attribute,
  attributeString,
  attributeU32,
  attributeU8,
  findAttribute,
  parseAttributes,
  readString,
  readU16,
  readU32,
  readU8,
} from './attributes.ts'
import type { AsyncNetlinkConnection } from './async-connection.ts'
import type { NetlinkConnection } from './connection.ts'
import {
  AF_INET,
  AF_INET6,
  FIB_RULE_INVERT,
  FR_ACT_GOTO,
  FR_ACT_NOP,
  FR_ACT_TO_TBL,
  FRA_DPORT_MASK,
  FRA_DPORT_RANGE,
  FRA_DST,
  FRA_FWMARK,
  FRA_FWMASK,
  FRA_GOTO,
  FRA_IIFNAME,
  FRA_IP_PROTO,
  FRA_OIFNAME,
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
  /** For packets that do not match: "not fwmark ...". */
  readonly inverted?: boolean
  /** Only for what leaves by sockets bound to this interface. */
  readonly oifName?: string
  /** Only for what came in by this interface; `lo`: for what this machine sends, and for looks at the way back to a source. */
  readonly iifName?: string
  /** Instead of looking into `table` (then 0), goes on with the rules of this priority. */
  readonly goto?: number
  /** Does nothing: a place for others to go on at. `table` is 0. */
  readonly nop?: true
  /** Only for these destinations. */
  readonly to?: Cidr
  /** IPPROTO_*: only for this protocol. */
  readonly ipProtocol?: number
  /** Only for this port of the destination. */
  readonly destinationPort?: number
}

/** A rule as the kernel lists it. */
export interface Rule extends MarkRule {
  /** FR_ACT_*: 1 is "lookup table". */
  readonly action: number
  readonly inverted: boolean
  /** Selectors other than the mark (addresses, interfaces, ports, ...): the rule is not a plain mark rule. */
  readonly narrowed: boolean
  /** It has selectors that are not shown here. */
  readonly opaque?: true
}

const familyNumber = (family: 4 | 6): number => (family === 4 ? AF_INET : AF_INET6)

/** Body of a request that adds or deletes the rule. Tables over 255 stand in the attribute only. */
export function encodeRule(rule: MarkRule): Uint8Array[] {
  const header = new Uint8Array(RULE_BYTES)
  header[0] = familyNumber(rule.family)
  header[4] = rule.table < 256 ? rule.table : 0
  header[7] = rule.goto === undefined ? (rule.nop === true ? FR_ACT_NOP : FR_ACT_TO_TBL) : FR_ACT_GOTO
  if (rule.to !== undefined) header[1] = rule.to.bits
  if (rule.inverted === true) new DataView(header.buffer).setUint32(8, FIB_RULE_INVERT, true)
  return [
    header,
    attributeU32(FRA_PRIORITY, rule.priority),
    ...(rule.iifName === undefined ? [] : [attributeString(FRA_IIFNAME, rule.iifName)]),
    ...(rule.goto === undefined ? [] : [attributeU32(FRA_GOTO, rule.goto)]),
    ...(rule.oifName === undefined ? [] : [attributeString(FRA_OIFNAME, rule.oifName)]),
    ...(rule.to === undefined ? [] : [attribute(FRA_DST, rule.to.ip.bytes)]),
    ...(rule.ipProtocol === undefined ? [] : [attributeU8(FRA_IP_PROTO, rule.ipProtocol)]),
    ...(rule.destinationPort === undefined ? [] : [attribute(FRA_DPORT_RANGE, portRange(rule.destinationPort))]),
    ...(rule.mask === 0 ? [] : [attributeU32(FRA_FWMARK, rule.mark), attributeU32(FRA_FWMASK, rule.mask)]),
    ...(rule.table === 0 ? [] : [attributeU32(FRA_TABLE, rule.table)]),
    attributeU8(FRA_PROTOCOL, rule.protocol),
  ]
}

/** struct fib_rule_port_range: u16 first, u16 last. */
function portRange(port: number): Uint8Array {
  const out = new Uint8Array(4)
  const view = new DataView(out.buffer)
  view.setUint16(0, port, true)
  view.setUint16(2, port, true)
  return out
}

/** One port; undefined for several, and when there is no such selector. */
function readPort(attributes: readonly Attribute[]): number | undefined {
  const range = readU32(attributes, FRA_DPORT_RANGE)
  const mask = readU16(attributes, FRA_DPORT_MASK) ?? 0xffff
  return range === undefined || mask !== 0xffff || range >>> 16 !== (range & 0xffff) ? undefined : range & 0xffff
}

/** Undefined when the rule is for every destination, or what it says is malformed. */
function readDestination(attributes: readonly Attribute[], family: 4 | 6, bits: number): Cidr | undefined {
  const bytes = findAttribute(attributes, FRA_DST)
  if (bits === 0 || bits > maxBits(family) || bytes?.length !== (family === 4 ? 4 : 16)) return undefined
  return { ip: { family, bytes: bytes.slice() }, bits }
}

/** What every rule can carry without being narrower: FRA_PAD, SUPPRESS_*, and what MarkRule shows. */
const PLAIN = new Set([FRA_PRIORITY, FRA_FWMARK, FRA_FWMASK, FRA_TABLE, FRA_PROTOCOL, 13, 14, 18])
/** And what `Rule` shows when it can be shown. */
const SHOWN = new Set([FRA_OIFNAME, FRA_DST, FRA_IP_PROTO, FRA_DPORT_RANGE, FRA_DPORT_MASK])

/** Undefined when the message is no IPv4 or IPv6 rule or is malformed. */
export function decodeRule(message: Message): Rule | undefined {
  const body = message.body
  if (body.length < RULE_BYTES) return undefined
  const attributes = parseAttributes(body, RULE_BYTES)
  const family = body[0] === AF_INET ? 4 : body[0] === AF_INET6 ? 6 : undefined
  if (attributes === undefined || family === undefined) return undefined
  const flags = new DataView(body.buffer, body.byteOffset, body.byteLength).getUint32(8, true)
  const mark = readU32(attributes, FRA_FWMARK) ?? 0
  const oifName = readString(attributes, FRA_OIFNAME)
  const to = readDestination(attributes, family, body[1] ?? 0)
  const ipProtocol = readU8(attributes, FRA_IP_PROTO)
  const destinationPort = readPort(attributes)
  const opaque =
    body[2] !== 0 ||
    body[3] !== 0 ||
    (body[1] !== 0 && to === undefined) ||
    attributes.some(({ type }) => !PLAIN.has(type) && !SHOWN.has(type)) ||
    (destinationPort === undefined && findAttribute(attributes, FRA_DPORT_RANGE) !== undefined)
  return {
    family,
    priority: readU32(attributes, FRA_PRIORITY) ?? 0,
    mark,
    mask: readU32(attributes, FRA_FWMASK) ?? (mark === 0 ? 0 : 0xffffffff),
    table: readU32(attributes, FRA_TABLE) ?? body[4] ?? 0,
    protocol: readU8(attributes, FRA_PROTOCOL) ?? 0,
    action: body[7] ?? 0,
    ...(oifName === undefined ? {} : { oifName }),
    ...(to === undefined ? {} : { to }),
    ...(ipProtocol === undefined ? {} : { ipProtocol }),
    ...(destinationPort === undefined ? {} : { destinationPort }),
    ...(opaque ? { opaque } : {}),
    inverted: (flags & FIB_RULE_INVERT) !== 0,
    narrowed: body[1] !== 0 || body[2] !== 0 || body[3] !== 0 || attributes.some((one) => !PLAIN.has(one.type)),
  }
}

function listBody(family: 4 | 6): Uint8Array[] {
  const header = new Uint8Array(RULE_BYTES)
  header[0] = familyNumber(family)
  return [header]
}

const rulesOf = (messages: readonly Message[]): Rule[] =>
  messages
    .filter((message) => message.type === RTM_NEWRULE)
    .map(decodeRule)
    .filter((rule): rule is Rule => rule !== undefined)

export function listRules(connection: NetlinkConnection, family: 4 | 6): Rule[] {
  return rulesOf(connection.dump('list of routing rules', RTM_GETRULE, listBody(family)))
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

/** Rules by requests that run off the event loop. */
export interface AsyncRules {
  list(family: 4 | 6): Promise<Rule[]>
  /** False when an equal rule stood already. */
  add(rule: MarkRule): Promise<boolean>
  /** False when there was none. */
  delete(rule: MarkRule): Promise<boolean>
}

export function asyncRules(connection: AsyncNetlinkConnection): AsyncRules {
  const attempt = async (rule: MarkRule, type: number, flags: number, ...absent: string[]): Promise<boolean> => {
    try {
      await connection.request(nameOf(rule), type, flags, encodeRule(rule))
      return true
    } catch (error) {
      if (isRefusal(error, ...absent)) return false
      throw error
    }
  }
  return {
    list: async (family) => rulesOf(await connection.dump('list of routing rules', RTM_GETRULE, listBody(family))),
    add: (rule) => attempt(rule, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, 'EEXIST'),
    delete: (rule) => attempt(rule, RTM_DELRULE, 0, 'ENOENT', 'ESRCH'),
  }
}

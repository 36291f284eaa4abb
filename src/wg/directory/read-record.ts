import { err, ok, type Result } from '../../core/errors.ts'
import { cidrCovers, formatCidr, formatIp, tryParseCidr, tryParseIp, type Cidr, type Ip } from '../../core/ip.ts'
import { isUsableKey, pointOf } from './public-key.ts'
import { nodeRecordSchema, type NodeRecord } from './record.ts'
import { misfit } from './schema-check.ts'

/** Why a record is not used; a closed set, counted. */
export const REFUSALS = [
  'malformed',
  'domain',
  'writer',
  'own-key',
  'bad-key',
  'key-taken',
  'bad-address',
  'bad-prefix',
  'own-prefix',
  'prefix-taken',
  'slots',
] as const
export type Refusal = (typeof REFUSALS)[number]

export interface Refused {
  readonly reason: Refusal
  /** For the operator; never holds more than the place and a short text of the record. */
  readonly detail: string
}

/** Shortest prefix that one node may ask for: a node that asks for more takes the traffic of others. */
const SHORTEST = { 4: 12, 6: 32 } as const

export interface Expectation {
  readonly domain: string
  /** Name under which the directory holds the record, which the writer cannot choose. */
  readonly name: string
}

/** A record that another node wrote, checked by itself; what it says is compared with others by `DirectoryView`. Never throws. */
export function readRecord(value: unknown, expected: Expectation): Result<NodeRecord, Refused> {
  const fault = misfit(nodeRecordSchema, value)
  if (fault !== undefined) return refuse('malformed', fault)
  const record = canonical(value as NodeRecord)
  if (record === undefined) return refuse('bad-address', 'not an IP address, or not one host can have')
  if (record.domain !== expected.domain) return refuse('domain', record.domain)
  if (record.node !== expected.name) return refuse('writer', `${expected.name} holds a record of ${record.node}`)
  const prefixes = record.prefixes.map((text) => tryParseCidr(text))
  if (prefixes.some((prefix) => prefix === undefined || prefix.bits < SHORTEST[prefix.ip.family])) {
    return refuse('bad-prefix', record.prefixes.join(' ').slice(0, 200))
  }
  const slots = record.slots
  if (slots[0]?.id !== 0 || (slots.length === 2 && (slots[1]?.id !== 1 || slots[1].port === slots[0].port))) {
    return refuse('slots', 'slots are 0, or 0 and 1, with different ports')
  }
  const bad = slots.find(({ publicKey }) => !isUsableKey(publicKey))
  if (bad !== undefined) return refuse('bad-key', `slot ${bad.id}`)
  if (new Set(slots.map(({ publicKey }) => pointOf(publicKey))).size !== slots.length) {
    return refuse('key-taken', 'both slots have one key')
  }
  return ok(record)
}

const refuse = (reason: Refusal, detail: string): Result<never, Refused> => err({ reason, detail })

/** Addresses and prefixes in the one spelling that is compared; no field that the schema does not name. */
function canonical(raw: NodeRecord): NodeRecord | undefined {
  const endpoints = raw.endpoints.map(({ ip }) => tryParseIp(ip))
  const nodeIPs = raw.nodeIPs.map((ip) => tryParseIp(ip))
  if (!endpoints.every(isHost) || !nodeIPs.every(isHost)) return undefined
  return {
    domain: raw.domain,
    node: raw.node,
    nodeUID: raw.nodeUID,
    bootID: raw.bootID,
    created: raw.created,
    revision: raw.revision,
    endpoints: endpoints.map((ip) => ({ ip: formatIp(ip) })),
    prefixes: raw.prefixes.map((text) => {
      const cidr = tryParseCidr(text)
      return cidr === undefined ? text : formatCidr(cidr)
    }),
    nodeIPs: nodeIPs.map(formatIp),
    slots: raw.slots.map(({ id, port, publicKey, gen, since }) => ({ id, port, publicKey, gen, since })),
    drain:
      raw.drain === null
        ? null
        : { slot: raw.drain.slot, seq: raw.drain.seq, since: raw.drain.since, reason: raw.drain.reason },
    caps: [...raw.caps],
  }
}

/** An address that a host can have: not unspecified, loopback, multicast, broadcast or link-local. */
export function isHost(ip: Ip | undefined): ip is Ip {
  if (ip === undefined) return false
  const [first = 0, second = 0] = ip.bytes
  if (ip.family === 4) return first !== 0 && first !== 127 && first < 224 && !(first === 169 && second === 254)
  const low = ip.bytes.subarray(0, 15).every((byte) => byte === 0) && (ip.bytes[15] ?? 0) <= 1
  return !low && first !== 0xff && !(first === 0xfe && (second & 0xc0) === 0x80)
}

/** What a node claims lies within what it may; an empty list is no limit. */
export const accepts = (accept: readonly Cidr[] | undefined, claimed: Cidr): boolean =>
  accept === undefined || accept.length === 0 || accept.some((wide) => cidrCovers(wide, claimed))

/** True when one covers the other: two nodes cannot both have such prefixes. */
export const overlap = (a: Cidr, b: Cidr): boolean => cidrCovers(a, b) || cidrCovers(b, a)

/** Keys and values of the guard's maps: native/bpf/guard.h. */
import { LITTLE_ENDIAN, viewOf } from '../../bpf/layout-bytes.ts'
import { MAP_ARRAY, MAP_LPM_TRIE, MAP_PERCPU_ARRAY, FLAG_NO_PREALLOC } from '../../bpf/map-specs.ts'
import { maskIp, maxBits, type Cidr, type Ip } from '../../core/ip.ts'
import type { MapCreateOptions } from '../../native/binding.ts'
import { GUARD_DIRECTIONS, type GuardCount } from '../seams.ts'

/** GUARD_MAX_PREFIXES, GUARD_MAX_FLOWS, GUARD_MAX_PORTS of guard.h. */
export const MAX_PREFIXES = 131_072
export const MAX_FLOWS = 32
export const MAX_PORTS = 4

export const KEY_BYTES = { 4: 8, 6: 20 } as const
export const VALUE_BYTES = 4
const FLOWS_OFFSET = 8 + 2 * MAX_PORTS
const FLOW_BYTES = 36
export const SETTINGS_BYTES = FLOWS_OFFSET + MAX_FLOWS * FLOW_BYTES

const VALUE_PREFIX = 1
const VALUE_ADDRESS = 2

const IPPROTO = { tcp: 6, udp: 17 } as const

export const GUARD_MAPS = ['guard_v4', 'guard_v6', 'guard_counts', 'guard_settings'] as const
export type GuardMap = (typeof GUARD_MAPS)[number]

const spec = (
  name: GuardMap,
  type: number,
  keySize: number,
  valueSize: number,
  maxEntries: number,
  flags = 0,
): MapCreateOptions => ({ name, type, keySize, valueSize, maxEntries, flags })

export const GUARD_SPECS: Readonly<Record<GuardMap, MapCreateOptions>> = {
  guard_v4: spec('guard_v4', MAP_LPM_TRIE, KEY_BYTES[4], VALUE_BYTES, MAX_PREFIXES, FLAG_NO_PREALLOC),
  guard_v6: spec('guard_v6', MAP_LPM_TRIE, KEY_BYTES[6], VALUE_BYTES, MAX_PREFIXES, FLAG_NO_PREALLOC),
  guard_counts: spec('guard_counts', MAP_PERCPU_ARRAY, 4, 8, 4),
  guard_settings: spec('guard_settings', MAP_ARRAY, 4, SETTINGS_BYTES, 1),
}

/** Clear text that passes to and from protected prefixes: a prefix at either end, where given one port of one protocol there. */
export interface GuardFlow {
  readonly cidr: Cidr
  readonly protocol?: 'tcp' | 'udp'
  readonly port?: number
}

export interface GuardSettings {
  /** Mark that our devices put on what they send, within `mask`. 0 and 0: any. */
  readonly allowFwmark: number
  readonly mask: number
  /** UDP ports of our own devices, at most four. */
  readonly ports: readonly number[]
  /** At most 32. */
  readonly bypass: readonly GuardFlow[]
}

export function encodeKey(prefix: Cidr): Uint8Array {
  const key = new Uint8Array(KEY_BYTES[prefix.ip.family])
  viewOf(key).setUint32(0, prefix.bits, LITTLE_ENDIAN)
  key.set(prefix.ip.bytes, 4)
  return key
}

/** Undefined for an impossible length. */
export function decodeKey(family: 4 | 6, keys: Uint8Array, offset = 0): Cidr | undefined {
  const bits = viewOf(keys).getUint32(offset, LITTLE_ENDIAN)
  if (bits > maxBits(family)) return undefined
  const ip: Ip = { family, bytes: keys.slice(offset + 4, offset + KEY_BYTES[family]) }
  return { ip: maskIp(ip, bits), bits }
}

/** A single address may be a node's, where the encrypted packets themselves come from and go to. */
export function encodeValue(prefix: Cidr): Uint8Array {
  const value = new Uint8Array(VALUE_BYTES)
  const kind = prefix.bits === maxBits(prefix.ip.family) ? VALUE_ADDRESS : VALUE_PREFIX
  viewOf(value).setUint32(0, kind, LITTLE_ENDIAN)
  return value
}

/** @throws RangeError for more ports or flows than there is room for; a list that is cut would open or shut something else */
export function encodeGuardSettings(settings: GuardSettings): Uint8Array {
  const { ports, bypass } = settings
  if (ports.length > MAX_PORTS) throw new RangeError(`${ports.length} ports, at most ${MAX_PORTS}`)
  if (bypass.length > MAX_FLOWS) throw new RangeError(`${bypass.length} flows around the seal, at most ${MAX_FLOWS}`)
  const out = new Uint8Array(SETTINGS_BYTES)
  const view = viewOf(out)
  view.setUint32(0, (settings.allowFwmark & settings.mask) >>> 0, LITTLE_ENDIAN)
  view.setUint32(4, settings.mask, LITTLE_ENDIAN)
  ports.forEach((port, i) => {
    view.setUint16(8 + 2 * i, port)
  })
  bypass.forEach(({ cidr, protocol, port }, i) => {
    const at = FLOWS_OFFSET + i * FLOW_BYTES
    const { family } = cidr.ip
    const ones: Ip = { family, bytes: new Uint8Array(cidr.ip.bytes.length).fill(0xff) }
    out.set(maskIp(cidr.ip, cidr.bits).bytes, at)
    out.set(maskIp(ones, cidr.bits).bytes, at + 16)
    out[at + 32] = family
    out[at + 33] = protocol === undefined ? 0 : IPPROTO[protocol]
    view.setUint16(at + 34, protocol === undefined ? 0 : (port ?? 0))
  })
  return out
}

/** Number of the counter: direction * 2 + family. */
export const COUNTERS: readonly Omit<GuardCount, 'packets'>[] = GUARD_DIRECTIONS.flatMap((direction) =>
  ([4, 6] as const).map((family) => ({ direction, family })),
)

/** `values`: one u64 a CPU. */
export function sumPackets(values: Uint8Array): number {
  const view = viewOf(values)
  let sum = 0
  for (let at = 0; at < values.length; at += 8) sum += Number(view.getBigUint64(at, LITTLE_ENDIAN))
  return sum
}

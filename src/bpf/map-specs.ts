import type { MapCreateOptions, MapInfo } from '../native/binding.ts'
import { CT4_KEY_BYTES, CT6_KEY_BYTES, CT_VALUE_BYTES } from './layout-conntrack.ts'
import { CONFIG_VALUE_BYTES, INTERFACE_KEY_BYTES, INTERFACE_VALUE_BYTES } from './layout-control.ts'
import { COUNTER_VALUE_BYTES, DROP_KEY_BYTES, LIMITER_VALUE_BYTES, METRICS_KEY_BYTES } from './layout-counters.ts'
import { IPCACHE_KEY_BYTES, IPCACHE_VALUE_BYTES } from './layout-ipcache.ts'
import { LXC_KEY_BYTES, LXC_VALUE_BYTES } from './layout-lxc.ts'
import { POLICY_KEY_BYTES, POLICY_VALUE_BYTES } from './layout-policy.ts'

/** enum bpf_map_type of <linux/bpf.h>. */
export const MAP_HASH = 1
export const MAP_ARRAY = 2
export const MAP_PERCPU_HASH = 5
export const MAP_PERCPU_ARRAY = 6
export const MAP_LRU_HASH = 9
export const MAP_LPM_TRIE = 11
export const MAP_HASH_OF_MAPS = 13
export const MAP_RINGBUF = 27

export const FLAG_NO_PREALLOC = 1

/** In the order they are made. The names are those of the object file and of the pins. */
export const MAP_NAMES = [
  'ipcache',
  'policy',
  'lxc',
  'interfaces',
  'ct4',
  'ct6',
  'ct_any4',
  'ct_any6',
  'frag4',
  'frag6',
  'metrics',
  'drops',
  'events',
  'config',
  'limiter',
] as const

export type MapName = (typeof MAP_NAMES)[number]

export interface MapSizes {
  readonly ipcacheEntries: number
  /** Rows of one endpoint. */
  readonly policyEntries: number
  /** Of each of the four conntrack maps. */
  readonly conntrackEntries: number
}

export const MAX_ENDPOINTS = 4096

/** One inner map of `policy`. */
export const policyInnerSpec = (entries: number): MapCreateOptions => ({
  type: MAP_LPM_TRIE,
  keySize: POLICY_KEY_BYTES,
  valueSize: POLICY_VALUE_BYTES,
  maxEntries: entries,
  flags: FLAG_NO_PREALLOC,
  name: 'policy_rows',
})

/** What `bpfMapCreate` needs for each map (`policy` also its inner template). */
export function mapSpecs(sizes: MapSizes): Readonly<Record<MapName, MapCreateOptions>> {
  const spec = (
    name: MapName,
    type: number,
    keySize: number,
    valueSize: number,
    maxEntries: number,
    flags = 0,
  ): MapCreateOptions => ({ name, type, keySize, valueSize, maxEntries, flags })
  const connections = sizes.conntrackEntries
  return {
    ipcache: spec(
      'ipcache',
      MAP_LPM_TRIE,
      IPCACHE_KEY_BYTES,
      IPCACHE_VALUE_BYTES,
      sizes.ipcacheEntries,
      FLAG_NO_PREALLOC,
    ),
    policy: spec('policy', MAP_HASH_OF_MAPS, 4, 4, MAX_ENDPOINTS),
    lxc: spec('lxc', MAP_HASH, LXC_KEY_BYTES, LXC_VALUE_BYTES, 65535, FLAG_NO_PREALLOC),
    interfaces: spec('interfaces', MAP_HASH, INTERFACE_KEY_BYTES, INTERFACE_VALUE_BYTES, MAX_ENDPOINTS),
    ct4: spec('ct4', MAP_LRU_HASH, CT4_KEY_BYTES, CT_VALUE_BYTES, connections),
    ct6: spec('ct6', MAP_LRU_HASH, CT6_KEY_BYTES, CT_VALUE_BYTES, connections),
    ct_any4: spec('ct_any4', MAP_LRU_HASH, CT4_KEY_BYTES, CT_VALUE_BYTES, connections),
    ct_any6: spec('ct_any6', MAP_LRU_HASH, CT6_KEY_BYTES, CT_VALUE_BYTES, connections),
    frag4: spec('frag4', MAP_LRU_HASH, 12, 8, 8192),
    frag6: spec('frag6', MAP_LRU_HASH, 40, 8, 8192),
    metrics: spec('metrics', MAP_PERCPU_HASH, METRICS_KEY_BYTES, COUNTER_VALUE_BYTES, 1024),
    drops: spec('drops', MAP_PERCPU_HASH, DROP_KEY_BYTES, COUNTER_VALUE_BYTES, 65536, FLAG_NO_PREALLOC),
    events: spec('events', MAP_RINGBUF, 0, 0, 256 * 1024),
    config: spec('config', MAP_ARRAY, 4, CONFIG_VALUE_BYTES, 1),
    limiter: spec('limiter', MAP_PERCPU_ARRAY, 4, LIMITER_VALUE_BYTES, 1),
  }
}

/** Why a map cannot stand in for `spec`, or undefined. Sizes may differ (a map keeps the size it was made with). */
export function layoutMismatch(spec: MapCreateOptions, info: MapInfo): string | undefined {
  const pairs: readonly (readonly [string, number, number])[] = [
    ['type', spec.type, info.type],
    ['key size', spec.keySize, info.keySize],
    ['value size', spec.valueSize, info.valueSize],
    ['flags', spec.flags, info.flags],
  ]
  const wrong = pairs.filter(([, want, have]) => want !== have)
  if (wrong.length === 0) return undefined
  return wrong.map(([what, want, have]) => `${what} ${have} instead of ${want}`).join(', ')
}

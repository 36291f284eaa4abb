/** Handles of the datapath's maps. Each takes the native door and a descriptor it does not own. */
export { openConntrackMap, type ConntrackFds, type ConntrackMap } from './conntrack-map.ts'
export { openCounterMaps, type CounterMaps, type DropCounter, type ReasonCounter } from './counter-maps.ts'
export { openInterfaceMap, openLxcMap, type InterfaceMap, type LxcMap } from './endpoint-maps.ts'
export { openIpcacheMap, type IpcacheEntry, type IpcacheMap } from './ipcache-map.ts'
export type { KernelRow } from './layout-policy.ts'
export { MAP_NAMES, mapSpecs, type MapName, type MapSizes } from './map-specs.ts'
export {
  openPolicyMaps,
  type MapCalls,
  type PolicyMap,
  type PolicyMaps,
  type PolicyMapsOptions,
} from './policy-maps.ts'

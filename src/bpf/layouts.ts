/** Encoders and decoders of every key and value of the datapath's maps, a file a map. */
export * from './layout-bytes.ts'
export * from './layout-conntrack.ts'
export * from './layout-control.ts'
export * from './layout-counters.ts'
export * from './layout-event.ts'
export * from './layout-ipcache.ts'
export * from './layout-lxc.ts'
export * from './layout-policy.ts'

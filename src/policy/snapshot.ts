/** The compiled policy, for the threads that use it. */
export { openSnapshot, Snapshot } from './snapshot/open.ts'
export type { SnapshotEndpoint } from './snapshot/open.ts'
export type { IdentityLabels } from './snapshot/shape-rows.ts'
export type { PolicyRow } from './rows.ts'

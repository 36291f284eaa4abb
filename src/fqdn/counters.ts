/**
 * Places of this room's numbers in the ledger's statistics (a Float64Array over shared memory, written by the
 * ledger, read by main at scrape time). The identity room's begin at 64.
 */
export const FQDN = {
  learned: 0,
  renewed: 1,
  expired: 2,
  keptByConntrack: 3,
  evictedEntries: 4,
  evictedNames: 5,
  refusedEntries: 6,
  refusedNames: 7,
  refusedAddresses: 8,
  refusedEndpoint: 9,
  names: 10,
  pairs: 11,
  entries: 12,
  addresses: 13,
  tableFull: 14,
  orphans: 15,
  passes: 16,
  restored: 17,
  tornRecords: 18,
  discardedFiles: 19,
  journalErrors: 20,
  requests: 21,
  completedOk: 22,
  completedRefused: 23,
  completedFailed: 24,
  snapshots: 25,
  refusedShare: 26,
} as const

/** Places of this room's numbers in the ledger's statistics; the fqdn room has those before 64. */
export const IDENTITY = {
  identities: 64,
  shapes: 65,
  ipcacheEntries: 66,
  ipcacheUpdates: 67,
  ipcacheDeletes: 68,
  ipcacheErrors: 69,
  rowWrites: 70,
  rowErrors: 71,
  foreign: 72,
  changed: 73,
  missing: 74,
  policyRepairs: 75,
  coveredByStronger: 76,
  exhausted: 77,
  adopted: 78,
  unknownRemoved: 79,
  generation: 80,
  applyMs: 81,
  reconciles: 82,
  retries: 83,
  longestSliceMs: 84,
  notUnicast: 85,
  rowsForeign: 86,
  rowsChanged: 87,
  rowsMissing: 88,
} as const

/** Doubles in the statistics memory of the ledger. */
export const STATS_LENGTH = 128

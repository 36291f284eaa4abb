import type { MetricSample, MetricSource, MetricSpec } from '../core/metric.ts'
import { IDENTITY } from './counters.ts'

const DRIFTS = ['foreign', 'changed', 'missing'] as const
const ROW_DRIFTS = {
  foreign: IDENTITY.rowsForeign,
  changed: IDENTITY.rowsChanged,
  missing: IDENTITY.rowsMissing,
} as const

interface Plain {
  readonly name: string
  readonly type: 'counter' | 'gauge'
  readonly help: string
  readonly place: number
}

const PLAIN: readonly Plain[] = [
  {
    name: 'sekisho_identity_identities',
    type: 'gauge',
    help: 'Identities with a number',
    place: IDENTITY.identities,
  },
  {
    name: 'sekisho_identity_policies',
    type: 'gauge',
    help: 'Different policies in the kernel',
    place: IDENTITY.shapes,
  },
  {
    name: 'sekisho_identity_ipcache_entries',
    type: 'gauge',
    help: 'Entries written to the ipcache',
    place: IDENTITY.ipcacheEntries,
  },
  {
    name: 'sekisho_identity_policy_generation',
    type: 'gauge',
    help: 'Generation of the policy in the kernel',
    place: IDENTITY.generation,
  },
  {
    name: 'sekisho_identity_ipcache_updates_total',
    type: 'counter',
    help: 'Entries written',
    place: IDENTITY.ipcacheUpdates,
  },
  {
    name: 'sekisho_identity_ipcache_deletes_total',
    type: 'counter',
    help: 'Entries removed',
    place: IDENTITY.ipcacheDeletes,
  },
  {
    name: 'sekisho_identity_ipcache_errors_total',
    type: 'counter',
    help: 'Entries that could not be written',
    place: IDENTITY.ipcacheErrors,
  },
  {
    name: 'sekisho_identity_policy_rows_total',
    type: 'counter',
    help: 'Rows written to policy maps',
    place: IDENTITY.rowWrites,
  },
  {
    name: 'sekisho_identity_policy_errors_total',
    type: 'counter',
    help: 'Writes to policy maps that failed',
    place: IDENTITY.rowErrors,
  },
  {
    name: 'sekisho_identity_policy_repairs_total',
    type: 'counter',
    help: 'Policy maps that were detached by others',
    place: IDENTITY.policyRepairs,
  },
  {
    name: 'sekisho_identity_covered_addresses_total',
    type: 'counter',
    help: 'Learned addresses of nodes or endpoints, which keep their identity',
    place: IDENTITY.coveredByStronger,
  },
  {
    name: 'sekisho_identity_not_unicast_total',
    type: 'counter',
    help: 'Addresses not learned because nothing can be sent to them',
    place: IDENTITY.notUnicast,
  },
  {
    name: 'sekisho_identity_exhausted_total',
    type: 'counter',
    help: 'Label sets for which no number was left',
    place: IDENTITY.exhausted,
  },
  {
    name: 'sekisho_identity_adopted_total',
    type: 'counter',
    help: 'Entries adopted from the kernel at start',
    place: IDENTITY.adopted,
  },
  {
    name: 'sekisho_identity_unknown_removed_total',
    type: 'counter',
    help: 'Entries with an unknown identity removed at start',
    place: IDENTITY.unknownRemoved,
  },
  {
    name: 'sekisho_identity_reconciles_total',
    type: 'counter',
    help: 'Comparisons with the kernel',
    place: IDENTITY.reconciles,
  },
  { name: 'sekisho_identity_retries_total', type: 'counter', help: 'Writes tried again', place: IDENTITY.retries },
]

const SPECS: readonly MetricSpec[] = [
  ...PLAIN.map(({ name, type, help }): MetricSpec => ({ name, type, help })),
  {
    name: 'sekisho_identity_out_of_sync_total',
    help: 'Entries of the ipcache found different from what was written, and repaired',
    type: 'counter',
    labels: { kind: DRIFTS },
  },
  {
    name: 'sekisho_identity_rows_out_of_sync_total',
    help: 'Rows of policy maps found different from what was written, and repaired',
    type: 'counter',
    labels: { kind: DRIFTS },
  },
  { name: 'sekisho_identity_apply_seconds', help: 'Time the last policy change took', type: 'gauge' },
  { name: 'sekisho_identity_longest_slice_seconds', help: 'Longest slice of work since start', type: 'gauge' },
]

/** `stats`: the ledger's statistics memory. */
export function identityMetrics(stats: Float64Array): MetricSource {
  const at = (place: number): number => stats[place] ?? 0
  return {
    specs: SPECS,
    *collect(): Iterable<MetricSample> {
      for (const { name, place } of PLAIN) yield { name, value: at(place) }
      for (const kind of DRIFTS) {
        yield { name: 'sekisho_identity_out_of_sync_total', labels: { kind }, value: at(IDENTITY[kind]) }
        yield { name: 'sekisho_identity_rows_out_of_sync_total', labels: { kind }, value: at(ROW_DRIFTS[kind]) }
      }
      yield { name: 'sekisho_identity_apply_seconds', value: at(IDENTITY.applyMs) / 1000 }
      yield { name: 'sekisho_identity_longest_slice_seconds', value: at(IDENTITY.longestSliceMs) / 1000 }
    },
  }
}

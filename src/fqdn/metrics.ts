import type { MetricSample, MetricSource, MetricSpec } from '../core/metric.ts'
import { FQDN } from './counters.ts'

const counter = (name: string, help: string, labels?: MetricSpec['labels']): MetricSpec => ({
  name,
  help,
  type: 'counter',
  ...(labels === undefined ? {} : { labels }),
})
const gauge = (name: string, help: string): MetricSpec => ({ name, help, type: 'gauge' })

const REFUSALS = ['entries', 'names', 'addresses', 'endpoint', 'share'] as const
const STATUSES = ['ok', 'refused', 'failed'] as const
const SPECS: readonly MetricSpec[] = [
  gauge('sekisho_fqdn_names', 'Names known'),
  gauge('sekisho_fqdn_entries', '(endpoint, name, address) entries'),
  gauge('sekisho_fqdn_addresses', 'Addresses that names resolved to'),
  gauge('sekisho_fqdn_orphans', 'Addresses kept without a name: adopted, or their endpoint is gone'),
  counter('sekisho_fqdn_learned_total', 'Entries made'),
  counter('sekisho_fqdn_renewed_total', 'Entries renewed by the slow path'),
  counter('sekisho_fqdn_expired_total', 'Entries removed: over time, and no connection lives'),
  counter('sekisho_fqdn_kept_by_connection_total', 'Entries over time that a conntrack pass kept'),
  counter('sekisho_fqdn_evicted_total', 'Removed to make room', { what: ['entry', 'name'] }),
  counter('sekisho_fqdn_refused_total', 'Not learned, by the limit that was reached', { limit: REFUSALS }),
  counter('sekisho_fqdn_requests_total', 'Answers given to the ledger, by how it ended', { status: STATUSES }),
  counter('sekisho_fqdn_table_full_total', 'Mappings without a place in the table of standing mappings'),
  counter('sekisho_fqdn_conntrack_passes_total', 'Passes over conntrack'),
  counter('sekisho_fqdn_restored_total', 'Entries read from the state directory'),
  counter('sekisho_fqdn_state_damage_total', 'State files read', { what: ['torn', 'discarded'] }),
  counter('sekisho_fqdn_journal_errors_total', 'Appends to the journal that failed'),
  counter('sekisho_fqdn_snapshots_total', 'State snapshots encoded'),
]

/** `stats`: the ledger's statistics memory. */
export function fqdnMetrics(stats: Float64Array): MetricSource {
  const at = (place: number): number => stats[place] ?? 0
  return {
    specs: SPECS,
    *collect(): Iterable<MetricSample> {
      yield { name: 'sekisho_fqdn_names', value: at(FQDN.names) }
      yield { name: 'sekisho_fqdn_entries', value: at(FQDN.entries) }
      yield { name: 'sekisho_fqdn_addresses', value: at(FQDN.addresses) }
      yield { name: 'sekisho_fqdn_orphans', value: at(FQDN.orphans) }
      yield { name: 'sekisho_fqdn_learned_total', value: at(FQDN.learned) }
      yield { name: 'sekisho_fqdn_renewed_total', value: at(FQDN.renewed) }
      yield { name: 'sekisho_fqdn_expired_total', value: at(FQDN.expired) }
      yield { name: 'sekisho_fqdn_kept_by_connection_total', value: at(FQDN.keptByConntrack) }
      yield { name: 'sekisho_fqdn_evicted_total', labels: { what: 'entry' }, value: at(FQDN.evictedEntries) }
      yield { name: 'sekisho_fqdn_evicted_total', labels: { what: 'name' }, value: at(FQDN.evictedNames) }
      const refused = [
        FQDN.refusedEntries,
        FQDN.refusedNames,
        FQDN.refusedAddresses,
        FQDN.refusedEndpoint,
        FQDN.refusedShare,
      ]
      for (const [i, limit] of REFUSALS.entries()) {
        yield { name: 'sekisho_fqdn_refused_total', labels: { limit }, value: at(refused[i] as number) }
      }
      const completed = [FQDN.completedOk, FQDN.completedRefused, FQDN.completedFailed]
      for (const [i, status] of STATUSES.entries()) {
        yield { name: 'sekisho_fqdn_requests_total', labels: { status }, value: at(completed[i] as number) }
      }
      yield { name: 'sekisho_fqdn_table_full_total', value: at(FQDN.tableFull) }
      yield { name: 'sekisho_fqdn_conntrack_passes_total', value: at(FQDN.passes) }
      yield { name: 'sekisho_fqdn_restored_total', value: at(FQDN.restored) }
      yield { name: 'sekisho_fqdn_state_damage_total', labels: { what: 'torn' }, value: at(FQDN.tornRecords) }
      yield { name: 'sekisho_fqdn_state_damage_total', labels: { what: 'discarded' }, value: at(FQDN.discardedFiles) }
      yield { name: 'sekisho_fqdn_journal_errors_total', value: at(FQDN.journalErrors) }
      yield { name: 'sekisho_fqdn_snapshots_total', value: at(FQDN.snapshots) }
    },
  }
}

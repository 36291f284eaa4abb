import type { MetricSample, MetricSource } from '../core/metric.ts'
import { MODES } from './activation.ts'
import type { CpuSampler } from './cpu-sampler.ts'
import { LINK_ERRORS, readLinkErrors } from './link-errors.ts'
import {
  AGE_BUCKETS,
  MOST_PEERS,
  PHASES,
  RECORD_AGE_BUCKETS,
  RTT_BUCKETS,
  STATES,
  wgPeerSpecs,
  wgSpecs,
} from './metrics-specs.ts'
import { FINDING_CODES, type Finding } from './observe/findings.ts'
import {
  AWAITED,
  RECREATION_REASONS,
  type WgPeerReport,
  type WgReport,
  type WgTunnelReport,
  type WgView,
} from './report.ts'
import { SLOTS, type Slot } from './slots.ts'
import { TransferTotals } from './transfer-totals.ts'

export { wgPeerSpecs, wgSpecs } from './metrics-specs.ts'

type View = Pick<WgView, 'peers' | 'counters'> & { report(): WgReport & { readonly findings?: readonly Finding[] } }

export interface WgMetricsOptions {
  /** Series of each peer too. */
  readonly perPeer?: boolean
  /** Without, processor time is not told. */
  readonly cpu?: Pick<CpuSampler, 'totals' | 'visible'>
  readonly linkErrors?: typeof readLinkErrors
}

/** Metrics of the seal, from what the engine tells at the moment of a scrape. */
export function wgMetrics(view: View, options: WgMetricsOptions = {}): MetricSource {
  const transfer = new TransferTotals()
  const linkErrors = options.linkErrors ?? readLinkErrors
  const perPeer = options.perPeer === true
  return {
    specs: perPeer ? [...wgSpecs, ...wgPeerSpecs] : wgSpecs,
    *collect() {
      const report = view.report()
      const peers = view.peers()
      transfer.observe(peers)
      yield* ofPeers(report, peers)
      yield* ofSlots(report, peers, linkErrors)
      yield* transfer.samples()
      yield* ofRotation(report)
      yield* ofRest(report)
      yield* ofCounters(view.counters())
      yield {
        name: 'sekisho_wg_record_age_seconds',
        ...countsOf(
          RECORD_AGE_BUCKETS,
          peers.map((one) => one.recordAgeSeconds),
        ),
      }
      if (options.cpu !== undefined) yield* ofCpu(options.cpu, report.driver)
      if (perPeer) yield* ofEachPeer(peers)
    },
  }
}

const sample = (name: string, value: number, labels?: Readonly<Record<string, string>>): MetricSample => ({
  name,
  value,
  ...(labels === undefined ? {} : { labels }),
})

function* ofPeers({ peers: counts }: WgReport, peers: readonly WgPeerReport[]): Iterable<MetricSample> {
  for (const state of ['expected', 'active', 'strict', 'unproven'] as const)
    yield sample('sekisho_wg_peers', counts[state], { state })
  for (const mode of MODES)
    yield sample('sekisho_wg_pairs', peers.filter((peer) => peer.mode === mode).length, { mode })
  yield sample('sekisho_wg_excused_peers', peers.filter(({ excused }) => excused).length)
}

function* ofSlots(
  { slots }: WgReport,
  peers: readonly WgPeerReport[],
  linkErrors: typeof readLinkErrors,
): Iterable<MetricSample> {
  for (const { slot: id, device, programmed, proven, keyAgeSeconds, generation, mtu, recreatedFor } of slots) {
    const slot = String(id)
    const tunnels = peers.flatMap((peer) => peer.tunnels.filter((tunnel) => tunnel.slot === id))
    yield sample('sekisho_wg_egress_peers', peers.filter(({ egress }) => egress === id).length, { slot })
    yield sample('sekisho_wg_programmed_peers', programmed, { slot })
    yield sample('sekisho_wg_proven_peers', proven, { slot })
    for (const state of STATES) {
      yield sample('sekisho_wg_tunnels', tunnels.filter((tunnel) => tunnel.state === state).length, { slot, state })
    }
    yield histogram(
      'sekisho_wg_handshake_age_seconds',
      slot,
      AGE_BUCKETS,
      tunnels,
      ({ handshakeAgeSeconds }) => handshakeAgeSeconds,
    )
    yield histogram('sekisho_wg_probe_rtt_seconds', slot, RTT_BUCKETS, tunnels, rttSeconds)
    yield sample('sekisho_wg_key_age_seconds', keyAgeSeconds, { slot })
    yield sample('sekisho_wg_key_generation', generation, { slot })
    yield sample('sekisho_wg_mtu_bytes', mtu, { slot })
    for (const reason of RECREATION_REASONS)
      yield sample('sekisho_wg_device_recreations_total', recreatedFor[reason], { slot, reason })
    const errors = linkErrors(device)
    if (errors !== undefined) {
      for (const kind of LINK_ERRORS) yield sample('sekisho_wg_device_errors_total', errors[kind], { slot, kind })
    }
  }
}

const rttSeconds = ({ rttMs }: WgTunnelReport): number | undefined => (rttMs === undefined ? undefined : rttMs / 1000)

function histogram(
  name: string,
  slot: string,
  buckets: readonly number[],
  tunnels: readonly WgTunnelReport[],
  valueOf: (tunnel: WgTunnelReport) => number | undefined,
): MetricSample {
  return { name, labels: { slot }, ...countsOf(buckets, tunnels.map(valueOf)) }
}

function countsOf(
  buckets: readonly number[],
  values: readonly (number | undefined)[],
): { counts: number[]; sum: number } {
  const counts = new Array<number>(buckets.length + 1).fill(0)
  let sum = 0
  for (const value of values) {
    if (value === undefined) continue
    const found = buckets.findIndex((bound) => value <= bound)
    const at = found < 0 ? buckets.length : found
    counts[at] = (counts[at] ?? 0) + 1
    sum += value
  }
  return { counts, sum }
}

function* ofRotation({ rotation }: WgReport): Iterable<MetricSample> {
  for (const phase of PHASES) yield sample('sekisho_wg_rotation_phase', phase === rotation.phase ? 1 : 0, { phase })
  yield sample('sekisho_wg_rotation_phase_seconds', rotation.seconds)
  if (rotation.lastSeconds !== undefined) yield sample('sekisho_wg_rotation_last_seconds', rotation.lastSeconds)
  for (const why of AWAITED) {
    const found = rotation.awaited.find((one) => one.why === why)
    yield sample('sekisho_wg_rotation_awaited_peers', found?.count ?? 0, { why })
  }
  yield sample('sekisho_wg_rotations_total', rotation.completed)
}

function* ofRest(report: ReturnType<View['report']>): Iterable<MetricSample> {
  const { directory, dropped, warnings, findings, largePodInterfaces = 0 } = report
  yield sample('sekisho_wg_refused_records', directory.refused.length)
  yield sample('sekisho_wg_directory_up', directory.complete && directory.lost === undefined ? 1 : 0)
  yield sample('sekisho_wg_directory_age_seconds', directory.ageSeconds)
  for (const { direction, family, packets } of dropped) {
    yield sample('sekisho_wg_cleartext_dropped_packets_total', packets, { direction, family: String(family) })
  }
  yield sample('sekisho_wg_warnings', warnings.length)
  yield sample('sekisho_wg_large_pod_interfaces', largePodInterfaces)
  if (findings === undefined) return
  for (const code of FINDING_CODES)
    yield sample('sekisho_wg_findings', findings.filter((one) => one.code === code).length, { code })
}

function* ofCounters(counters: ReturnType<WgView['counters']>): Iterable<MetricSample> {
  for (const [repair, value] of Object.entries(counters.repairs))
    yield sample('sekisho_wg_repairs_total', value, { repair })
  for (const [reason, value] of Object.entries(counters.refused))
    yield sample('sekisho_wg_record_refusals_total', value, { reason })
  for (const [result, value] of Object.entries(counters.probes))
    yield sample('sekisho_wg_probes_total', value, { result })
  yield sample('sekisho_wg_failovers_total', counters.failovers)
  yield sample('sekisho_wg_address_changes_total', counters.peerMoves)
  yield sample('sekisho_wg_dumps_interrupted_total', counters.dumpsInterrupted)
  yield sample('sekisho_wg_directory_writes_total', counters.directoryWrites)
  yield sample('sekisho_wg_errors_total', counters.errors)
  for (const [op, { counts, sum }] of Object.entries(counters.calls ?? {})) {
    yield { name: 'sekisho_wg_netlink_call_seconds', labels: { op }, counts, sum }
  }
}

/** Of the driver that is there: a program's devices have no threads of WireGuard in the kernel. */
function* ofCpu(cpu: Pick<CpuSampler, 'totals' | 'visible'>, driver: WgReport['driver']): Iterable<MetricSample> {
  const ofKernel = driver === 'kernel'
  const name = ofKernel ? 'sekisho_wg_kernel_cpu_seconds_total' : 'sekisho_wg_userspace_cpu_seconds_total'
  // So that there are series before the first figure.
  yield sample(name, 0, { slot: '0', ...(ofKernel ? { work: 'crypt' } : {}) })
  for (const { slot, work, seconds } of cpu.totals()) {
    if ((work !== undefined) !== ofKernel) continue
    yield sample(name, seconds, { slot: String(slot), ...(work === undefined ? {} : { work }) })
  }
  if (ofKernel) yield sample('sekisho_wg_kernel_cpu_visible', cpu.visible ? 1 : 0)
}

function* ofEachPeer(peers: readonly WgPeerReport[]): Iterable<MetricSample> {
  const told = peers.toSorted((a, b) => (a.name < b.name ? -1 : 1)).slice(0, MOST_PEERS)
  yield sample('sekisho_wg_peer_series_left_out', peers.length - told.length)
  for (const { name: peer, egress, tunnels } of told) {
    yield sample('sekisho_wg_peer_egress_slot', egress, { peer })
    for (const id of SLOTS) {
      const tunnel = tunnels.find(({ slot }) => slot === id)
      if (tunnel !== undefined) yield* ofTunnel(peer, id, tunnel)
    }
  }
}

function* ofTunnel(peer: string, id: Slot, tunnel: WgTunnelReport): Iterable<MetricSample> {
  const labels = { slot: String(id), peer }
  yield sample('sekisho_wg_peer_proven', tunnel.state === 'proven' ? 1 : 0, labels)
  yield sample('sekisho_wg_peer_probes_lost', tunnel.probesLost, labels)
  if (tunnel.handshakeAgeSeconds !== undefined)
    yield sample('sekisho_wg_peer_handshake_age_seconds', tunnel.handshakeAgeSeconds, labels)
  const rtt = rttSeconds(tunnel)
  if (rtt !== undefined) yield sample('sekisho_wg_peer_probe_rtt_seconds', rtt, labels)
}

import type { MetricSpec } from '../core/metric.ts'
import { MODES } from './activation.ts'
import { CALL_BUCKETS, CALLS } from './call-times.ts'
import { CPU_WORK } from './cpu.ts'
import { REFUSALS } from './directory/read-record.ts'
import { LINK_ERRORS } from './link-errors.ts'
import { FINDING_CODES } from './observe/findings.ts'
import { AWAITED, RECREATION_REASONS } from './report.ts'
import { GUARD_DIRECTIONS, ROUTE_REPAIRS } from './seams.ts'

const SLOT = ['0', '1'] as const
export const REPAIRS = [...ROUTE_REPAIRS, 'peer', 'device', 'key', 'guard'] as const
export const PHASES = ['idle', 'waiting', 'draining', 'rekeying', 'settling'] as const
export const STATES = ['absent', 'installed', 'proven', 'suspect', 'dead'] as const

/** A session is renewed at 120 s and dies at 180 s. */
export const AGE_BUCKETS = [30, 60, 120, 135, 150, 180, 300, 900, 3600, 86_400] as const
export const RTT_BUCKETS = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1] as const

/** A record changes with every rotation: by default each half day. */
export const RECORD_AGE_BUCKETS = [60, 600, 3600, 21_600, 43_200, 86_400, 172_800, 604_800] as const

/** Nodes with series of their own; two slots each stay within what the registry allows. */
export const MOST_PEERS = 1000

type Labels = MetricSpec['labels']
const spec = (type: 'counter' | 'gauge', name: string, help: string, labels?: Labels): MetricSpec => ({
  name,
  help,
  type,
  ...(labels === undefined ? {} : { labels }),
})
const gauge = (name: string, help: string, labels?: Labels): MetricSpec => spec('gauge', name, help, labels)
const counter = (name: string, help: string, labels?: Labels): MetricSpec => spec('counter', name, help, labels)
const ofOneDriver = (name: string, help: string, labels: Labels): MetricSpec => ({
  ...counter(name, help, labels),
  sparse: true,
})

export const wgSpecs: readonly MetricSpec[] = [
  gauge(
    'sekisho_wg_peers',
    'Other nodes in the directory; those we send to encrypted, with clear text dropped, and with no proven slot.',
    {
      state: ['expected', 'active', 'strict', 'unproven'],
    },
  ),
  gauge('sekisho_wg_pairs', 'Peers by how far encryption with them has come.', { mode: MODES }),
  gauge('sekisho_wg_egress_peers', 'Peers by the slot that we send to them through.', { slot: SLOT }),
  gauge('sekisho_wg_excused_peers', 'Peers that rotations do not wait for, because they are not ready for long.'),
  gauge('sekisho_wg_programmed_peers', 'Peers as the device of the slot has them.', { slot: SLOT }),
  gauge('sekisho_wg_proven_peers', 'Peers that a handshake and a probe have proven, by slot.', { slot: SLOT }),
  gauge('sekisho_wg_tunnels', 'Tunnels by slot and state.', { slot: SLOT, state: STATES }),
  {
    name: 'sekisho_wg_handshake_age_seconds',
    help: 'Age of the last handshake of each peer, at this moment.',
    type: 'histogram',
    labels: { slot: SLOT },
    buckets: AGE_BUCKETS,
  },
  {
    name: 'sekisho_wg_probe_rtt_seconds',
    help: 'Round trip of the last answered probe of each peer, at this moment.',
    type: 'histogram',
    labels: { slot: SLOT },
    buckets: RTT_BUCKETS,
  },
  counter('sekisho_wg_probes_total', 'Probes through the tunnels.', { result: ['answered', 'lost'] }),
  counter('sekisho_wg_transfer_bytes_total', 'Octets through the devices, with handshakes and keepalives.', {
    slot: SLOT,
    direction: ['received', 'sent'],
  }),
  gauge('sekisho_wg_key_age_seconds', 'Age of our key of the slot.', { slot: SLOT }),
  gauge('sekisho_wg_key_generation', 'How often the key of the slot was changed since the node first published.', {
    slot: SLOT,
  }),
  gauge('sekisho_wg_mtu_bytes', 'MTU of the device of the slot.', { slot: SLOT }),
  gauge('sekisho_wg_rotation_phase', '1 for the phase that the rotation is in, 0 for the others.', { phase: PHASES }),
  gauge('sekisho_wg_rotation_phase_seconds', 'Time in this phase.'),
  gauge('sekisho_wg_rotation_last_seconds', 'How long the last rotation took.'),
  gauge('sekisho_wg_rotation_awaited_peers', 'Peers that the rotation waits for, by why.', { why: AWAITED }),
  counter('sekisho_wg_rotations_total', 'Rotations that ended.'),
  counter(
    'sekisho_wg_device_recreations_total',
    'How often the device of the slot was made again: it was gone, or it was there and did not carry.',
    { slot: SLOT, reason: RECREATION_REASONS },
  ),
  counter(
    'sekisho_wg_device_errors_total',
    'Errors that the device counts: a source outside of the allowed IPs; received in vain; not sent.',
    {
      slot: SLOT,
      kind: LINK_ERRORS,
    },
  ),
  counter('sekisho_wg_failovers_total', 'Peers moved to the other slot because theirs failed.'),
  counter(
    'sekisho_wg_address_changes_total',
    'Records that gave a peer other addresses; devices, routes and guard follow.',
  ),
  counter('sekisho_wg_repairs_total', 'What was found wrong in the kernel and mended.', { repair: REPAIRS }),
  counter('sekisho_wg_record_refusals_total', 'Records of other nodes that were refused.', { reason: REFUSALS }),
  gauge('sekisho_wg_refused_records', 'Records that are refused now.'),
  gauge('sekisho_wg_directory_up', '1 while the directory is read whole and not lost.'),
  gauge('sekisho_wg_directory_age_seconds', 'Since the directory was last read whole.'),
  {
    name: 'sekisho_wg_record_age_seconds',
    help: 'Since the record of each peer last changed, at this moment; each rotation changes it twice.',
    type: 'histogram',
    buckets: RECORD_AGE_BUCKETS,
  },
  {
    name: 'sekisho_wg_netlink_call_seconds',
    help: 'Calls of WireGuard devices and looks at routes and rules, with what they waited for others.',
    type: 'histogram',
    labels: { op: CALLS },
    buckets: CALL_BUCKETS,
  },
  counter('sekisho_wg_directory_writes_total', 'Writes of our own record.'),
  counter('sekisho_wg_dumps_interrupted_total', 'Dumps of a device that changed while it was read.'),
  counter('sekisho_wg_errors_total', 'Steps that failed and are tried again; the log says which.'),
  counter('sekisho_wg_cleartext_dropped_packets_total', 'Clear text of protected prefixes that was dropped.', {
    direction: GUARD_DIRECTIONS,
    family: ['4', '6'],
  }),
  gauge('sekisho_wg_findings', 'Observe mode: what is wrong with the other manager’s device.', { code: FINDING_CODES }),
  gauge('sekisho_wg_warnings', 'Settings of the host that break the seal.'),
  gauge('sekisho_wg_large_pod_interfaces', 'Interfaces of pods with an MTU above that of the tunnels.'),
  ofOneDriver(
    'sekisho_wg_kernel_cpu_seconds_total',
    'With the kernel’s WireGuard: processor time of its threads, an estimate; soft interrupts are not in it.',
    { slot: SLOT, work: CPU_WORK },
  ),
  ofOneDriver('sekisho_wg_userspace_cpu_seconds_total', 'With the userspace driver: processor time of its processes.', {
    slot: SLOT,
  }),
  gauge(
    'sekisho_wg_kernel_cpu_visible',
    'With the kernel’s WireGuard: 1 when kernel threads can be seen in /proc; 0 in a PID namespace of the agent’s own.',
  ),
]

const perPeer = (name: string, help: string, labels?: Labels): MetricSpec => ({
  ...gauge(name, help, labels),
  open: { peer: MOST_PEERS },
})

/** With `wireguard.metrics.perPeer` only. */
export const wgPeerSpecs: readonly MetricSpec[] = [
  perPeer('sekisho_wg_peer_handshake_age_seconds', 'Age of the last handshake with the node.', { slot: SLOT }),
  perPeer('sekisho_wg_peer_proven', '1 when the tunnel to the node is proven.', { slot: SLOT }),
  perPeer('sekisho_wg_peer_probe_rtt_seconds', 'Round trip of the last answered probe.', { slot: SLOT }),
  perPeer('sekisho_wg_peer_probes_lost', 'Probes lost in a row.', { slot: SLOT }),
  perPeer('sekisho_wg_peer_egress_slot', 'The slot that we send to the node through.'),
  gauge(
    'sekisho_wg_peer_series_left_out',
    'Nodes without series of their own, because there are more than these metrics are for.',
  ),
]

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createMetrics } from '../../src/metrics/registry.ts'
import { CallTimes } from '../../src/wg/call-times.ts'
import { readLinkErrors } from '../../src/wg/link-errors.ts'
import { wgMetrics, type WgMetricsOptions } from '../../src/wg/metrics.ts'
import type { WgView } from '../../src/wg/report.ts'
import { counters, fakeSeal, KEYS, peer, report, tunnel } from '../support/wg/fake-view.ts'

async function render(view: WgView, options: WgMetricsOptions = {}, times = 1): Promise<string[]> {
  const metrics = createMetrics({ process: false })
  metrics.add(wgMetrics(view, options))
  let text = ''
  for (let i = 0; i < times; i++) text = await metrics.render()
  expect(text).not.toMatch(/sekisho_metrics_rejected_samples_total\{[^}]*\} [1-9]/)
  return text.split('\n')
}

const PEERS = [
  peer(),
  peer({
    uid: 'uid-3',
    name: 'n3',
    egress: 1,
    mode: 'off',
    excused: true,
    tunnels: [
      tunnel(0, { publicKey: KEYS.n3, state: 'installed', handshakeAgeSeconds: undefined, rttMs: undefined }),
      tunnel(1, { publicKey: KEYS.n3, state: 'dead', handshakeAgeSeconds: 200, probesLost: 3 }),
    ],
  }),
]

test('what the engine tells is counted under closed labels', async () => {
  const refused = { ...counters().refused, 'key-taken': 4 }
  const repairs = { ...counters().repairs, rp_filter: 2, device: 1 }
  const view = fakeSeal({
    peers: () => PEERS,
    counters: () => counters({ refused, repairs, probes: { answered: 90, lost: 10 }, failovers: 5, peerMoves: 3 }),
    report: () =>
      report({ directory: { ...report().directory, refused: [{ name: 'x', reason: 'slots', detail: '' }] } }),
  })
  const lines = await render(view, { linkErrors: () => ({ rx_frame: 7, rx: 8, tx: 9 }) })
  for (const line of [
    'sekisho_wg_peers{state="expected"} 1',
    'sekisho_wg_pairs{mode="active"} 1',
    'sekisho_wg_pairs{mode="strict"} 0',
    'sekisho_wg_egress_peers{slot="1"} 1',
    'sekisho_wg_excused_peers 1',
    'sekisho_wg_address_changes_total 3',
    'sekisho_wg_programmed_peers{slot="0"} 1',
    'sekisho_wg_proven_peers{slot="1"} 1',
    'sekisho_wg_tunnels{slot="1",state="dead"} 1',
    'sekisho_wg_tunnels{slot="0",state="proven"} 1',
    'sekisho_wg_handshake_age_seconds_bucket{slot="1",le="180"} 1',
    'sekisho_wg_handshake_age_seconds_bucket{slot="1",le="300"} 2',
    'sekisho_wg_handshake_age_seconds_sum{slot="1"} 242.5',
    'sekisho_wg_handshake_age_seconds_count{slot="0"} 1',
    'sekisho_wg_probe_rtt_seconds_bucket{slot="0",le="0.0005"} 1',
    'sekisho_wg_probes_total{result="lost"} 10',
    'sekisho_wg_key_age_seconds{slot="1"} 50400',
    'sekisho_wg_key_generation{slot="0"} 3',
    'sekisho_wg_mtu_bytes{slot="0"} 1408',
    'sekisho_wg_rotation_phase{phase="idle"} 1',
    'sekisho_wg_rotation_phase{phase="draining"} 0',
    'sekisho_wg_rotation_last_seconds 7.4',
    'sekisho_wg_rotation_awaited_peers{why="on-slot"} 0',
    'sekisho_wg_rotations_total 1',
    'sekisho_wg_device_recreations_total{slot="1",reason="broken"} 1',
    'sekisho_wg_device_errors_total{slot="1",kind="rx_frame"} 7',
    'sekisho_wg_failovers_total 5',
    'sekisho_wg_repairs_total{repair="rp_filter"} 2',
    'sekisho_wg_record_refusals_total{reason="key-taken"} 4',
    'sekisho_wg_refused_records 1',
    'sekisho_wg_directory_up 1',
    'sekisho_wg_cleartext_dropped_packets_total{direction="ingress",family="4"} 12',
  ]) {
    expect(lines).toContain(line)
  }
  expect(lines.filter((line) => /^sekisho_wg_(findings|peer_|kernel_cpu_visible)/.test(line))).toEqual([])
  expect(lines.join('\n')).not.toContain('n3')
})

test('a rotation shows its phase and whom it waits for', async () => {
  const rotation = {
    ...report().rotation,
    phase: 'draining',
    slot: 1,
    awaited: [{ why: 'unheard', count: 3, names: ['a', 'b', 'c'] }],
  } as const
  const lines = await render(fakeSeal({ report: () => report({ rotation }) }))
  expect(lines).toContain('sekisho_wg_rotation_phase{phase="draining"} 1')
  expect(lines).toContain('sekisho_wg_rotation_awaited_peers{why="unheard"} 3')
})

test('octets never fall: a peer that goes, or has a new key, leaves what it had', async () => {
  const octets = (rxBytes: number, publicKey = KEYS.n2): ReturnType<typeof peer> =>
    peer({ tunnels: [tunnel(0, { rxBytes, txBytes: 1, publicKey })] })
  const looks = [[octets(100)], [octets(150)], [octets(30, KEYS.n3)], [octets(40, KEYS.n3)], [octets(5, KEYS.n3)], []]
  let look = 0
  const view = fakeSeal({ peers: () => looks[look++] ?? [] })
  const lines = await render(view, {}, looks.length)
  expect(lines).toContain('sekisho_wg_transfer_bytes_total{slot="0",direction="received"} 195')
  expect(lines).toContain('sekisho_wg_transfer_bytes_total{slot="1",direction="received"} 0')
})

test('processor time comes with a sampler, and is that of the driver that is there', async () => {
  const cpu = {
    visible: true,
    totals: () => [
      { slot: 0, work: 'crypt', seconds: 2.5 } as const,
      // A device of this name that is no WireGuard of the kernel's has such threads too.
      { slot: 1, work: 'napi', seconds: 1 } as const,
      { slot: 1, work: undefined, seconds: 4 } as const,
    ],
  }
  const told = async (driver: 'kernel' | 'userspace', sampler: typeof cpu): Promise<string[]> =>
    (await render(fakeSeal({ report: () => report({ driver }) }), { cpu: sampler })).filter((line) =>
      /^sekisho_wg_(kernel|userspace)_cpu/.test(line),
    )
  const kernel = await told('kernel', cpu)
  expect(kernel).toHaveLength(7)
  expect(kernel).toContain('sekisho_wg_kernel_cpu_seconds_total{slot="0",work="crypt"} 2.5')
  expect(kernel).toContain('sekisho_wg_kernel_cpu_seconds_total{slot="1",work="kex"} 0')
  expect(kernel).toContain('sekisho_wg_kernel_cpu_visible 1')
  expect(await told('userspace', cpu)).toEqual([
    'sekisho_wg_userspace_cpu_seconds_total{slot="0"} 0',
    'sekisho_wg_userspace_cpu_seconds_total{slot="1"} 4',
  ])
  const none = { visible: false, totals: () => [] }
  expect(await told('kernel', none)).toContain('sekisho_wg_kernel_cpu_seconds_total{slot="0",work="crypt"} 0')
  expect(await told('userspace', none)).toHaveLength(2)
})

test('findings of observe mode are counted by code', async () => {
  const findings = [
    { code: 'peer-missing', peer: 'n2', text: '' },
    { code: 'peer-missing', peer: 'n3', text: '' },
  ] as const
  const lines = await render(fakeSeal({ report: () => ({ ...report({ mode: 'observe' }), findings }) }))
  expect(lines).toContain('sekisho_wg_findings{code="peer-missing"} 2')
  expect(lines).toContain('sekisho_wg_findings{code="mtu"} 0')
})

test('series of each peer only when they are wanted, and of a thousand at the most', async () => {
  const lines = await render(fakeSeal({ peers: () => PEERS }), { perPeer: true })
  expect(lines).toContain('sekisho_wg_peer_proven{slot="0",peer="n2"} 1')
  expect(lines).toContain('sekisho_wg_peer_handshake_age_seconds{slot="1",peer="n3"} 200')
  expect(lines).toContain('sekisho_wg_peer_egress_slot{peer="n3"} 1')
  expect(lines).toContain('sekisho_wg_peer_series_left_out 0')
  expect(lines.some((line) => line.startsWith('sekisho_wg_peer_handshake_age_seconds{slot="0",peer="n3"}'))).toBe(false)
  const many = Array.from({ length: 1500 }, (_, i) => peer({ uid: `u${i}`, name: `n"\n${i}` }))
  const text = await render(fakeSeal({ peers: () => many }), { perPeer: true })
  expect(text.filter((line) => line.startsWith('sekisho_wg_peer_proven{'))).toHaveLength(2000)
  expect(text).toContain('sekisho_wg_peer_series_left_out 500')
})

test('errors of a device are read from sysfs', () => {
  const root = mkdtempSync(join(tmpdir(), 'srf-net-'))
  mkdirSync(join(root, 'kwg0/statistics'), { recursive: true })
  for (const [kind, count] of Object.entries({ rx_frame: 3, rx: 4, tx: 5 })) {
    writeFileSync(join(root, 'kwg0/statistics', `${kind}_errors`), `${count}\n`)
  }
  expect(readLinkErrors('kwg0', root)).toEqual({ rx_frame: 3, rx: 4, tx: 5 })
  expect(readLinkErrors('kwg1', root)).toBeUndefined()
  expect(readLinkErrors('lo')).toMatchObject({ rx_frame: 0 })
  rmSync(root, { recursive: true })
})

test('calls of the kernel and the age of records are told', async () => {
  const times = new CallTimes()
  await times.time('read', Promise.resolve())
  await times.time('key', Promise.reject(new Error('no'))).catch(() => undefined)
  const view = fakeSeal({
    peers: () => PEERS.map((one, i) => ({ ...one, recordAgeSeconds: i === 0 ? 100 : 90_000 })),
    counters: () => counters({ calls: times.totals }),
  })
  const lines = await render(view)
  for (const line of [
    'sekisho_wg_netlink_call_seconds_count{op="read"} 1',
    'sekisho_wg_netlink_call_seconds_count{op="key"} 1',
    'sekisho_wg_netlink_call_seconds_count{op="routes"} 0',
    'sekisho_wg_netlink_call_seconds_bucket{op="read",le="0.25"} 1',
    'sekisho_wg_record_age_seconds_bucket{le="60"} 0',
    'sekisho_wg_record_age_seconds_bucket{le="600"} 1',
    'sekisho_wg_record_age_seconds_bucket{le="86400"} 1',
    'sekisho_wg_record_age_seconds_sum 90100',
    'sekisho_wg_record_age_seconds_count 2',
  ]) {
    expect(lines).toContain(line)
  }
})

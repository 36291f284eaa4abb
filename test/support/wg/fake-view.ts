import type { WgCounters, WgPeerReport, WgReport, WgTunnelReport, WgView } from '../../../src/wg/report.ts'
import { REFUSALS } from '../../../src/wg/directory/read-record.ts'
import type { Slot } from '../../../src/wg/slots.ts'

export const KEYS = {
  own0: 'DrAc2EloK45yqAcjhxerQKwoYUbLDjyrWgt9UXImbEY=',
  own1: 'jikeOvVATORm/1GD0kZLxKhw1lofdsfdgiXWVyVIR3Q=',
  n2: 'RcYfs/GEkcnnv6moK5A1pKnd+YYUue21jO9I08Bv0zo=',
  n3: '3qwZEQLdK5IcFcdXxtr1m8RkDqznPVWEEirJ88+zDyk=',
}

export const tunnel = (slot: Slot, over: Partial<WgTunnelReport> = {}): WgTunnelReport => ({
  slot,
  state: 'proven',
  publicKey: KEYS.n2,
  endpoint: `192.0.2.2:${51_871 + slot}`,
  allowedIps: ['10.1.2.0/24', 'fd00:2::/64'],
  handshakeAgeSeconds: 42.5,
  rxBytes: 2_457_024,
  txBytes: 15_746_568,
  probesLost: 0,
  rttMs: 0.41,
  ...over,
})

export const peer = (over: Partial<WgPeerReport> = {}): WgPeerReport => ({
  uid: 'uid-2',
  name: 'n2',
  endpoints: ['192.0.2.2'],
  prefixes: ['10.1.2.0/24', 'fd00:2::/64'],
  egress: 0,
  mode: 'active',
  excused: false,
  tunnels: [tunnel(0), tunnel(1)],
  announced: { egress: 0, mode: 'active', ageSeconds: 1.2 },
  ...over,
})

export const report = (over: Partial<WgReport> = {}): WgReport => ({
  mode: 'manage',
  driver: 'kernel',
  domain: 'prod',
  node: 'n1',
  endpoints: ['192.0.2.1'],
  target: 'active',
  nodeEncryption: false,
  mtu: 1408,
  slots: [
    {
      slot: 0,
      device: 'kwg0',
      publicKey: KEYS.own0,
      port: 51_871,
      generation: 3,
      keyAgeSeconds: 7200,
      mtu: 1408,
      programmed: 1,
      proven: 1,
      recreations: 0,
      recreatedFor: { missing: 0, broken: 0 },
    },
    {
      slot: 1,
      device: 'kwg1',
      publicKey: KEYS.own1,
      port: 51_872,
      generation: 2,
      keyAgeSeconds: 50_400,
      mtu: 1408,
      programmed: 1,
      proven: 1,
      recreations: 1,
      recreatedFor: { missing: 0, broken: 1 },
    },
  ],
  peers: { expected: 1, active: 1, strict: 0, unproven: 0 },
  rotation: {
    phase: 'idle',
    slot: undefined,
    reason: undefined,
    seconds: 7195,
    dueSeconds: 36_000,
    awaited: [],
    completed: 1,
    lastSeconds: 7.4,
    queue: [],
  },
  directory: { complete: true, ageSeconds: 3.5, lost: undefined, published: true, refused: [] },
  dropped: [
    { direction: 'ingress', family: 4, packets: 12 },
    { direction: 'egress', family: 6, packets: 0 },
  ],
  warnings: [],
  ...over,
})

export const counters = (over: Partial<WgCounters> = {}): WgCounters => ({
  repairs: {
    nexthop: 0,
    route: 0,
    unreachable: 0,
    rule: 0,
    address: 0,
    rp_filter: 0,
    mtu: 0,
    link: 0,
    peer: 0,
    device: 0,
    key: 0,
    guard: 0,
  },
  failovers: 0,
  peerMoves: 0,
  refused: Object.fromEntries(REFUSALS.map((reason) => [reason, 0])) as WgCounters['refused'],
  probes: { answered: 0, lost: 0 },
  dumpsInterrupted: 0,
  directoryWrites: 0,
  errors: 0,
  ...over,
})

export interface FakeSeal extends WgView {
  /** What was asked for, in order: `compromised`. */
  readonly rotations: boolean[]
}

/** A seal with one peer, all well; tests override what they are about. */
export function fakeSeal(over: Partial<WgView> = {}): FakeSeal {
  const rotations: boolean[] = []
  const view: WgView = {
    report: () => report(),
    peers: () => [peer()],
    peer: (name) => view.peers().find((one) => one.name === name || one.uid === name),
    keyEvents: () => [
      {
        time: '2026-01-02T03:04:05.000Z',
        event: 'created',
        slot: 0,
        fingerprint: 'SHA256:2jmj7l5rSw0yVb/vlWAYkK/YBwk',
      },
    ],
    counters: () => counters(),
    rotate: (compromised) => void rotations.push(compromised),
    ...over,
  }
  return { ...view, rotations }
}

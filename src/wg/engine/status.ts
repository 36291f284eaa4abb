import { formatCidr, formatIp } from '../../core/ip.ts'
import { sendsThroughTunnel } from '../activation.ts'
import { takeCensus } from '../census.ts'
import type { WgState } from '../machine-types.ts'
import { slotState, type Pair } from '../pair.ts'
import type { WgDevice, WgPeer } from '../ports.ts'
import type { WgPeerCounts, WgPeerReport, WgRotationReport, WgSlotReport, WgTunnelReport } from '../report.ts'
import { isQuiet } from '../rotation.ts'
import { SLOTS, type Slot } from '../slots.ts'
import type { TunnelProbes } from './probing.ts'
import { endpointText } from './reconcile.ts'
import type { RotationLog } from './rotation-log.ts'
import type { PeerAddresses } from './wanted.ts'

type Dumps = readonly [WgDevice | undefined, WgDevice | undefined]

export function slotReport(
  slot: Slot,
  state: WgState,
  dump: WgDevice | undefined,
  facts: Pick<WgSlotReport, 'device' | 'port' | 'mtu' | 'recreatedFor'>,
  now: number,
): WgSlotReport {
  const own = state.slots[slot]
  let proven = 0
  for (const pair of state.peers) if (slotState(pair, slot, now) === 'proven') proven++
  return {
    slot,
    device: facts.device,
    publicKey: dump?.publicKey,
    port: dump === undefined || dump.listenPort === 0 ? facts.port : dump.listenPort,
    generation: own.generation,
    keyAgeSeconds: Math.max(0, (now - own.bornAt) / 1000),
    mtu: facts.mtu,
    programmed: dump?.peers.length ?? 0,
    proven,
    recreations: facts.recreatedFor.missing + facts.recreatedFor.broken,
    recreatedFor: { ...facts.recreatedFor },
  }
}

export function peerCounts(state: WgState, now: number): WgPeerCounts {
  const counts = { expected: state.peers.size, active: 0, strict: 0, unproven: 0 }
  for (const pair of state.peers) {
    if (sendsThroughTunnel(pair.mode)) counts.active++
    if (pair.mode === 'strict') counts.strict++
    if (!SLOTS.some((slot) => slotState(pair, slot, now) === 'proven')) counts.unproven++
  }
  return counts
}

export function rotationReport(state: WgState, log: RotationLog, now: number): WgRotationReport {
  const { rotation } = state
  const idle = rotation.phase === 'idle'
  return {
    phase: rotation.phase,
    slot: idle ? undefined : rotation.slot,
    reason: idle ? undefined : rotation.reason,
    seconds: Math.max(0, (now - (idle ? log.phaseSince : rotation.since)) / 1000),
    dueSeconds: idle ? Math.max(0, (rotation.dueAt - now) / 1000) : undefined,
    awaited: awaited(state, now),
    completed: log.completed,
    lastSeconds: log.lastSeconds,
    queue: state.queue,
  }
}

function awaited(state: WgState, now: number): WgRotationReport['awaited'] {
  const { rotation } = state
  if (rotation.phase === 'idle' || rotation.phase === 'rekeying') return []
  const since = rotation.phase === 'draining' ? rotation.since : now
  const census = takeCensus(state.peers, rotation.slot, since, now, { uid: state.uid, drain: state.drain })
  const own = (why: 'not-quiet' | 'not-published', waits: boolean): WgRotationReport['awaited'] =>
    waits ? [{ why, count: 1, names: [] }] : []
  const published = own('not-published', state.acknowledged < state.revision)
  const loud = rotation.phase === 'draining' && !isQuiet(rotation, census.singles, state.config.quietMs, now)
  const all: WgRotationReport['awaited'] =
    rotation.phase === 'waiting'
      ? [
          { why: 'unproven', ...census.unproven },
          { why: 'contended', ...census.contended },
        ]
      : rotation.phase === 'draining'
        ? [
            { why: 'unproven', ...census.unproven },
            { why: 'on-slot', ...census.onSlot },
            { why: 'unheard', ...census.unheard },
            ...own('not-quiet', loud),
            ...published,
          ]
        : [{ why: 'unsettled', ...census.unsettled }, ...published]
  return all.filter(({ count }) => count > 0).map(({ why, count, names }) => ({ why, count, names: [...names] }))
}

export function peerReport(
  pair: Pair,
  peer: PeerAddresses | undefined,
  found: readonly [WgPeer | undefined, WgPeer | undefined],
  probes: (slot: Slot) => TunnelProbes,
  clock: { readonly now: number; readonly wallMs: number },
): WgPeerReport {
  const { announced } = pair
  return {
    uid: pair.uid,
    name: pair.name,
    endpoints: peer?.endpoints.map(formatIp) ?? [],
    prefixes: peer?.prefixes.map(formatCidr) ?? [],
    egress: pair.egress,
    mode: pair.mode,
    excused: pair.excused,
    tunnels: (pair.twoSlots ? SLOTS : SLOTS.slice(0, 1)).map((slot) =>
      tunnelReport(pair, slot, found[slot], probes(slot), clock),
    ),
    announced:
      announced === undefined
        ? undefined
        : {
            egress: announced.egress,
            mode: announced.mode,
            ageSeconds: Math.max(0, (clock.now - pair.announcedAt) / 1000),
          },
  }
}

function tunnelReport(
  pair: Pair,
  slot: Slot,
  found: WgPeer | undefined,
  probes: TunnelProbes,
  { now, wallMs }: { readonly now: number; readonly wallMs: number },
): WgTunnelReport {
  const stamp = found === undefined ? 0n : found.lastHandshakeNs
  return {
    slot,
    state: slotState(pair, slot, now),
    publicKey: pair.tunnels[slot].key,
    endpoint: found?.endpoint === undefined ? undefined : endpointText(found.endpoint),
    allowedIps: found?.allowedIps.map(formatCidr) ?? [],
    handshakeAgeSeconds: stamp === 0n ? undefined : Math.max(0, (wallMs - Number(stamp / 1_000_000n)) / 1000),
    rxBytes: found?.rxBytes ?? 0,
    txBytes: found?.txBytes ?? 0,
    probesLost: probes.lost,
    rttMs: probes.rttMs,
  }
}

/** The entries of the dumps by key, made once for a report of many peers. */
export class FoundPeers {
  readonly #bySlot: readonly [ReadonlyMap<string, WgPeer>, ReadonlyMap<string, WgPeer>]

  constructor(dumps: Dumps) {
    const index = (dump: WgDevice | undefined): Map<string, WgPeer> =>
      new Map((dump?.peers ?? []).map((peer) => [peer.publicKey, peer]))
    this.#bySlot = [index(dumps[0]), index(dumps[1])]
  }

  of(pair: Pair): readonly [WgPeer | undefined, WgPeer | undefined] {
    const one = (slot: Slot): WgPeer | undefined => {
      const { key } = pair.tunnels[slot]
      return key === undefined ? undefined : this.#bySlot[slot].get(key)
    }
    return [one(0), one(1)]
  }
}

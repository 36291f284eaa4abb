import type { Target } from '../activation.ts'
import type { CallTimes } from '../call-times.ts'
import type { WgState } from '../machine-types.ts'
import type { WgCounters, WgPeerReport, WgReport } from '../report.ts'
import { SLOTS } from '../slots.ts'
import type { DirectoryFeed } from './directory-feed.ts'
import type { Faults } from './faults.ts'
import type { Members } from './members.ts'
import type { Peers } from './peers.ts'
import type { Poller } from './poller.ts'
import type { Probing } from './probing.ts'
import type { Publisher } from './publisher.ts'
import type { RotationLog } from './rotation-log.ts'
import type { SlotJobs } from './slot-jobs.ts'
import { FoundPeers, peerCounts, peerReport, rotationReport, slotReport } from './status.ts'
import type { EngineOptions, EngineParts } from './types.ts'
import { NO_ROTATION } from '../zero-report.ts'

export interface ViewSources {
  readonly options: EngineOptions
  readonly parts: EngineParts
  /** Undefined before the start. */
  readonly state: () => WgState | undefined
  readonly target: () => Target
  readonly feed: DirectoryFeed
  readonly peers: Peers
  readonly members: Members
  readonly poller: Poller
  readonly probing: Probing
  readonly jobs: SlotJobs
  readonly rotations: RotationLog
  readonly publisher: Publisher
  readonly faults: Faults
  readonly calls: CallTimes
  readonly failovers: () => number
}

/** Makes the plain values that operators see, when they ask. */
export class EngineView {
  readonly #s: ViewSources

  constructor(sources: ViewSources) {
    this.#s = sources
  }

  report(): WgReport {
    const { options, parts, feed, publisher, rotations } = this.#s
    const { routing, guard, driver, clock } = parts
    const state = this.#s.state()
    const now = clock.monotonicMs()
    return {
      mode: 'manage',
      driver: driver.kind,
      domain: options.domain,
      node: options.node,
      endpoints: publisher.addresses().endpoints.map(({ ip }) => ip),
      target: this.#s.target(),
      nodeEncryption: options.encryptNodes,
      mtu: routing.mtu,
      slots: state === undefined ? [] : this.#slots(state, now),
      peers: state === undefined ? { expected: 0, active: 0, strict: 0, unproven: 0 } : peerCounts(state, now),
      rotation: state === undefined ? NO_ROTATION : rotationReport(state, rotations, now),
      directory: {
        complete: feed.view.complete,
        ageSeconds: Math.max(0, parts.directory.ageMs?.() ?? now - feed.heardAt) / 1000,
        lost: feed.lost,
        published: state !== undefined && state.acknowledged >= state.revision,
        refused: [...feed.refused].map(([name, { reason, detail }]) => ({ name, reason, detail })),
      },
      dropped: guard.counts(),
      warnings: routing.warnings(),
      largePodInterfaces: routing.largePodInterfaces?.() ?? 0,
    }
  }

  peers(): readonly WgPeerReport[] {
    const { parts, peers, poller, probing, feed } = this.#s
    const found = new FoundPeers(poller.dumps)
    const clock = { now: parts.clock.monotonicMs(), wallMs: parts.clock.wallMs() }
    return [...(this.#s.state()?.peers ?? [])].map((pair) => {
      const report = peerReport(pair, peers.get(pair.uid), found.of(pair), (slot) => probing.of(pair.uid, slot), clock)
      const changed = feed.changedAt.get(pair.uid)
      return changed === undefined ? report : { ...report, recordAgeSeconds: Math.max(0, clock.now - changed) / 1000 }
    })
  }

  counters(): WgCounters {
    const { poller, feed, probing, publisher, faults } = this.#s
    return {
      repairs: { ...poller.repairs },
      failovers: this.#s.failovers(),
      peerMoves: this.#s.members.moves,
      refused: { ...feed.refusals },
      probes: { ...probing.counts },
      dumpsInterrupted: poller.interrupted,
      directoryWrites: publisher.writes,
      errors: faults.count,
      calls: this.#s.calls.totals,
    }
  }

  #slots(state: WgState, now: number): WgReport['slots'] {
    const { options, parts, poller, jobs } = this.#s
    return SLOTS.map((slot) => {
      const facts = {
        device: options.devices[slot],
        port: options.ports[slot],
        mtu: parts.routing.mtu,
        recreatedFor: jobs.recreated[slot],
      }
      return slotReport(slot, state, poller.dumps[slot], facts, now)
    })
  }
}

import { formatCidr, type Ip } from '../../core/ip.ts'
import type { DirectoryView } from '../directory/view.ts'
import type { NodeRecord } from '../directory/record.ts'
import type { KernelFacts, WgEvent, WgState } from '../machine-types.ts'
import type { ProbeTarget, Prober } from '../seams.ts'
import { sleep } from './clock.ts'
import type { Excuses } from './excuses.ts'
import type { Executor } from './executor.ts'
import type { Legacy } from './legacy.ts'
import type { Peers } from './peers.ts'
import type { Poller } from './poller.ts'
import type { Probing } from './probing.ts'
import type { RouteKeeper } from './route-keeper.ts'
import type { Timers } from './timers.ts'
import type { EngineClock } from './types.ts'
import { probeAddresses, sameAddresses, type PeerAddresses } from './wanted.ts'

const TARGETS_MS = 50
/** Records of one turn of the event loop at the start. */
const TAKEN_TOGETHER = 512

export interface MembersParts {
  readonly encryptNodes: boolean
  readonly view: DirectoryView
  readonly peers: Peers
  readonly routes: RouteKeeper
  readonly executor: Executor
  readonly poller: Poller
  readonly probing: Probing
  readonly excuses: Excuses
  readonly legacy: Legacy
  readonly prober: Prober
  readonly timers: Timers
  readonly clock: EngineClock
  readonly state: () => WgState
  readonly feed: (event: WgEvent) => void
}

/** What follows when the directory tells of a peer: that it is there, that it changed, that it is gone. */
export class Members {
  /** Peers that got other addresses. */
  moves = 0
  readonly #p: MembersParts

  constructor(parts: MembersParts) {
    this.#p = parts
  }

  /** Nothing is decided before all are taken; what the directory tells meanwhile is taken as it comes. */
  async takeAll(stopped: () => boolean): Promise<void> {
    const { view, peers, clock } = this.#p
    const { records } = view
    let taken = 0
    for (const key of [...records.keys()]) {
      const record = records.get(key)
      if (record === undefined || peers.get(record.nodeUID) !== undefined) continue
      this.peer(record)
      if (++taken % TAKEN_TOGETHER !== 0) continue
      // Whoever waits for the event loop gets it in between.
      await sleep(clock, 0)
      if (stopped()) return
    }
  }

  peer(record: NodeRecord): void {
    const { peers, feed } = this.#p
    const before = peers.get(record.nodeUID)
    const peer = peers.set(record)
    if (before === undefined) {
      const kernel = this.#take(peer)
      feed(kernel === undefined ? { kind: 'peer', record } : { kind: 'peer', record, kernel })
    } else {
      if (!sameAddresses(before.record, record)) this.#moved(before, peer)
      feed({ kind: 'peer', record })
    }
    this.#targets()
  }

  gone(uid: string): void {
    const { peers, state, legacy, feed, executor, probing, excuses, poller } = this.#p
    const before = peers.get(uid)
    const pair = state().peers.get(uid)
    if (before !== undefined && pair !== undefined) legacy.give(pair, before)
    feed({ kind: 'gone', uid })
    peers.delete(uid)
    executor.markGone(uid)
    probing.forget(uid)
    excuses.forget(uid)
    poller.forgetEndpoint(uid)
    if (before !== undefined) this.#sharers(before)
    this.#targets()
  }

  /** What an earlier run or owner left of this peer, once. */
  #take(peer: PeerAddresses): KernelFacts | undefined {
    const { view, legacy, routes, poller, clock } = this.#p
    const claimed = (key: string): boolean => view.claims(key)
    const uid = peer.record.nodeUID
    const facts = legacy.take(peer, poller.dumps, claimed, clock.wallMs(), (cidr) => {
      routes.adoptGuarded(uid, cidr)
    })
    if (facts !== undefined) routes.adoptMode(uid, facts.mode)
    return facts
  }

  #moved(before: PeerAddresses, after: PeerAddresses): void {
    const { state, legacy, poller, executor } = this.#p
    const uid = after.record.nodeUID
    const pair = state().peers.get(uid)
    this.moves++
    if (pair !== undefined) legacy.give(pair, before, after)
    poller.forgetEndpoint(uid)
    executor.markAddresses(uid, [...before.prefixes, ...before.nodeIPs])
    this.#sharers(before)
    this.#sharers(after)
  }

  /** Others that claim a node address of this peer may have it now, or lose it. */
  #sharers(peer: PeerAddresses): void {
    if (!this.#p.encryptNodes || peer.nodeIPs.length === 0) return
    const texts = new Set(peer.nodeIPs.map(formatCidr))
    for (const [uid, other] of this.#p.peers.all) {
      if (other.nodeIPs.some((cidr) => texts.has(formatCidr(cidr)))) this.#p.executor.markRoute(uid)
    }
  }

  /** The list of peers to ask, made once for many records. */
  #targets(): void {
    const { timers, peers, prober } = this.#p
    timers.after('targets', TARGETS_MS, () => {
      const targets = [...peers.all].map(([uid, peer]): ProbeTarget => {
        const nodeIPs: Ip[] = peer.nodeIPs.map(({ ip }) => ip)
        return { uid, addresses: probeAddresses(peer.prefixes, nodeIPs) }
      })
      prober.setTargets(targets)
    })
  }
}

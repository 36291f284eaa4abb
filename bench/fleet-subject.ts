/**
 * Fleets on a simulated clock. What is exact: every node runs the machine itself, with the writes to the directory that it
 * asks for; every message is one the machine gave. What is sampled: 5,000 nodes have 25 million pairs, so only OBSERVED nodes have
 * all others for peers, the others those and RANDOM more (both ends of every such pair are simulated, with kernels, sessions and
 * probes). A node with few peers waits for these only: how long a rotation takes at full size is seen at the observed ones. Pairs
 * at rest are probed and looked at every IDLE_SECONDS, not every second. Nothing is lost by chance; the directory takes up to
 * 500 ms to tell and 300 ms to write.
 */
import { DEFAULT_MACHINE, type WgEvent, type WgState } from '../src/wg/machine-types.ts'
import { step } from '../src/wg/machine.ts'
import { adopt } from '../src/wg/adopt.ts'
import { slotState, type Pair } from '../src/wg/pair.ts'
import { spreadOf } from '../src/wg/rotation.ts'
import { SLOTS } from '../src/wg/slots.ts'
import { randomFrom } from '../test/support/wg/event-queue.ts'
import { Fleet, uidOf, type FleetOptions } from '../test/support/wg/fleet.ts'

const OBSERVED = 2
const RANDOM = 2
const IDLE_SECONDS = 10
const HALF_LIFE_MS = DEFAULT_MACHINE.keyLifeMs / 2
/** No rotation lasts longer when nothing fails. */
const MOST_SECONDS = 600

export interface FleetFigures {
  /** Of each rotation that began and ended in the time: seconds. */
  readonly seconds: readonly number[]
  readonly mostAtOnce: number
  /** Writes to the directory in the second that had most. */
  readonly busiestSecond: number
  /**
   * Looks at pairs, one way: just before and just after each event that changes one, and at all once a second. Between two
   * changes a pair only ages, so nothing can come to be and pass between looks.
   */
  readonly looked: number
  /** Of these, how many had no slot that was proven. */
  readonly unproven: number
  readonly packets: number
  readonly lost: number
}

/** A fleet long after its start: the younger key of a node is of any age at which no rotation is due, the other half a life older. */
function agesOf(seed: number): (node: number) => readonly [number, number] {
  return (node) => {
    const random = randomFrom(seed + node)
    const younger = random() * HALF_LIFE_MS * (0.9 + 0.2 * spreadOf(uidOf(node)))
    return random() < 0.5 ? [younger, younger + HALF_LIFE_MS] : [younger + HALF_LIFE_MS, younger]
  }
}

function graph(nodes: number): number[][] {
  const random = randomFrom(7)
  const peers = Array.from({ length: nodes }, () => new Set<number>())
  const join = (i: number, j: number): void => {
    if (i === j) return
    peers[i]?.add(j)
    peers[j]?.add(i)
  }
  for (let i = 0; i < nodes; i++) {
    for (let hub = 0; hub < OBSERVED; hub++) join(i, hub)
    for (let k = 0; k < RANDOM / 2; k++) join(i, Math.floor(random() * nodes))
  }
  return peers.map((set) => [...set])
}

export class FleetRun {
  readonly #fleet: Fleet
  readonly #nodes: number

  constructor(nodes: number, fault?: FleetOptions['fault']) {
    this.#nodes = nodes
    this.#fleet = new Fleet({
      nodes,
      seed: 1,
      config: DEFAULT_MACHINE,
      directoryDelayMs: 500,
      directoryLoss: 0,
      resyncMs: 30_000,
      probeLoss: 0,
      crash: 0,
      traffic: 1,
      peers: graph(nodes),
      keyAgesMs: agesOf(1),
      idleProbeSeconds: IDLE_SECONDS,
      ...(fault === undefined ? {} : { fault }),
    })
    // Everybody installs everybody and proves it.
    this.#fleet.run(30_000)
  }

  /** A node that has all others for peers. */
  get observed(): { readonly state: WgState; readonly now: number; readonly wallMs: number } {
    const state = this.#fleet.nodes[0]?.state
    if (state === undefined) throw new Error('the observed node does not run')
    return { state, now: this.#fleet.now, wallMs: this.#fleet.wall(0) }
  }

  /** Rotations as they fall due; the observed nodes are asked to, one after the other. */
  steady(seconds: number): FleetFigures & { readonly observedSeconds: readonly number[] } {
    const ended = new Map<number, number>()
    for (let hub = 0; hub < OBSERVED; hub++) this.#ask(hub, hub * Math.floor(seconds / OBSERVED))
    const figures = this.#watch(seconds, () => false, ended)
    const observedSeconds = [...ended].filter(([node]) => node < OBSERVED).map(([, took]) => took)
    if (observedSeconds.length !== OBSERVED) throw new Error('a rotation of an observed node did not end')
    return { ...figures, observedSeconds }
  }

  /** Every node is asked to rotate at one moment. Throws when one does not end. */
  together(): FleetFigures {
    for (let i = 0; i < this.#nodes; i++) this.#ask(i, 0)
    const figures = this.#watch(MOST_SECONDS, () => this.#fleet.settled, new Map())
    if (!this.#fleet.settled) throw new Error(`rotations go on after ${MOST_SECONDS} s`)
    return figures
  }

  readonly #asks: { readonly at: number; readonly node: number }[] = []

  #ask(node: number, afterSeconds: number): void {
    this.#asks.push({ at: this.#fleet.now + afterSeconds * 1000, node })
  }

  #watch(seconds: number, over: () => boolean, ended: Map<number, number>): FleetFigures {
    const fleet = this.#fleet
    const [packets, losses] = [fleet.packets, fleet.losses.length]
    const began = new Map<number, number>()
    const took: number[] = []
    let [mostAtOnce, busiestSecond, looked, unproven] = [0, 0, 0, 0]
    const look = (pair: Pair): void => {
      looked++
      if (!SLOTS.some((slot) => slotState(pair, slot, fleet.now) === 'proven')) unproven++
    }
    fleet.changed = (before, after) => {
      look(before)
      look(after)
    }
    for (let second = 0; second < seconds && (second === 0 || !over()); second++) {
      while (this.#asks.some(({ at }) => at <= fleet.now)) {
        const place = this.#asks.findIndex(({ at }) => at <= fleet.now)
        const [ask] = this.#asks.splice(place, 1)
        if (ask !== undefined) fleet.post(ask.node, { kind: 'rotate', reason: 'Rotate', wallMs: fleet.wall(ask.node) })
        if (ask !== undefined) began.set(ask.node, fleet.now)
      }
      const writes = fleet.writes
      fleet.run(1000)
      busiestSecond = Math.max(busiestSecond, fleet.writes - writes)
      let busy = 0
      for (const [node, { state }] of fleet.nodes.entries()) {
        if (state === undefined) continue
        if (state.rotation.phase !== 'idle' || state.queue.length > 0) {
          busy++
          if (!began.has(node)) began.set(node, fleet.now)
        } else {
          const from = began.get(node)
          began.delete(node)
          if (from !== undefined) {
            took.push((fleet.now - from) / 1000)
            ended.set(node, (fleet.now - from) / 1000)
          }
        }
        for (const pair of state.peers) look(pair)
      }
      mostAtOnce = Math.max(mostAtOnce, busy)
    }
    fleet.changed = undefined
    const lost = fleet.losses.length - losses
    return { seconds: took, mostAtOnce, busiestSecond, looked, unproven, packets: fleet.packets - packets, lost }
  }
}

/**
 * Writes of the whole fleet in a day, a second at a time. The machines have no peers here: a rotation is two writes, whoever it
 * waits for, and begins when its clock says so.
 */
export function writesOfADay(nodes: number): { readonly perSecond: number; readonly busiestMinute: number } {
  const day = 24 * 3600
  const minutes = new Uint32Array(24 * 60)
  let writes = 0
  const ages = agesOf(2)
  for (let node = 0; node < nodes; node++) {
    writes += writesOf(node, ages(node), day, minutes)
  }
  return { perSecond: writes / day, busiestMinute: Math.max(...minutes) }
}

function writesOf(node: number, ages: readonly [number, number], day: number, minutes: Uint32Array): number {
  const uid = uidOf(node)
  const keys = [`${uid} 0`, `${uid} 1`] as const
  const wall = 1_700_000_000_000
  const slots = SLOTS.map((id) => ({ id, port: 51_871 + id, publicKey: keys[id], gen: 0, since: wall - ages[id] }))
  const own = { domain: '', node: uid, nodeUID: uid, bootID: '', created: 0, revision: 0, endpoints: [], prefixes: [] }
  const record = { ...own, nodeIPs: [], slots, drain: null, caps: [] }
  const target = 'active'
  let { state } = adopt({ uid, bootId: '', config: DEFAULT_MACHINE, keys, own: record, target, wallMs: wall }, 0)
  let writes = 0
  for (let second = 0; second < day;) {
    const now = second * 1000
    const events: WgEvent[] = [{ kind: 'tick', wallMs: wall + now }]
    for (let event = events.shift(); event !== undefined; event = events.shift()) {
      const next = step(state, event, now)
      state = next.state
      for (const effect of next.effects) {
        if (effect.kind === 'publish') {
          writes++
          minutes[Math.floor(second / 60)] = (minutes[Math.floor(second / 60)] ?? 0) + 1
          events.push({ kind: 'published', revision: effect.revision })
        } else if (effect.kind === 'newKey') {
          const publicKey = `${uid} ${effect.slot} ${second}`
          events.push({ kind: 'keyMade', slot: effect.slot, publicKey, wallMs: wall + now })
        }
      }
    }
    const { rotation } = state
    if (rotation.phase === 'draining') {
      state = step(state, { kind: 'traffic', slot: rotation.slot, packets: 0 }, now).state
    }
    second = rotation.phase === 'idle' ? Math.max(second + 1, Math.ceil(rotation.dueAt / 1000)) : second + 1
  }
  return writes
}

const TIMED_ROUNDS = 5
const TIMED_MS = 40

/** Microseconds of step() for each kind of event that comes often, at a node in the midst of a full mesh. */
export function machineCosts({
  state,
  now,
  wallMs,
}: FleetRun['observed']): readonly { readonly event: string; readonly microseconds: readonly number[] }[] {
  const [pair] = state.peers
  if (pair === undefined) throw new Error('a node without peers')
  const { uid } = pair
  const stamps = new Map<string, number>()
  for (const { tunnels } of state.peers) if (tunnels[0].key !== undefined) stamps.set(tunnels[0].key, tunnels[0].stamp)
  const renewed = new Map([...stamps].map(([key, stamp]) => [key, stamp + 1000]))
  const announcement = pair.announced
  const draining: WgState = {
    ...state,
    rotation: { phase: 'draining', slot: 0, reason: 'Rotate', since: now, quiet: undefined },
  }
  const cases: readonly (readonly [string, WgState, WgEvent])[] = [
    ['probe answered', state, { kind: 'probe', uid, slot: 0, answered: true }],
    ...(announcement === undefined
      ? []
      : ([
          ['word of a peer', state, { kind: 'announced', uid, announcement: { ...announcement, sequence: now + 1 } }],
        ] as const)),
    ['tick at rest', state, { kind: 'tick', wallMs }],
    ['tick of a rotation', draining, { kind: 'tick', wallMs }],
    ['dump, nothing new', state, { kind: 'dump', slot: 0, stamps, wallMs }],
    ['dump, every handshake new', state, { kind: 'dump', slot: 0, stamps: renewed, wallMs }],
    ['own key made', draining, { kind: 'keyMade', slot: 0, publicKey: 'new', wallMs }],
  ]
  return cases.map(([event, from, what]) => {
    time(from, what, now)
    return { event, microseconds: Array.from({ length: TIMED_ROUNDS }, () => time(from, what, now)) }
  })
}

/** Of the processor: the machine does nothing but compute. */
function time(state: WgState, event: WgEvent, now: number): number {
  const started = process.threadCpuUsage()
  let done = 0
  let spent = 0
  for (; spent < TIMED_MS * 1000; done++) {
    step(state, event, now)
    // The clock is read once for many events where an event is cheap.
    if (done % 64 !== 0 && spent * 64 < TIMED_MS * 1000 * done) continue
    spent = process.threadCpuUsage(started).user + process.threadCpuUsage(started).system
  }
  return spent / done
}

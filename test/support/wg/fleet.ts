import { adopt } from '../../../src/wg/adopt.ts'
import { CAP_PROBES, CAP_TWO_SLOTS, type NodeRecord } from '../../../src/wg/directory/record.ts'
import type { MachineConfig, OwnSlot, WgEffect, WgEvent, WgState } from '../../../src/wg/machine-types.ts'
import { announcementFor, step } from '../../../src/wg/machine.ts'
import { everProven, type Pair } from '../../../src/wg/pair.ts'
import { SLOTS, type Slot } from '../../../src/wg/slots.ts'
import { EventQueue, randomFrom } from './event-queue.ts'
import { KernelModel, SESSION_LIFE_MS } from './kernel-model.ts'

export interface FleetOptions {
  readonly nodes: number
  readonly seed: number
  readonly config: MachineConfig
  /** Longest delay of a message of the directory, ms; each is drawn by itself, so they overtake each other. */
  readonly directoryDelayMs: number
  /** Chance that a message of the directory is never told; a resync tells it later. */
  readonly directoryLoss: number
  readonly resyncMs: number
  /** Chance that a probe, with what it says, is lost. */
  readonly probeLoss: number
  /** Chance that an agent dies before an effect. */
  readonly crash: number
  /** An agent dies before the effect of this number, of all the fleet's. */
  readonly dieBefore?: number
  /** Chance that a pair has traffic in a given second; 1 for always. */
  readonly traffic: number
  /** Who has whom for a peer, both ways; without it everybody has everybody. */
  readonly peers?: readonly (readonly number[])[]
  /** The fleet stood before the run: ages of both keys of a node, ms; records are in the directory. */
  readonly keyAgesMs?: (node: number) => readonly [number, number]
  /** Peers of which both ends rotate nothing and have proven both slots are asked only every so many seconds; 1 without. */
  readonly idleProbeSeconds?: number
  /** A fault put in on purpose, to show that the properties can fail. */
  readonly fault?: 'peers-excused' | 'no-adoption' | 'new-key-at-once'
}

type Peers = WgState['peers']

type Todo =
  | { readonly do: 'second'; readonly node: number }
  | { readonly do: 'start'; readonly node: number }
  | { readonly do: 'tell'; readonly reader: number; readonly writer: number; readonly record: NodeRecord }
  | { readonly do: 'commit'; readonly node: number; readonly life: number; readonly record: NodeRecord }
  | { readonly do: 'event'; readonly node: number; readonly life: number; readonly event: WgEvent }

interface Node {
  readonly uid: string
  state: WgState | undefined
  /** Counts starts of the agent: an answer to a dead one is lost. */
  life: number
  /** By number of the peer. */
  readonly egress: Map<number, Slot>
  readonly seen: Map<number, number>
  readonly peers: readonly number[]
  readonly received: [number, number]
  record: NodeRecord | undefined
}

export interface Loss {
  readonly at: number
  readonly from: number
  readonly to: number
  readonly slot: Slot
}

/** Wall clocks of nodes differ by this much each, ms: nothing may depend on them. */
const SKEW_MS = 400_000
/** How long the machines run already: no key is older (`ageOf` in src/wg/adopt.ts). */
const UP_MS = 30 * 24 * 3_600_000
const START_WALL = 1_700_000_000_000

const keyText = (node: number, slot: Slot, generation: number): string =>
  Buffer.from(`${node}.${slot}.${generation}`.padStart(32, 'k')).toString('base64')

const generationOf = (key: string): number => Number(Buffer.from(key, 'base64').toString().split('.').at(-1))

/**
 * N nodes: the machines under test, on a simulated clock, above `KernelModel` and a directory whose messages come late, out of
 * order or never. One seed gives one run. A packet of each pair with traffic is tried every second and after every effect.
 */
export class Fleet {
  readonly kernel: KernelModel
  readonly nodes: Node[]
  readonly losses: Loss[] = []
  now = UP_MS
  packets = 0
  writes = 0
  crashes = 0
  /** Effects so far, with those that were not carried out because the agent died. */
  effects = 0
  /** Deaths between two effects of one event. */
  amid = 0
  options: FleetOptions
  /**
   * Told of every pair that an event changed, as it was until now and as it is. Between events a pair only ages, so what held
   * just before each of its changes, just after it and at the end of a run held at every instant.
   */
  changed: ((before: Pair, after: Pair) => void) | undefined
  readonly #queue = new EventQueue<Todo>()
  readonly #random: () => number
  readonly #established = new Set<number>()
  /** Node -> since when it is cut, and when that ends or ended. */
  readonly #cut = new Map<number, { readonly from: number; readonly until: number }>()
  /** Node -> until when the directory neither hears of it nor is heard, and how long it takes at most after that. */
  readonly #partition = new Map<number, { readonly until: number; readonly delayMs: number }>()

  constructor(options: FleetOptions) {
    this.options = options
    this.#random = randomFrom(options.seed)
    this.kernel = new KernelModel(options.nodes, false, (node) => this.wall(node))
    const all = Array.from({ length: options.nodes }, (_, i) => i)
    this.nodes = all.map((i) => ({
      uid: uidOf(i),
      state: undefined,
      life: 0,
      egress: new Map(),
      seen: new Map(),
      peers: options.peers?.[i] ?? all.filter((j) => j !== i),
      received: [0, 0],
      record: this.#standing(i),
    }))
    for (let i = 0; i < options.nodes; i++) this.#queue.put(this.now + this.#random() * 1000, { do: 'start', node: i })
  }

  wall(node: number): number {
    return START_WALL + node * SKEW_MS + Math.round(this.now - UP_MS)
  }

  /** Nobody hears of `node` and it hears of nobody, in the data path, for this long from now; `directory`: nor there. */
  cut(node: number, forMs: number, directory = false): void {
    if (directory) {
      const until = Math.max(this.#partition.get(node)?.until ?? 0, this.now + forMs)
      this.#partition.set(node, { until, delayMs: this.options.directoryDelayMs })
    }
    const before = this.#cut.get(node)
    const going = before !== undefined && before.until > this.now
    const until = this.now + forMs
    this.#cut.set(node, going ? { from: before.from, until: Math.max(before.until, until) } : { from: this.now, until })
  }

  /** Both ends can be reached, and have been for long enough that a retried handshake must be over. */
  linked(i: number, j: number, graceMs = 0): boolean {
    return [i, j].every((node) => this.now - (this.#cut.get(node)?.until ?? Number.NEGATIVE_INFINITY) >= graceMs)
  }

  /**
   * The limit told of in verify/README.md: after a cut that outlived the sessions no slot fits, and each end has a hand in it,
   * so neither could have known. Where one end alone has changed both its keys, it is no such case.
   */
  #beyondLimit(i: number, j: number): boolean {
    const outlived = [i, j].some((node) => {
      const cut = this.#cut.get(node)
      return cut !== undefined && Math.min(cut.until, this.now) - cut.from >= SESSION_LIFE_MS
    })
    const unheard = (from: number, by: number): readonly Slot[] =>
      SLOTS.filter((slot) => this.kernel.entry(by, from, slot).generation !== this.kernel.keyOf(from, slot))
    const [ofI, ofJ] = [unheard(i, j), unheard(j, i)]
    return outlived && ofI.length === 1 && ofJ.length === 1 && ofI[0] !== ofJ[0]
  }

  run(forMs: number): void {
    const until = this.now + forMs
    for (;;) {
      const next = this.#queue.take(until)
      if (next === undefined) break
      this.now = Math.max(this.now, next.at)
      this.#do(next.value)
    }
    this.now = until
  }

  post(node: number, event: WgEvent): void {
    this.#handle(node, event)
  }

  crash(node: number): void {
    const target = this.#node(node)
    if (target.state === undefined) return
    this.crashes++
    target.state = undefined
    target.life++
    this.#queue.put(this.now + 1000 + this.#random() * 20_000, { do: 'start', node })
  }

  /** No rotation runs or waits, and everything is published. */
  get settled(): boolean {
    return this.nodes.every(
      ({ state }) =>
        state?.rotation.phase === 'idle' && state.queue.length === 0 && state.acknowledged === state.revision,
    )
  }

  #node(i: number): Node {
    const node = this.nodes[i]
    if (node === undefined) throw new RangeError(`there is no node ${i}`)
    return node
  }

  /**
   * A message of the directory comes after the partition, if there is one, and late as everything. The list at a start is had
   * all the same: an agent that is dead for longer than its sessions live may lose packets, and nobody says otherwise.
   */
  #postponed(node: number, todo: Todo): boolean {
    const partition = this.#partition.get(node)
    if (partition === undefined || partition.until <= this.now) return false
    this.#queue.put(partition.until + this.#random() * partition.delayMs, todo)
    return true
  }

  #do(todo: Todo): void {
    switch (todo.do) {
      case 'start':
        return this.#start(todo.node)
      case 'second':
        return this.#second(todo.node)
      case 'event':
        if (this.#node(todo.node).life === todo.life) this.#handle(todo.node, todo.event)
        return
      case 'commit': {
        const node = this.#node(todo.node)
        // A connection that hung ends with the agent, and what was not written by then never is.
        if (this.#partition.has(todo.node) && node.life !== todo.life) return
        if (this.#postponed(todo.node, todo)) return
        // An agent that died has a write in flight; it may still arrive, but never after one of the next agent.
        if ((node.record?.revision ?? -1) >= todo.record.revision) return
        node.record = todo.record
        this.writes++
        this.#broadcast(todo.node, todo.record)
        const event: WgEvent = { kind: 'published', revision: todo.record.revision }
        this.#queue.put(this.now, { do: 'event', node: todo.node, life: todo.life, event })
        return
      }
      case 'tell': {
        if (this.#postponed(todo.reader, todo)) return
        const reader = this.#node(todo.reader)
        if (reader.state === undefined || todo.record.revision <= (reader.seen.get(todo.writer) ?? -1)) return
        reader.seen.set(todo.writer, todo.record.revision)
        this.#handle(todo.reader, { kind: 'peer', record: todo.record })
        this.#excuse(todo.reader, todo.writer)
      }
    }
  }

  #excuse(i: number, j: number): void {
    if (this.options.fault === 'peers-excused') this.#handle(i, { kind: 'excused', uid: uidOf(j), excused: true })
  }

  /** What the directory has of a node before the run. */
  #standing(i: number): NodeRecord | undefined {
    const ages = this.options.keyAgesMs?.(i)
    if (ages === undefined) return undefined
    const slot = (id: Slot): OwnSlot => {
      const since = this.wall(i) - ages[id]
      return {
        publicKey: keyText(i, id, 0),
        generation: 0,
        since,
        bornAt: this.now - ages[id],
        toldAt: this.now - ages[id],
      }
    }
    return recordOf(i, 0, [slot(0), slot(1)], null)
  }

  #broadcast(writer: number, record: NodeRecord): void {
    for (const reader of this.#node(writer).peers) {
      const lost = this.#random() < this.options.directoryLoss
      const delay = lost ? this.options.resyncMs : this.#random() * this.options.directoryDelayMs
      this.#queue.put(this.now + delay, { do: 'tell', reader, writer, record })
    }
  }

  #start(i: number): void {
    const node = this.#node(i)
    const { life } = node
    const keys = [0, 1].map((slot) => keyText(i, slot as Slot, this.kernel.keyOf(i, slot as Slot)))
    const wallMs = this.wall(i)
    const first = adopt(
      {
        uid: node.uid,
        bootId: `boot-${i}`,
        config: this.options.config,
        keys: [keys[0] ?? '', keys[1] ?? ''],
        own: this.options.fault === 'no-adoption' ? undefined : node.record,
        target: 'active',
        wallMs,
      },
      this.now,
    )
    node.state = first.state
    this.#effects(i, first.effects)
    // The list at a start comes from the directory itself.
    for (const j of node.peers) {
      const record = this.#node(j).record
      if (record === undefined) continue
      if (node.life !== life) break
      node.seen.set(j, record.revision)
      const found = SLOTS.map((slot) => {
        const { generation, stamp } = this.kernel.entry(i, j, slot)
        return generation === undefined ? undefined : { key: keyText(j, slot, generation), stamp }
      })
      const kernel = {
        egress: node.egress.get(j) ?? 0,
        mode: 'active' as const,
        tunnels: [found[0], found[1]] as const,
        wallMs,
      }
      this.#handle(
        i,
        found.some((tunnel) => tunnel !== undefined) ? { kind: 'peer', record, kernel } : { kind: 'peer', record },
      )
      this.#excuse(i, j)
    }
    this.#queue.put(this.now + this.#random() * 1000, { do: 'second', node: i })
  }

  #second(i: number): void {
    const node = this.#node(i)
    const { life } = node
    if (node.state === undefined) return
    for (const j of node.peers) {
      if (!this.#due(i, j)) continue
      if (this.#random() < this.options.traffic) this.#packet(i, j)
      for (const slot of SLOTS) this.#probe(i, j, slot)
      if (node.life !== life) return
    }
    for (const slot of SLOTS) {
      const stamps = new Map<string, number>()
      for (const j of node.peers) {
        const { generation, stamp } = this.kernel.entry(i, j, slot)
        if (generation !== undefined) stamps.set(keyText(j, slot, generation), stamp)
      }
      this.#handle(i, { kind: 'dump', slot, stamps, wallMs: this.wall(i) })
      this.#handle(i, { kind: 'traffic', slot, packets: node.received[slot] })
    }
    this.#handle(i, { kind: 'tick', wallMs: this.wall(i) })
    if (node.life === life) this.#queue.put(this.now + 1000, { do: 'second', node: i })
  }

  /** Is the pair looked at in this second? */
  #due(i: number, j: number): boolean {
    const every = this.options.idleProbeSeconds ?? 1
    if (every === 1 || (Math.floor(this.now / 1000) + j) % every === 0) return true
    const restless = (of: number, to: number): boolean => {
      const state = this.#node(of).state
      const pair = state?.peers.get(uidOf(to))
      return pair === undefined || state?.rotation.phase !== 'idle' || !SLOTS.every((slot) => everProven(pair, slot))
    }
    return restless(i, j) || restless(j, i)
  }

  #packet(i: number, j: number): void {
    const slot = this.#node(i).egress.get(j) ?? 0
    this.packets++
    if (!this.linked(i, j)) return
    const passed = this.kernel.passes(i, j, slot, this.now)
    const pair = i * this.nodes.length + j
    if (passed) {
      this.#established.add(pair)
      this.#node(j).received[slot]++
    } else if (this.#established.has(pair) && this.linked(i, j, 30_000) && !this.#beyondLimit(i, j)) {
      this.losses.push({ at: this.now, from: i, to: j, slot })
    }
  }

  #probe(i: number, j: number, slot: Slot): void {
    const there = this.#node(j)
    const lost = !this.linked(i, j) || this.#random() < this.options.probeLoss
    const passed =
      !lost &&
      this.kernel.passes(i, j, slot, this.now) &&
      this.kernel.passes(j, i, slot, this.now) &&
      there.state !== undefined
    if (passed) {
      const say = (from: number, to: number): void => {
        const state = this.#node(from).state
        const announcement = state === undefined ? undefined : announcementFor(state, uidOf(to), this.now)
        if (announcement === undefined) return
        const event: WgEvent = { kind: 'announced', uid: uidOf(from), announcement }
        const { life } = this.#node(to)
        this.#queue.put(this.now + this.#random() * 50, { do: 'event', node: to, life, event })
      }
      say(i, j)
      say(j, i)
    }
    if (this.kernel.entry(i, j, slot).generation !== undefined) {
      this.#handle(i, { kind: 'probe', uid: uidOf(j), slot, answered: passed })
    }
  }

  #handle(i: number, event: WgEvent): void {
    const node = this.#node(i)
    if (node.state === undefined) return
    const before = node.state.peers
    const { state, effects } = step(node.state, event, this.now)
    node.state = state
    if (this.changed !== undefined && state.peers !== before) this.#tell(event, before, state.peers, this.changed)
    this.#effects(i, effects)
  }

  #tell(event: WgEvent, before: Peers, after: Peers, changed: (before: Pair, after: Pair) => void): void {
    const look = (pair: Pair | undefined): void => {
      const old = pair && before.get(pair.uid)
      if (pair !== undefined && old !== undefined && old !== pair) changed(old, pair)
    }
    if ('uid' in event) look(after.get(event.uid))
    else if (event.kind === 'peer') look(after.get(event.record.nodeUID))
    else for (const pair of after) look(pair)
  }

  #effects(i: number, effects: readonly WgEffect[]): void {
    for (const [number, effect] of effects.entries()) {
      if (effect.kind === 'publish' && effect.drain !== null && this.options.fault === 'new-key-at-once') {
        this.#effect(i, { kind: 'newKey', slot: effect.drain.slot })
      }
      if (this.#node(i).state === undefined) return
      const last = this.effects++ === this.options.dieBefore
      if (this.#random() < this.options.crash || last) {
        if (number > 0) this.amid++
        return this.crash(i)
      }
      this.#effect(i, effect)
    }
  }

  #effect(i: number, effect: WgEffect): void {
    const node = this.#node(i)
    const { life } = node
    switch (effect.kind) {
      case 'publish': {
        const record = recordOf(i, effect.revision, effect.slots, effect.drain)
        this.#queue.put(this.now + this.#random() * 300, { do: 'commit', node: i, life, record })
        return
      }
      case 'newKey':
      case 'recreate': {
        const { slot } = effect
        const generation = this.kernel.rekey(i, slot)
        if (effect.kind === 'recreate') {
          for (const j of node.peers) this.kernel.entry(i, j, slot).receive = []
        }
        const wallMs = this.wall(i)
        const event: WgEvent = { kind: 'keyMade', slot, publicKey: keyText(i, slot, generation), wallMs }
        this.#queue.put(this.now + this.#random() * 1000, { do: 'event', node: i, life, event })
        return
      }
      case 'cutSessions':
        for (const j of node.peers) {
          Object.assign(this.kernel.entry(i, j, effect.slot), { send: undefined, receive: [] })
        }
        return
      case 'egress':
        node.egress.set(nodeOf(effect.uid), effect.slot)
        return this.#tryAll(nodeOf(effect.uid), i)
      case 'install':
        this.kernel.install(i, nodeOf(effect.uid), effect.slot, generationOf(effect.key))
        return this.#kick(i, effect.uid, effect.slot)
      case 'uninstall':
        return this.kernel.uninstall(i, nodeOf(effect.uid), effect.slot)
      case 'kick':
        return this.#kick(i, effect.uid, effect.slot)
      case 'mode':
      case 'keyEvent':
        return
    }
  }

  #kick(i: number, uid: string, slot: Slot): void {
    const j = nodeOf(uid)
    if (this.linked(i, j)) this.kernel.passes(i, j, slot, this.now)
    this.#tryAll(i, j)
  }

  #tryAll(i: number, j: number): void {
    if (this.options.traffic === 0) return
    this.#packet(i, j)
    this.#packet(j, i)
  }
}

export const uidOf = (i: number): string => `uid-${String(i).padStart(5, '0')}`
const nodeOf = (uid: string): number => Number(uid.slice(4))

function recordOf(
  i: number,
  revision: number,
  slots: readonly [OwnSlot, OwnSlot],
  drain: NodeRecord['drain'],
): NodeRecord {
  return {
    domain: 'test',
    node: `node-${i}`,
    nodeUID: uidOf(i),
    bootID: `boot-${i}`,
    created: i,
    revision,
    endpoints: [{ ip: '192.0.2.1' }],
    prefixes: [`10.${Math.floor(i / 256)}.${i % 256}.0/24`],
    nodeIPs: [],
    slots: slots.map(({ publicKey, generation, since }, id) => ({
      id: id === 0 ? 0 : 1,
      port: 51_871 + id,
      publicKey,
      gen: generation,
      since,
    })),
    drain,
    caps: [CAP_TWO_SLOTS, CAP_PROBES],
  }
}

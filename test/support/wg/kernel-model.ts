import type { Slot } from '../../../src/wg/slots.ts'

interface Session {
  readonly born: number
}

interface Entry {
  /** Generation of the peer's key in our device; undefined: the peer is not there. */
  generation: number | undefined
  /** What we would send with. */
  send: Session | undefined
  /** What we can still decrypt. */
  receive: Session[]
  stamp: number
}

/** Linux, as read and measured: a session lives 180 s, and is renewed from 120 s on when both keys fit. */
export const SESSION_LIFE_MS = 180_000
const RENEW_MS = 120_000

/**
 * What WireGuard in the kernels of a fleet would do with each packet: written from the protocol, knowing nothing of the state
 * machines under test. A key is its generation; node i's slot s has generation `keys[i][s]`. Entries come into being when
 * they are touched; before that both ends have the first keys and one session.
 */
export class KernelModel {
  readonly keys: [number, number][]
  readonly #entries = new Map<number, Entry>()
  readonly #first: Session = { born: 0 }
  readonly #life: number
  readonly #wall: (node: number) => number
  readonly #meshed: boolean

  /** `meshed`: every peer is installed with a session at time 0. */
  constructor(nodes: number, meshed: boolean, wall: (node: number) => number, life = SESSION_LIFE_MS) {
    this.#wall = wall
    this.keys = Array.from({ length: nodes }, () => [0, 0])
    this.#life = life
    this.#meshed = meshed
  }

  entry(i: number, j: number, slot: Slot): Entry {
    const at = (i * this.keys.length + j) * 2 + slot
    let entry = this.#entries.get(at)
    if (entry === undefined) {
      entry = this.#meshed
        ? { generation: 0, send: this.#first, receive: [this.#first], stamp: 1 }
        : { generation: undefined, send: undefined, receive: [], stamp: 0 }
      this.#entries.set(at, entry)
    }
    return entry
  }

  keyOf(i: number, slot: Slot): number {
    return this.keys[i]?.[slot] ?? 0
  }

  /** Our private key changes: nothing is sent with old sessions any more, but what peers send with them is still read. */
  rekey(i: number, slot: Slot): number {
    const own = this.keys[i]
    if (own === undefined) throw new RangeError(`there is no node ${i}`)
    own[slot]++
    for (let j = 0; j < this.keys.length; j++) {
      const known = this.#meshed || this.#entries.has((i * this.keys.length + j) * 2 + slot)
      if (j !== i && known) this.entry(i, j, slot).send = undefined
    }
    return own[slot]
  }

  /** Another key for the peer is another peer: all its sessions go. */
  install(i: number, j: number, slot: Slot, generation: number): void {
    const entry = this.entry(i, j, slot)
    if (entry.generation === generation) return
    Object.assign(entry, { generation, send: undefined, receive: [], stamp: 0 })
  }

  uninstall(i: number, j: number, slot: Slot): void {
    Object.assign(this.entry(i, j, slot), { generation: undefined, send: undefined, receive: [], stamp: 0 })
  }

  /** Completes when each end has the other's present key. */
  handshake(i: number, j: number, slot: Slot, now: number): boolean {
    const [a, b] = [this.entry(i, j, slot), this.entry(j, i, slot)]
    if (a.generation !== this.keyOf(j, slot) || b.generation !== this.keyOf(i, slot)) return false
    const session: Session = { born: now }
    for (const [entry, node] of [
      [a, i],
      [b, j],
    ] as const) {
      entry.send = session
      // Current and previous.
      entry.receive = [session, ...entry.receive].slice(0, 2)
      entry.stamp = this.#wall(node)
    }
    return true
  }

  /** A packet of i to j through a slot: read by j? Without a session the kernel stages it and makes a handshake. */
  passes(i: number, j: number, slot: Slot, now: number): boolean {
    const { send, generation } = this.entry(i, j, slot)
    if (generation === undefined) return false
    if (send !== undefined && now - send.born < this.#life) {
      if (now - send.born >= RENEW_MS) this.handshake(i, j, slot, now)
      const there = this.entry(j, i, slot)
      return there.receive.includes(this.entry(i, j, slot).send ?? send) || there.receive.includes(send)
    }
    return this.handshake(i, j, slot, now)
  }
}

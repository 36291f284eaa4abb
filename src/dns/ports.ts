import type { Fd } from '../native/binding.ts'

/** What the gate asks of the policy; answers come out of one immutable snapshot and allocate nothing. */
export interface PolicyView {
  readonly generation: number
  /** Endpoint index by addr16, -1 when no endpoint has this address. */
  endpointByAddress(addr16: Uint8Array, offset: number): number
  /** 1 to 65535, stable over generations. */
  endpointId(index: number): number
  /**
   * 0 no rule covers this server and port, 1 rules do and none allows the name, 2 allowed. `name` is lower-case
   * checked wire form from `nameOffset` on; `server` is an addr16; `protocol` 6 or 17.
   */
  verdict(
    index: number,
    server: Uint8Array,
    serverOffset: number,
    protocol: number,
    port: number,
    name: Uint8Array,
    nameOffset: number,
  ): number
}

export const VERDICT_NO_RULE = 0
export const VERDICT_DENIED = 1
export const VERDICT_ALLOWED = 2

/** Puts what an answer says into the identity map; see docs/architecture.md, "dns". */
export interface Learner {
  /**
   * True when every (endpoint, name, address) stands in the map already; their expiry is then raised to now + ttl.
   * `addresses` are addr16 packed.
   */
  standing(
    endpointId: number,
    name: Uint8Array,
    nameOffset: number,
    nameLength: number,
    addresses: Uint8Array,
    count: number,
    ttlSeconds: number,
    nowMs: number,
  ): boolean
  /** Copies the mapping and rings the ledger; `ticket` (u32) comes back from `completed`. False: no room. */
  submit(
    ticket: number,
    endpointId: number,
    name: Uint8Array,
    nameOffset: number,
    nameLength: number,
    addresses: Uint8Array,
    count: number,
    ttlSeconds: number,
  ): boolean
  /** Finished tickets and their status into the arrays; returns how many (at most the arrays' length). */
  completed(tickets: Uint32Array, statuses: Uint8Array): number
}

/** Stands in the map: the answer may go. */
export const LEARNED = 0
/** A limit of the endpoint or of the node forbids it. */
export const LEARN_REFUSED = 1
/** The kernel did not take the write. */
export const LEARN_FAILED = 2

/** The sockets a thread asks its servers through. All may throw; a failure costs the query, never the thread. */
export interface UpstreamSockets {
  /** Connected UDP socket with an unpredictable source port. `server` is 4 or 16 octets. */
  open(server: Uint8Array, port: number): Fd
  /** From now on datagrams of `fd` come and go under `tag`. */
  add(fd: Fd, tag: number): void
  remove(tag: number): void
  close(fd: Fd): void
}

/** Fills the array with unpredictable bits (crypto.getRandomValues). */
export type RandomFill = (words: Uint16Array) => void

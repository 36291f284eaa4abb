import { MALFORMED } from './codec.ts'

/**
 * Why a datagram on a probe socket was not believed or not answered; a closed set. `unasked`: no question of ours has this
 * number, or its second is over; `source`, `size`, `slot`: not as the question went; `unknown`: the asker is no peer,
 * or its tunnel has a new key and no session yet.
 */
export const PROBE_DROPS = [...MALFORMED, 'port', 'slot', 'unknown', 'rate', 'unasked', 'source', 'size'] as const
export type ProbeDrop = (typeof PROBE_DROPS)[number]

/** Since the prober was made. */
export interface ProberCounters {
  /** Questions: one for both families. */
  asked: number
  answered: number
  lost: number
  /** Answers we gave, datagrams. */
  replies: number
  /** Datagrams that the kernel did not take: too large, no route, no device. */
  sendErrors: number
  /** Reads of a socket that failed. */
  receiveErrors: number
  readonly dropped: Record<ProbeDrop, number>
}

export const newCounters = (): ProberCounters => ({
  asked: 0,
  answered: 0,
  lost: 0,
  replies: 0,
  sendErrors: 0,
  receiveErrors: 0,
  dropped: Object.fromEntries(PROBE_DROPS.map((reason) => [reason, 0])) as Record<ProbeDrop, number>,
})

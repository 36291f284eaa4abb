import type { Learner } from './ports.ts'

/** The answer may go now. */
export const GATE_RELEASE = 1
/** The answer has to wait for the map. */
export const GATE_WAIT = 2

/**
 * Decides about an answer with addresses: may it go now, or must it wait for the map? The order of map and answer is
 * this one function, so that a test can put the wrong order in its place and see the first packets dropped.
 */
export type AnswerGate = (
  learner: Learner,
  endpointId: number,
  name: Uint8Array,
  nameLength: number,
  addresses: Uint8Array,
  count: number,
  ttlSeconds: number,
  nowMs: number,
) => number

/** The only order the product has: what does not stand in the map is not said. */
export const mapBeforeAnswer: AnswerGate = (learner, endpointId, name, nameLength, addresses, count, ttl, nowMs) =>
  learner.standing(endpointId, name, 0, nameLength, addresses, count, ttl, nowMs) ? GATE_RELEASE : GATE_WAIT

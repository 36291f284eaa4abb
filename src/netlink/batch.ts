import { SekishoError } from '../core/errors.ts'
import { nextSequence } from './answer.ts'
import { concatBytes } from './attributes.ts'
import { NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR } from './constants.ts'
import { NetlinkError } from './errors.ts'
import { decodeError, encodeMessage, splitMessages } from './message.ts'

/** A request that is answered by an acknowledgement. `what` names it in errors, and is only asked for them. */
export interface Request {
  readonly what: () => string
  readonly type: number
  readonly flags: number
  readonly parts: readonly Uint8Array[]
}

/**
 * Requests of one datagram. Each may be refused, and what a refusal takes of the socket's receive buffer (212,992 octets
 * unless changed) is below 1.5 KiB: this many always find room.
 */
export const BATCH_REQUESTS = 128

/**
 * One datagram of several requests, which the kernel does in order; only the last asks for an acknowledgement, because
 * refusals come unasked. `sequences` has one a request.
 */
export function encodeBatch(requests: readonly Request[], sequences: readonly number[]): Uint8Array {
  return concatBytes(
    requests.map(({ type, flags, parts }, i) => {
      const acknowledged = i === requests.length - 1 ? NLM_F_ACK : 0
      return encodeMessage(type, flags | NLM_F_REQUEST | acknowledged, sequences[i] ?? 0, parts)
    }),
  )
}

/** `count` numbers after `last`. */
export function sequencesAfter(last: number, count: number): number[] {
  const found: number[] = []
  for (let i = 0, at = last; i < count; i++) found.push((at = nextSequence(at)))
  return found
}

/** Gathers the refusals of one batch. */
export class BatchAnswer {
  /** What the kernel said to each request, undefined for yes. */
  readonly refusals: (NetlinkError | undefined)[]
  readonly #requests: readonly Request[]
  readonly #places: ReadonlyMap<number, number>
  readonly #port: number

  constructor(requests: readonly Request[], sequences: readonly number[], port: number) {
    this.refusals = requests.map(() => undefined)
    this.#requests = requests
    this.#places = new Map(sequences.map((sequence, i) => [sequence, i]))
    this.#port = port
  }

  /** Takes one datagram, empty for a time-out; true when the last request is answered. Throws SekishoError. */
  take(datagram: Uint8Array): boolean {
    const first = this.#requests[0]?.what() ?? 'nothing'
    if (datagram.length === 0) throw new SekishoError('SEKISHO_NETLINK_TIMEOUT', `${first} and those after it`)
    const messages = splitMessages(datagram)
    if (messages === undefined) {
      throw new SekishoError('SEKISHO_NETLINK_PROTOCOL', `${first}: a length lies outside of the datagram`)
    }
    for (const message of messages) {
      const place = this.#places.get(message.sequence)
      if (place === undefined || message.port !== this.#port || message.type !== NLMSG_ERROR) continue
      const what = this.#requests[place]?.what() ?? ''
      const answer = decodeError(message)
      if (answer === undefined) {
        throw new SekishoError('SEKISHO_NETLINK_PROTOCOL', `${what}: acknowledgement is too short`)
      }
      if (answer.errno !== 0) this.refusals[place] = new NetlinkError(what, answer.errno, answer.text)
      if (place === this.#requests.length - 1) return true
    }
    return false
  }
}

import { SekishoError } from '../core/errors.ts'
import { NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN } from './constants.ts'
import { NetlinkError } from './errors.ts'
import { type Acknowledgement, decodeDone, decodeError, type Message, splitMessages } from './message.ts'

/** The kernel answers within the call; this only bounds a kernel that does not. */
export const ANSWER_MS = 5000
/** How often a dump that a change has cut short is begun anew. */
export const DUMP_ATTEMPTS = 8

export const nextSequence = (sequence: number): number => (sequence + 1) >>> 0 || 1

/** Gathers what the kernel answers to one request. */
export class Answer {
  readonly messages: Message[] = []
  /** The table changed while it was read. */
  interrupted = false
  readonly #what: string
  readonly #sequence: number
  readonly #port: number
  readonly #keeps: boolean

  /** `keeps`: what is taken lies in memory of its own, which nobody writes again, so bodies are views of it. */
  constructor(what: string, sequence: number, port: number, keeps = false) {
    this.#what = what
    this.#sequence = sequence
    this.#port = port
    this.#keeps = keeps
  }

  /**
   * Takes one datagram, empty for a time-out; true when the answer is whole. Throws NetlinkError for a refusal, SekishoError
   * for silence and for what is not well-formed.
   */
  take(datagram: Uint8Array): boolean {
    if (datagram.length === 0) throw new SekishoError('SEKISHO_NETLINK_TIMEOUT', this.#what)
    const messages = splitMessages(datagram)
    if (messages === undefined) throw this.#malformed('a length lies outside of the datagram')
    for (const message of messages) {
      // An answer to an earlier request that was given up, or to somebody else, is no answer to this one.
      if (message.sequence !== this.#sequence || message.port !== this.#port) continue
      if ((message.flags & NLM_F_DUMP_INTR) !== 0) this.interrupted = true
      if (message.type === NLMSG_OVERRUN) throw this.#malformed('overrun')
      if (message.type === NLMSG_ERROR || message.type === NLMSG_DONE) {
        this.#check(message.type === NLMSG_ERROR ? decodeError(message) : decodeDone(message))
        return true
      }
      this.messages.push(this.#keeps ? message : { ...message, body: message.body.slice() })
    }
    return false
  }

  #check(answer: Acknowledgement | undefined): void {
    if (answer === undefined) throw this.#malformed('acknowledgement is too short')
    if (answer.errno !== 0) throw new NetlinkError(this.#what, answer.errno, answer.text)
  }

  #malformed(why: string): SekishoError {
    return new SekishoError('SEKISHO_NETLINK_PROTOCOL', `${this.#what}: ${why}`)
  }
}

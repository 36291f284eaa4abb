import { SekishoError } from '../core/errors.ts'
import type { Fd, NetlinkAsyncCalls, NetlinkCalls } from '../native/binding.ts'
import { Answer, ANSWER_MS, DUMP_ATTEMPTS, nextSequence } from './answer.ts'
import { BATCH_REQUESTS, BatchAnswer, encodeBatch, type Request, sequencesAfter } from './batch.ts'
import { NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from './constants.ts'
import type { NetlinkError } from './errors.ts'
import { encodeMessage, type Message } from './message.ts'

/** What the protocol needs of the native door. */
export type AsyncNetlinkDoor = Pick<NetlinkCalls, 'netlinkOpen' | 'netlinkPort'> &
  Partial<Pick<NetlinkCalls, 'netlinkReceive'>> &
  NetlinkAsyncCalls & { close(fd: Fd): void }

/** Acknowledgements are short. */
const RECEIVE_BYTES = 16 * 1024
/** Datagrams of a dump that are taken in one turn of the event loop: under 200 KiB, a thousand peers of a device. */
const DUMP_DATAGRAMS = 6

/** As NetlinkConnection, with the waiting done on a thread of the pool: requests stand in a queue of their own. */
export interface AsyncNetlinkConnection {
  /** A request that is answered by an acknowledgement. `what` names it in errors. Rejects with NetlinkError. */
  request(what: string, type: number, flags: number, parts: readonly Uint8Array[]): Promise<void>
  /**
   * Requests that are done in order, as many at a time as one datagram may hold; a refusal does not stop those after it.
   * What the kernel said to each, undefined for yes. Rejects with SekishoError when it says nothing.
   */
  batch(requests: readonly Request[]): Promise<(NetlinkError | undefined)[]>
  /** A request that is answered by messages and then an acknowledgement. */
  query(what: string, type: number, parts: readonly Uint8Array[]): Promise<readonly Message[]>
  /** A whole dump: begun anew when the table changed meanwhile. */
  dump(what: string, type: number, parts: readonly Uint8Array[]): Promise<readonly Message[]>
  /**
   * The same, with each message handed on as it comes, so that none is kept and the event loop is free in between. `begin` is
   * called for every attempt, and gives who takes the messages; what it throws ends the dump.
   */
  walk(what: string, type: number, parts: readonly Uint8Array[], begin: () => (message: Message) => void): Promise<void>
  /** The first message of a dump that is then left alone: the connection must be closed after it. */
  begin(what: string, type: number, parts: readonly Uint8Array[]): Promise<Message>
  /** Takes the socket for one exchange that `act` makes itself; answers must bear `sequence`. */
  exclusively<T>(act: (fd: Fd, sequence: number) => Promise<T>): Promise<T>
  /** The kernel's port id of the socket: what it does for us it tells others with this number. */
  readonly port: number
  /** After what stands in the queue. Idempotent. */
  close(): Promise<void>
}

export interface AsyncConnectionOptions {
  /**
   * Reads a datagram, or as many as `most` one behind the other, into memory of its own; without it, the door's own, which
   * reads one.
   */
  readonly receive?: (fd: Fd, timeoutMs: number, most: number) => Promise<Uint8Array>
  /** Sends, and reads a datagram of the answer: one trip to the pool in place of two. Without it, one after the other. */
  readonly exchange?: (fd: Fd, message: Uint8Array, timeoutMs: number) => Promise<Uint8Array>
  /** How long one answer may take. */
  readonly answerMs?: number
}

export function openAsyncConnection(
  native: AsyncNetlinkDoor,
  protocol: number,
  options: AsyncConnectionOptions = {},
): AsyncNetlinkConnection {
  const fd = native.netlinkOpen(protocol, [])
  const port = native.netlinkPort(fd)
  const receive = options.receive ?? ((from, timeoutMs) => native.netlinkReceiveAsync(from, timeoutMs))
  const answerMs = options.answerMs ?? ANSWER_MS
  /** Sends, and gives the first datagram of the answer. */
  const ask =
    options.exchange ??
    (async (to, message, timeoutMs) => {
      await native.netlinkSendAsync(to, message)
      return receive(to, timeoutMs, 1)
    })
  /**
   * Acknowledgements stand in the queue when the send is over, so they are taken without another trip to the pool. Not so the
   * parts of a dump: each is made by the kernel while the one before it is received.
   */
  const soon = async (from: Fd): Promise<Uint8Array> => {
    if (options.receive === undefined && native.netlinkReceive !== undefined) {
      const length = native.netlinkReceive(from, buffer, 0)
      if (length > 0) return buffer.subarray(0, length)
    }
    return receive(from, answerMs, 1)
  }
  const buffer = new Uint8Array(RECEIVE_BYTES)
  let sequence = 0
  let open = true
  let last: Promise<unknown> = Promise.resolve()

  const exclusively = <T>(act: (from: Fd, sequence: number) => Promise<T>): Promise<T> => {
    const result = last.then(() => {
      if (!open) throw new SekishoError('SEKISHO_NETLINK_PROTOCOL', 'the connection is closed')
      sequence = nextSequence(sequence)
      return act(fd, sequence)
    })
    last = result.catch(() => undefined)
    return result
  }

  const exchange = (what: string, type: number, flags: number, parts: readonly Uint8Array[]): Promise<Answer> =>
    exclusively(async (from, number) => {
      const answer = new Answer(what, number, port, true)
      let datagram = await ask(from, encodeMessage(type, flags | NLM_F_REQUEST, number, parts), answerMs)
      while (!answer.take(datagram)) datagram = await receive(from, answerMs, 1)
      return answer
    })

  return {
    async request(what, type, flags, parts) {
      await exchange(what, type, flags | NLM_F_ACK, parts)
    },
    async query(what, type, parts) {
      return (await exchange(what, type, NLM_F_ACK, parts)).messages
    },
    async dump(what, type, parts) {
      for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
        const answer = await exchange(what, type, NLM_F_DUMP, parts)
        if (!answer.interrupted) return answer.messages
      }
      throw new SekishoError('SEKISHO_NETLINK_INTERRUPTED', what)
    },
    async walk(what, type, parts, begin) {
      for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
        const take = begin()
        const whole = await exclusively(async (from, number) => {
          await native.netlinkSendAsync(from, encodeMessage(type, NLM_F_DUMP | NLM_F_REQUEST, number, parts))
          const answer = new Answer(what, number, port, true)
          let failure: { readonly error: unknown } | undefined
          for (let ended = false; !ended;) {
            ended = answer.take(await receive(from, answerMs, DUMP_DATAGRAMS))
            const messages = answer.messages.splice(0)
            try {
              if (failure === undefined) for (const message of messages) take(message)
            } catch (error) {
              // The rest is read all the same: until then the kernel begins no other dump on this socket.
              failure = { error }
            }
          }
          if (failure !== undefined) throw failure.error
          return !answer.interrupted
        })
        if (whole) return
      }
      throw new SekishoError('SEKISHO_NETLINK_INTERRUPTED', what)
    },
    begin(what, type, parts) {
      return exclusively(async (from, number) => {
        await native.netlinkSendAsync(from, encodeMessage(type, NLM_F_DUMP | NLM_F_REQUEST, number, parts))
        const answer = new Answer(what, number, port, true)
        for (;;) {
          const whole = answer.take(await receive(from, answerMs, 1))
          const [first] = answer.messages
          if (first !== undefined) return first
          if (whole) throw new SekishoError('SEKISHO_NETLINK_PROTOCOL', `${what}: an empty dump`)
        }
      })
    },
    async batch(requests) {
      const refusals: (NetlinkError | undefined)[] = []
      for (let at = 0; at < requests.length; at += BATCH_REQUESTS) {
        const some = requests.slice(at, at + BATCH_REQUESTS)
        const answer = await exclusively(async (from, first) => {
          const sequences = [first, ...sequencesAfter(first, some.length - 1)]
          sequence = sequences.at(-1) ?? first
          await native.netlinkSendAsync(from, encodeBatch(some, sequences))
          const gathered = new BatchAnswer(some, sequences, port)
          while (!gathered.take(await soon(from))) continue
          return gathered
        })
        refusals.push(...answer.refusals)
      }
      return refusals
    },
    exclusively,
    port,
    async close() {
      await last
      if (open) native.close(fd)
      open = false
    },
  }
}

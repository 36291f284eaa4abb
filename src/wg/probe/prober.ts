import type { Clock } from '../../core/clock.ts'
import { SekishoError } from '../../core/errors.ts'
import type { Ip } from '../../core/ip.ts'
import type { Log } from '../../core/log.ts'
import type { Announcement } from '../pair.ts'
import type { ProbeResult, ProbeTarget, Prober } from '../seams.ts'
import { SLOTS, type Slot } from '../slots.ts'
import { decodeProbe, encodeAnswer, encodeAsk, PROBE_BYTES, type Answer, type Ask } from './codec.ts'
import { newCounters, type ProbeDrop, type ProberCounters } from './counters.ts'
import { Questions, type Pending, type Question, type RandomWords } from './questions.ts'
import { openSlotSocket, TURN, type ProbeDoor, type ProbeSocket, type Received } from './slot-socket.ts'
import { isAddress, Targets } from './targets.ts'

/** An answer later than this is none. */
export const ANSWER_MS = 1000
/**
 * Sockets are read this often: in batches a probe costs a fraction of what an event a datagram would. An answer tells how long
 * its question waited, so times stay right.
 */
export const TURN_MS = 50
/** Batches of one socket until the next: 20,480 datagrams a second, twice what 5,000 peers ask and answer at one a second. */
const BATCHES = 4
/** IP and UDP. */
const HEADERS = { 4: 28, 6: 48 } as const

export interface ProberOptions {
  /** Devices of the slots. */
  readonly devices: readonly [string, string]
  /** UDP port of all probe sockets of the mesh. */
  readonly port: number
  /** Our own probe addresses, one a family. */
  readonly addresses: readonly Ip[]
  /** MTU of the devices. */
  readonly mtu: () => number
}

export interface ProberDeps {
  readonly native: ProbeDoor
  readonly clock: Clock
  readonly random: RandomWords
  readonly log: Log
}

export interface CountingProber extends Prober {
  counters(): ProberCounters
}

type Handlers = Parameters<Prober['start']>[0]

/**
 * Questions and answers through the device of each slot. A question goes out in each family that both ends have and is
 * answered when all are, so that a tunnel that carries one family only is found. A question says nothing but its number;
 * an announcement is believed in an answer alone, and an answer is believed when it bears the number of a question that is
 * open, comes through the same slot, from the address and in the size that was asked, within a second.
 */
export function createProber(options: ProberOptions, deps: ProberDeps): CountingProber {
  const { native, clock, log } = deps
  const counters = newCounters()
  const targets = new Targets()
  const questions = new Questions(deps.random)
  const sockets: [ProbeSocket[], ProbeSocket[]] = [[], []]
  /** Questions that could not be sent: told in the next turn. */
  let unsent: Question[] = []
  let handlers: Handlers | undefined
  let timer: NodeJS.Timeout | undefined
  /** What the engine asks in one go leaves in batches, and at once: its time is taken when it is asked. */
  let leaving: NodeJS.Immediate | undefined
  let reading: NodeJS.Immediate | undefined

  const drop = (reason: ProbeDrop): void => {
    counters.dropped[reason]++
  }

  const closeSlot = (slot: Slot): void => {
    for (const socket of sockets[slot].splice(0)) socket.close()
  }

  const refused = (pending: Pending): void => {
    questions.delete(pending)
    unsent.push(pending.question)
  }

  const openSlot = (slot: Slot): void => {
    closeSlot(slot)
    const device = options.devices[slot]
    try {
      const { port } = options
      for (const own of options.addresses) sockets[slot].push(openSlotSocket(native, { device, own, port, refused }))
    } catch (error) {
      closeSlot(slot)
      throw new SekishoError('SEKISHO_WG_PROBE', `${device}: ${(error as Error).message}`, { cause: error })
    }
  }

  const tell = (result: ProbeResult): void => {
    if (result.answered) counters.answered++
    else counters.lost++
    handlers?.result(result)
  }

  const lose = (question: Question): void => {
    if (question.ended) return
    question.ended = true
    tell({ uid: question.uid, slot: question.slot, answered: false })
  }

  const answer = (ask: Ask, socket: ProbeSocket, from: Received, now: number): void => {
    const target = targets.at(from.words, from.wordsAt)
    if (target === undefined) {
      drop('unknown')
      return
    }
    if (!target.mayAnswer(now)) {
      drop('rate')
      return
    }
    const announcement: Announcement | undefined = handlers?.announce(target.uid, ask.slot)
    if (announcement === undefined) {
      drop('unknown')
      return
    }
    const { slot, high, low } = ask
    counters.replies++
    // As large as the question and no larger: a full-size probe is one in both directions.
    const at = socket.queue(from.words, from.wordsAt, from.port, from.octets)
    encodeAnswer({ slot, high, low, heldUs: from.ageUs, announcement }, socket.out, at)
  }

  const believe = (message: Answer, slot: Slot, from: Received, now: number): void => {
    const pending = questions.get(message)
    // When it came, not when it was read: a busy event loop is no loss.
    const tookMs = pending === undefined ? 0 : Math.max(0, now - from.ageUs / 1000 - pending.sentAt)
    if (pending === undefined || tookMs > ANSWER_MS) {
      drop('unasked')
      return
    }
    const { question } = pending
    if (question.slot !== slot) {
      drop('slot')
      return
    }
    if (!isAddress(pending.address, from.words, from.wordsAt)) {
      drop('source')
      return
    }
    if (pending.octets !== from.octets) {
      drop('size')
      return
    }
    questions.delete(pending)
    if (question.ended) return
    const { announcement } = message
    question.rttMs = Math.max(question.rttMs, tookMs - Math.min(tookMs, message.heldUs / 1000))
    if (question.announcement === undefined || announcement.sequence > question.announcement.sequence) {
      question.announcement = announcement
    }
    if (--question.open > 0) return
    question.ended = true
    const { uid, rttMs } = question
    tell({ uid, slot, answered: true, rttMs, announcement: question.announcement })
  }

  const take = (socket: ProbeSocket, slot: Slot, view: DataView, at: number, from: Received, now: number): void => {
    if (from.port !== options.port) {
      drop('port')
      return
    }
    const decoded = decodeProbe(view, at, from.octets)
    if (!decoded.ok) {
      drop(decoded.error)
      return
    }
    const message = decoded.value
    if (message.slot !== slot) drop('slot')
    else if (message.kind === 'ask') answer(message, socket, from, now)
    else believe(message, slot, from, now)
  }

  /** A batch of each. Returns whether all that had come was read. */
  const receive = (): boolean => {
    let drained = true
    for (const slot of SLOTS) {
      for (const socket of sockets[slot]) {
        try {
          const now = clock.monotonicMs()
          const count = socket.receive((view, at, from) => {
            take(socket, slot, view, at, from, now)
          })
          if (count === TURN) drained = false
        } catch (error) {
          counters.receiveErrors++
          log.debug({ err: error, device: options.devices[slot] }, 'a probe socket could not be read')
        }
      }
    }
    return drained
  }

  const guarded = (act: () => void): void => {
    try {
      act()
    } catch (error) {
      log.error({ err: error }, 'probes could not be worked on')
    }
  }

  const flush = (): void => {
    let empty = true
    for (const slot of SLOTS) {
      for (const socket of sockets[slot]) {
        counters.sendErrors += socket.flush()
        empty &&= socket.empty
      }
    }
    if (!empty) flushSoon()
  }

  const flushSoon = (): void => {
    leaving ??= setImmediate(() => {
      leaving = undefined
      guarded(flush)
    })
  }

  /** Whoever waits for the event loop gets it between two batches. */
  const turn = (batches = BATCHES): void => {
    const started = clock.monotonicMs()
    const drained = receive()
    flush()
    // Answers that wait in a socket are not lost yet.
    if (drained) for (const { question } of questions.expire(started - ANSWER_MS)) lose(question)
    const failed = unsent
    unsent = []
    for (const question of failed) lose(question)
    clearImmediate(reading)
    reading =
      drained || batches === 1
        ? undefined
        : setImmediate(guarded, () => {
            turn(batches - 1)
          })
  }

  return {
    async start(given) {
      handlers = given
      try {
        for (const slot of SLOTS) openSlot(slot)
      } catch (error) {
        for (const slot of SLOTS) closeSlot(slot)
        throw error
      }
      timer = setInterval(() => {
        guarded(() => {
          turn()
        })
      }, TURN_MS)
    },
    async slotReplaced(slot) {
      openSlot(slot)
    },
    setTargets(list: readonly ProbeTarget[]) {
      targets.replace(list, clock.monotonicMs())
      questions.forget((uid) => targets.get(uid) !== undefined)
    },
    ask(uid, slot, fullSize = false) {
      const target = targets.get(uid)
      if (target === undefined || timer === undefined) return
      counters.asked++
      const question: Question = { uid, slot, open: 0, rttMs: 0, announcement: undefined, ended: false }
      const sentAt = clock.monotonicMs()
      for (const socket of sockets[slot]) {
        const address = target.addresses.find((one) => one.family === socket.family)
        if (address === undefined) continue
        question.open++
        const octets = fullSize ? Math.max(PROBE_BYTES, options.mtu() - HEADERS[socket.family]) : PROBE_BYTES
        const pending = questions.add(question, address, octets, sentAt)
        encodeAsk(pending, socket.out, socket.queue(address.words, 0, options.port, octets, pending))
      }
      if (question.open === 0) unsent.push(question)
      else flushSoon()
    },
    counters: () => counters,
    async stop() {
      clearInterval(timer)
      timer = undefined
      clearImmediate(leaving)
      clearImmediate(reading)
      leaving = undefined
      for (const slot of SLOTS) closeSlot(slot)
      questions.forget(() => false)
      unsent = []
      handlers = undefined
    },
  }
}

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MessageChannel, type MessagePort, type Transferable } from 'node:worker_threads'
import { writeFileAtomic } from '../core/atomic-file.ts'
import type { Log } from '../core/log.ts'
import { Doorbell } from '../fqdn/shared/doorbell.ts'
import type { LearningMemory } from '../fqdn/shared/learning-memory.ts'
import { STATS_LENGTH } from '../identity/counters.ts'
import type {
  ClientWake,
  LedgerAnswer,
  LedgerInit,
  LedgerMessage,
  LedgerQuery,
  LedgerRequest,
} from '../identity/ledger-protocol.ts'
import { superviseThread, type Thread } from '../threads/supervisor.ts'

/** How long a question of the API may take, ms. */
const ANSWER_MS = 2000
/** How long the ledger has to empty a dead client's rings, ms. */
const RESET_MS = 2000

/** What does not change over the restarts of the thread. */
export type LedgerSetup = Omit<LedgerInit, 'kind' | 'wakes' | 'stats' | 'bootId' | 'restarted' | 'learning'> & {
  readonly learning: LearningMemory
  /** Eventfds of the dns workers, in order; the tcp thread is the client after them. */
  readonly kicks: readonly number[]
}

interface Policy {
  readonly generation: number
  readonly buffer: SharedArrayBuffer
}

export interface LedgerThread {
  readonly thread: Thread
  readonly stats: Float64Array
  /** Why the newest of what was learned is not on disk; undefined when it is. */
  readonly unsaved: string | undefined
  /** Resolves when the generation, or a newer one, is in the kernel; rejects when it is refused. */
  apply(generation: number, buffer: SharedArrayBuffer): Promise<{ readonly failedEndpoints: readonly number[] }>
  settled(generation: number): void
  nodes(addresses: readonly string[]): void
  ask(query: LedgerQuery): Promise<LedgerAnswer>
  /** Empties the rings of a dns worker that died. */
  resetWorker(client: number): Promise<void>
  /** Empties the rings of the tcp thread and returns the port on which its next instance hears of completions. */
  resetTcp(): Promise<MessagePort>
}

const bootId = (): Uint8Array =>
  Buffer.from(readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').replace(/[^0-9a-f]/g, ''), 'hex')

/** Keeps the ledger thread, speaks its protocol, and writes its state to disk. */
export function createLedgerThread(setup: LedgerSetup, entry: URL, log: Log, onRestart: () => void): LedgerThread {
  const bell = new Doorbell(setup.learning.bell)
  const stats = new SharedArrayBuffer(STATS_LENGTH * 8)
  const applies: {
    readonly policy: Policy
    readonly resolve: (ack: { failedEndpoints: readonly number[] }) => void
    readonly reject: (error: Error) => void
  }[] = []
  const answers = new Map<number, (answer: LedgerAnswer) => void>()
  const resets = new Map<number, () => void>()
  /** What the next thread begins with: the newest policy that was not refused. */
  let latest: Policy | undefined
  let inForce: Policy | undefined
  let settledGeneration = 0
  let nodeAddresses = setup.nodeAddresses
  let questions = 0
  let starts = 0
  let chunks: Uint8Array[] = []
  let chunksOf = 0
  let unsaved: string | undefined

  const post = (request: LedgerRequest, transfer?: readonly Transferable[]): void => {
    thread.post(request, transfer)
    bell.ring()
  }

  function keepState(message: Extract<LedgerMessage, { type: 'state' }>): void {
    // The ledger gives up a snapshot that is half encoded when it ends.
    if (message.sequence !== chunksOf) chunks = []
    chunksOf = message.sequence
    chunks.push(new Uint8Array(message.chunk))
    if (!message.last) return
    const parts = chunks
    chunks = []
    let ok = true
    try {
      writeFileAtomic(join(setup.stateDir, 'names.snapshot'), parts)
      unsaved = undefined
    } catch (error) {
      ok = false
      unsaved = error instanceof Error ? error.message : String(error)
      log.error({ err: error }, 'the state could not be written')
    }
    post({ type: 'stateWritten', sequence: message.sequence, ok })
  }

  function hear(message: LedgerMessage): void {
    switch (message.type) {
      case 'ack': {
        log.debug({ generation: message.generation, ms: message.ms }, 'policy is in the kernel')
        if (message.failedEndpoints.length > 0) {
          log.error(
            { endpoints: message.failedEndpoints },
            'rows of these endpoints could not be written; they keep what they had',
          )
        }
        for (let i = applies.length - 1; i >= 0; i--) {
          const waiting = applies[i]
          if (waiting === undefined || waiting.policy.generation > message.generation) continue
          applies.splice(i, 1)
          if (waiting.policy.generation === message.generation) inForce = waiting.policy
          waiting.resolve(message)
        }
        return
      }
      case 'refused': {
        if (latest?.generation === message.generation) latest = inForce
        const at = applies.findIndex(({ policy }) => policy.generation === message.generation)
        const [waiting] = at < 0 ? [] : applies.splice(at, 1)
        waiting?.reject(new Error(message.message))
        return
      }
      case 'clientReset':
        resets.get(message.client)?.()
        return
      case 'state':
        keepState(message)
        return
      case 'answer':
        answers.get(message.id)?.(message.answer)
        return
      case 'problem':
        log.warn({ what: message.what, detail: message.message }, 'the ledger met a problem')
        if (message.what === 'journal') unsaved = `the journal ${message.message}`
        return
      case 'stopped':
        return
    }
  }

  function reset(client: number, wake: ClientWake | null, transfer?: readonly Transferable[]): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(late)
        resets.delete(client)
        resolve()
      }
      const late = setTimeout(done, RESET_MS)
      resets.set(client, done)
      post({ type: 'resetClient', client, wake }, transfer)
    })
  }

  const thread: Thread = superviseThread({
    name: 'ledger',
    youngMiB: 24,
    entry,
    log,
    data() {
      const { kicks, ...rest } = setup
      const wakes: (ClientWake | null)[] = kicks.map((fd) => ({ kind: 'event', fd }))
      wakes.push(null)
      bell.rearm()
      const workerData: LedgerInit = {
        ...rest,
        kind: 'sekisho-ledger',
        wakes,
        stats,
        bootId: bootId(),
        nodeAddresses,
        restarted: starts++ > 0,
      }
      return { workerData }
    },
    onMessage: (message) => hear(message as LedgerMessage),
    onStart() {
      if (starts === 1) return
      chunks = []
      if (latest !== undefined) post({ type: 'snapshot', ...latest })
      if (settledGeneration > 0) post({ type: 'settled', generation: settledGeneration })
      onRestart()
    },
    askToStop: () => bell.stop(),
    wake: () => bell.ring(),
  })

  return {
    thread,
    stats: new Float64Array(stats),
    get unsaved() {
      return unsaved
    },
    apply(generation, buffer) {
      const policy = { generation, buffer }
      latest = policy
      return new Promise((resolve, reject) => {
        applies.push({ policy, resolve, reject })
        post({ type: 'snapshot', ...policy })
      })
    },
    settled(generation) {
      settledGeneration = generation
      post({ type: 'settled', generation })
    },
    nodes(addresses) {
      nodeAddresses = addresses
      post({ type: 'nodes', addresses })
    },
    ask(query) {
      const id = ++questions
      return new Promise((resolve, reject) => {
        const late = setTimeout(() => {
          answers.delete(id)
          reject(new Error('the ledger did not answer in time'))
        }, ANSWER_MS)
        answers.set(id, (answer) => {
          clearTimeout(late)
          answers.delete(id)
          resolve(answer)
        })
        post({ type: 'query', id, query })
      })
    },
    resetWorker(client) {
      const fd = setup.kicks[client]
      return reset(client, fd === undefined ? null : { kind: 'event', fd })
    },
    async resetTcp() {
      const { port1, port2 } = new MessageChannel()
      await reset(setup.kicks.length, { kind: 'port', port: port1 }, [port1])
      return port2
    },
  }
}

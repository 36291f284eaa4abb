import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../config/schema.ts'
import { writeFileAtomic } from '../core/atomic-file.ts'
import type { Ip } from '../core/ip.ts'
import type { Startable } from '../core/lifecycle.ts'
import type { Log } from '../core/log.ts'
import type { EndpointIds } from '../datapath/endpoint-ids.ts'
import { endpointKey, type EndpointSpec, parseEndpoints } from '../datapath/endpoints.ts'
import type { Datapath, DatapathEndpoint } from '../datapath/ports.ts'
import { type FileSet, readRestedFileSet } from '../files/tree.ts'
import { watchPaths } from '../files/watch.ts'
import type { CompileReply, CompileRequest, SourceFile } from '../policy/compiler-protocol.ts'
import type { PolicyMetrics } from '../policy/metrics.ts'
import { openSnapshot } from '../policy/snapshot.ts'
import { superviseThread, type Thread } from '../threads/supervisor.ts'
import { trimHeap } from '../threads/trim-heap.ts'
import { addressesKey } from './addresses.ts'

/** The texts in force, so that a restart beside a broken file still has the last good one. */
const LAST_GOOD = 'policy.json'
/** Without a change for so long, the thread gives back what the last one left behind, ms. */
const REST_MS = 5000
/** First pause before a change that failed is tried again, ms; doubles to the last. */
const RETRY_FIRST_MS = 100
const RETRY_LAST_MS = 30_000

/** What is wrong with a policy or endpoints file, as operators see it. */
export interface FileProblem {
  readonly file: string
  readonly line: number
  readonly column: number
  readonly severity: 'error' | 'warning'
  readonly message: string
  readonly hint?: string
}

export interface PolicyState {
  readonly generation: number
  readonly appliedAt: string | null
  readonly rules: number
  readonly files: readonly { readonly file: string; readonly documents: number }[]
  readonly problems: readonly FileProblem[]
  readonly endpoints: readonly (EndpointSpec & { readonly id: number; readonly enforced: boolean })[]
}

export interface PolicyLoopDeps {
  readonly config: Config
  readonly log: Log
  readonly compilerEntry: URL
  readonly endpointIds: EndpointIds
  readonly datapath: Datapath
  readonly metrics: PolicyMetrics
  readonly nodeAddresses: () => readonly Ip[]
  /** The ledger puts it into the kernel. */
  readonly apply: (generation: number, buffer: SharedArrayBuffer) => Promise<unknown>
  /** The dns threads take it, the first time by starting with it; false when one did not in time. */
  readonly use: (buffer: SharedArrayBuffer, generation: number) => Promise<boolean>
  /** Nobody needs an older generation any more. */
  readonly settled: (generation: number) => void
}

export interface PolicyLoop extends Startable {
  /** Reads everything anew: a file or an address of the node changed. */
  trigger(): void
  readonly state: PolicyState
  readonly thread: Thread
}

/**
 * From files to a policy in force: read, compile (on its thread), ledger, dns threads, datapath, in this order. One pass
 * at a time; what changes meanwhile causes the next.
 */
export function createPolicyLoop(deps: PolicyLoopDeps): PolicyLoop {
  const { config, log } = deps
  const lastGoodFile = join(config.state.dir, LAST_GOOD)
  let state: PolicyState = { generation: 0, appliedAt: null, rules: 0, files: [], problems: [], endpoints: [] }
  let lastGood = readLastGood(lastGoodFile)
  let specs: readonly EndpointSpec[] = []
  let generation = 0
  let sequence = 0
  let running = false
  let again = false
  let stopped = false
  let told = ''
  let inForceNow: InForce | undefined
  let readEndpointsText: string | undefined
  let rest: NodeJS.Timeout | undefined
  let retry: NodeJS.Timeout | undefined
  let retryMs = RETRY_FIRST_MS
  let waiting:
    | {
        readonly sequence: number
        readonly resolve: (reply: CompileReply) => void
        readonly reject: (error: Error) => void
      }
    | undefined

  const thread = superviseThread({
    name: 'compiler',
    youngMiB: 48,
    entry: deps.compilerEntry,
    log,
    data: () => ({ workerData: null }),
    onMessage(message) {
      const reply = message as CompileReply
      if (waiting?.sequence !== reply.sequence) return
      const { resolve } = waiting
      waiting = undefined
      resolve(reply)
    },
    // Not posted again: what killed the thread may be what it was given, and the files may be others by now.
    onDeath() {
      waiting?.reject(new Error('the compiler thread died over it'))
      waiting = undefined
    },
    askToStop: () => undefined,
    wake: () => undefined,
    stopMs: 0,
  })

  function compile(request: CompileRequest): Promise<CompileReply> {
    return new Promise((resolve, reject) => {
      if (!thread.alive) throw new Error('the compiler thread is being started again')
      waiting = { sequence: request.sequence, resolve, reject }
      thread.post(request)
    })
  }

  /** The endpoints of the file; a broken file leaves the last ones. */
  async function readEndpoints(): Promise<FileProblem[]> {
    const path = config.datapath.endpoints
    const { files, problems } = await readRestedFileSet([path])
    const text = files[0]?.text
    if (text === undefined) {
      return [{ file: path, line: 1, column: 1, severity: 'error', message: problems[0]?.message ?? 'it is a folder' }]
    }
    if (text === readEndpointsText) return []
    const parsed = parseEndpoints(text, path)
    if ('problems' in parsed) return [...parsed.problems]
    specs = parsed.endpoints
    readEndpointsText = text
    return []
  }

  function sources(set: FileSet): SourceFile[] {
    const unreadable = set.problems.map(({ path, message }) => ({ path, unreadable: message }))
    // A configured path that is gone keeps what it had; a file gone from a readable folder is gone.
    const lost = unreadable.flatMap(({ path, unreadable: why }) =>
      Object.keys(lastGood)
        .filter((known) => known.startsWith(`${path}/`))
        .map((known) => ({ path: known, unreadable: why })),
    )
    return [
      ...set.files,
      ...unreadable.filter(({ path }) => !lost.some((file) => file.path.startsWith(`${path}/`))),
      ...lost,
    ]
  }

  type Endpoint = EndpointSpec & { readonly id: number }

  function withIds(): Endpoint[] {
    const ids = deps.endpointIds.assign(specs.map(endpointKey))
    return specs.map((spec) => ({ ...spec, id: ids.get(endpointKey(spec)) ?? 0 }))
  }

  /** While nothing of ours is in force: what is new is closed until there is a policy, what was pinned stays as it is. */
  async function closeUnjudged(endpoints: readonly Endpoint[]): Promise<void> {
    if (state.generation === 0) await applyEndpoints(endpoints.map((endpoint) => ({ ...endpoint, enforced: true })))
  }

  /** A pass could not be finished. It is tried again, for its cause may not be in a file. */
  async function failed(error: unknown): Promise<void> {
    log.error({ err: error, retryMs }, 'a policy change failed; the policy in force stays')
    const message = `could not be put into force: ${error instanceof Error ? error.message : String(error)}`
    state = { ...state, problems: [{ file: 'policy', line: 1, column: 1, severity: 'error', message }] }
    deps.metrics.refused()
    retry = setTimeout(trigger, retryMs)
    retryMs = Math.min(2 * retryMs, RETRY_LAST_MS)
    if (state.generation === 0) await closeUnjudged(withIds())
  }

  async function pass(): Promise<void> {
    const endpointProblems = await readEndpoints()
    const set = await readRestedFileSet(config.policy.paths)
    const endpoints = withIds()
    const next = generation + 1
    const reply = await compile({
      sequence: ++sequence,
      generation: next,
      files: sources(set),
      lastGood,
      endpoints: endpoints.map(({ id, name, namespace, labels, addresses }) => ({
        id,
        name,
        namespace,
        labels,
        addresses,
      })),
      hostAddresses: deps.nodeAddresses(),
      doubleStar: config.policy.doubleStar,
    })
    const problems = [...endpointProblems, ...reply.problems]
    tell(problems)
    if (problems.some(({ severity }) => severity === 'error')) deps.metrics.refused()
    if (reply.buffer === undefined) {
      state = { ...state, problems }
      await closeUnjudged(endpoints)
      return
    }
    const now = inForceOf(reply, endpoints, deps.nodeAddresses())
    if (inForceNow !== undefined && isSame(now, inForceNow)) {
      state = { ...state, problems }
      return
    }
    generation = next
    const { buffer } = reply
    await deps.apply(next, buffer)
    const enforced = new Set(openSnapshot(buffer).endpoints.flatMap(({ id, enforced: yes }) => (yes ? [id] : [])))
    const inForce = endpoints.map((endpoint) => ({ ...endpoint, enforced: enforced.has(endpoint.id) }))
    // The gate knows an endpoint before the first of its queries is redirected, and until the last one was.
    const before = new Map(state.endpoints.map(({ id, enforced: yes }) => [id, yes]))
    const kept = inForce.filter(({ id }) => before.has(id))
    if (kept.some((endpoint) => !endpoint.enforced && before.get(endpoint.id) === true)) {
      await applyEndpoints(
        kept.map((endpoint) => ({ ...endpoint, enforced: endpoint.enforced && before.get(endpoint.id) === true })),
      )
    }
    const settled = await deps.use(buffer, next)
    deps.metrics.compiled({ ...reply, byteLength: buffer.byteLength }, reply.seconds)
    state = {
      generation: next,
      appliedAt: new Date().toISOString(),
      rules: reply.rules,
      files: reply.inForce.map(({ path, policies }) => ({ file: path, documents: policies })),
      problems,
      endpoints: inForce,
    }
    await applyEndpoints(inForce)
    if (settled) deps.settled(next)
    else log.warn({ generation: next }, 'a dns thread has not taken the policy; what only older ones need is kept')
    log.info({ generation: next, rules: reply.rules, endpoints: inForce.length }, 'policy is in force')
    inForceNow = now
    keepLastGood(reply)
    clearTimeout(rest)
    rest = setTimeout(trimHeap, REST_MS).unref()
  }

  async function applyEndpoints(endpoints: readonly DatapathEndpoint[]): Promise<void> {
    try {
      await deps.datapath.applyEndpoints(endpoints.map((endpoint) => ({ ...endpoint, name: endpointName(endpoint) })))
    } catch (error) {
      log.error({ err: error }, 'not every endpoint could be attached')
    }
  }

  function keepLastGood(reply: CompileReply): void {
    const before = Object.entries(lastGood)
    lastGood = Object.fromEntries(reply.inForce.map(({ path, text }) => [path, text]))
    if (before.length === reply.inForce.length && before.every(([path, text]) => lastGood[path] === text)) return
    try {
      writeFileAtomic(lastGoodFile, [Buffer.from(JSON.stringify(lastGood))])
    } catch (error) {
      log.warn({ err: error }, 'the policy in force could not be kept for a restart')
    }
  }

  /** Each set of problems is told once, not at every pass. */
  function tell(problems: readonly FileProblem[]): void {
    const now = JSON.stringify(problems)
    if (now === told) return
    told = now
    for (const { file, line, column, severity, message, hint } of problems) {
      const fields = { file, line, column, ...(hint === undefined ? {} : { hint }) }
      if (severity === 'error') log.error(fields, `the file is refused, what was in force stays: ${message}`)
      else log.warn(fields, message)
    }
  }

  function trigger(): void {
    if (stopped) return
    again = true
    if (running) return
    running = true
    void (async () => {
      while (again && !stopped) {
        again = false
        clearTimeout(retry)
        try {
          await pass()
          retryMs = RETRY_FIRST_MS
        } catch (error) {
          if (!stopped)
            await failed(error).catch((second: unknown) => log.error({ err: second }, 'endpoints stay as they are'))
        }
      }
      running = false
    })()
  }

  const watcher = watchPaths({
    paths: [...config.policy.paths, config.datapath.endpoints],
    onChange: async () => trigger(),
  })

  return {
    thread,
    get state() {
      return state
    },
    trigger,
    async start() {
      await thread.start()
      await watcher.start()
      trigger()
    },
    async stop() {
      stopped = true
      clearTimeout(rest)
      clearTimeout(retry)
      await watcher.stop()
      await thread.stop()
    },
  }
}

const endpointName = (endpoint: { readonly name: string; readonly namespace?: string }): string =>
  endpoint.namespace === undefined ? endpoint.name : `${endpoint.namespace}/${endpoint.name}`

function readLastGood(path: string): Readonly<Record<string, string>> {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'))
    if (typeof value !== 'object' || value === null) return {}
    return Object.fromEntries(
      Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
    )
  } catch {
    return {}
  }
}

/** What a generation is made of: a pass that finds the same changes nothing in the kernel. */
interface InForce {
  readonly files: CompileReply['inForce']
  readonly rest: string
}

const inForceOf = (reply: CompileReply, endpoints: readonly EndpointSpec[], addresses: readonly Ip[]): InForce => ({
  files: reply.inForce,
  rest: JSON.stringify([
    endpoints.map((endpoint) => ({ ...endpoint, addresses: addressesKey(endpoint.addresses) })),
    addressesKey(addresses),
  ]),
})

/** The texts are compared as they are: they may be megabytes. */
function isSame(a: InForce, b: InForce): boolean {
  return (
    a.rest === b.rest &&
    a.files.length === b.files.length &&
    a.files.every((file, i) => {
      const other = b.files[i]
      return file.path === other?.path && file.policies === other.policies && file.text === other.text
    })
  )
}

import { formatIp } from '../core/ip.ts'
import { DIRECTION_EGRESS, type DropEvent } from '../bpf/layouts.ts'
import { systemClock } from '../core/clock.ts'
import type { Datapath } from '../datapath/ports.ts'
import { dropReason } from '../datapath/reasons.ts'
import {
  CONTROL_GENERATION,
  CONTROL_PATH,
  CONTROL_STATE,
  THREAD_DRAINING,
  THREAD_SERVING,
} from '../dns/worker-protocol.ts'
import { FQDN } from '../fqdn/counters.ts'
import { PATH_AUTO, PATH_IO_URING } from '../native/binding.ts'
import type { AgentView, DropView, ReadinessLatch, StatusView, WorkerView } from '../http/ports.ts'
import { IDENTITY } from '../identity/counters.ts'
import type { DnsThreads } from './dns-threads.ts'
import type { LedgerThread } from './ledger-thread.ts'
import type { PolicyLoop } from './policy-loop.ts'

/** Latest drops kept for the API. */
const DROPS_KEPT = 1000

export interface GateViewDeps {
  readonly datapath: Datapath
  readonly ledger: LedgerThread
  readonly dns: DnsThreads
  readonly policy: PolicyLoop
  /** Parts that have been started. */
  readonly up: ReadonlySet<string>
}

/** What the gate adds to the status of the agent. */
export type GateStatus = Pick<StatusView, 'policyGeneration' | 'endpoints' | 'names' | 'workers' | 'warnings'>

/** What the HTTP server shows of the gate, out of memory. */
export interface GateView extends Pick<AgentView, 'readiness' | 'endpoints' | 'names' | 'policy' | 'drops'> {
  status(): GateStatus
  /** Takes the drops out of the ring buffer; called from a timer. */
  collectDrops(): void
}

export function createGateView(deps: GateViewDeps): GateView {
  const { datapath, ledger, dns, policy } = deps
  let drops: DropView[] = []

  const endpointNames = (): Map<number, string> =>
    new Map(policy.state.endpoints.map(({ id, namespace, name }) => [id, `${namespace}/${name}`]))

  function dropView(event: DropEvent, names: Map<number, string>, epochMs: number): DropView {
    const address = (ip: DropEvent['source']): string => (ip === undefined ? '' : formatIp(ip))
    return {
      time: new Date(epochMs + event.timeMs).toISOString(),
      endpoint: names.get(event.endpointId) ?? '',
      direction: event.direction === DIRECTION_EGRESS ? 'egress' : 'ingress',
      reason: dropReason(event.reason),
      source: address(event.source),
      destination: address(event.destination),
      protocol: event.protocol,
      sourcePort: event.sourcePort,
      destinationPort: event.destinationPort,
      identity: event.identity,
    }
  }

  function workers(): WorkerView[] {
    const generation = policy.state.generation
    const plain = (name: string, alive: boolean, restarts: number, holds: number | null): WorkerView => ({
      name,
      state: alive ? 'running' : 'starting',
      restarts,
      generation: holds,
    })
    return [
      ...dns.threads.map(({ thread, control }): WorkerView => {
        const state = Atomics.load(control, CONTROL_STATE)
        const serving = thread.alive && state === THREAD_SERVING
        const path = Atomics.load(control, CONTROL_PATH)
        return {
          name: thread.name,
          state: serving ? 'running' : state === THREAD_DRAINING ? 'stopping' : 'starting',
          restarts: thread.restarts,
          generation: Atomics.load(control, CONTROL_GENERATION),
          ...(serving && path !== PATH_AUTO && { pump: path === PATH_IO_URING ? 'io_uring' : 'epoll' }),
        }
      }),
      plain('ledger', ledger.thread.alive, ledger.thread.restarts, ledger.stats[IDENTITY.generation] ?? generation),
      plain('compiler', policy.thread.alive, policy.thread.restarts, null),
    ]
  }

  function readiness(): readonly ReadinessLatch[] {
    const latch = (name: string, ready: boolean, reason: string): ReadinessLatch =>
      ready ? { name, ready } : { name, ready, reason }
    const errors = policy.state.problems.filter(({ severity }) => severity === 'error')
    const firstError = errors[0]
    const why =
      firstError === undefined
        ? 'the first policy is not in force yet'
        : `no policy is in force: ${firstError.file}:${firstError.line}:${firstError.column}: ${firstError.message}`
    const down = workers().filter(({ name, state }) => name !== 'compiler' && name !== 'ledger' && state !== 'running')
    return [
      latch('datapath', deps.up.has('datapath'), 'maps and programs are not in place yet'),
      latch('ledger', ledger.thread.alive, 'the ledger thread does not run'),
      latch('policy', policy.state.generation > 0, why),
      latch(
        'dns',
        deps.up.has('dns') && down.length === 0,
        down.length === 0 ? 'not started yet' : `not serving: ${down.map(({ name }) => name).join(', ')}`,
      ),
    ]
  }

  function warnings(): string[] {
    const errors = policy.state.problems.filter(({ severity }) => severity === 'error').length
    const missing = datapath.states().filter(({ attached }) => !attached).length
    return [
      ...(errors > 0 ? [`${errors} problem(s) in policy or endpoint files; what was in force stays`] : []),
      ...(ledger.unsaved === undefined
        ? []
        : [`state.dir: a restart will forget what was learned meanwhile: ${ledger.unsaved}`]),
      ...(missing > 0 ? [`${missing} endpoint(s) without their interface`] : []),
    ]
  }

  function collectDrops(): void {
    const events = datapath.events()
    if (events.length === 0) return
    const names = endpointNames()
    const epochMs = systemClock.wallMs() - systemClock.monotonicMs()
    const fresh = events.map((event) => dropView(event, names, epochMs)).reverse()
    drops = [...fresh, ...drops].slice(0, DROPS_KEPT)
  }

  return {
    readiness,
    status: () => ({
      policyGeneration: policy.state.generation,
      endpoints: {
        known: policy.state.endpoints.length,
        enforced: policy.state.endpoints.filter(({ enforced }) => enforced).length,
      },
      names: {
        entries: ledger.stats[FQDN.entries] ?? 0,
        identities: ledger.stats[IDENTITY.identities] ?? 0,
      },
      workers: workers(),
      warnings: warnings(),
    }),
    endpoints() {
      const states = new Map(datapath.states().map((state) => [state.id, state]))
      const counted = new Map<number, number>()
      for (const { endpointId, packets } of datapath.counters().drops) {
        counted.set(endpointId, (counted.get(endpointId) ?? 0) + packets)
      }
      return policy.state.endpoints.map((endpoint) => ({
        id: endpoint.id,
        name: `${endpoint.namespace}/${endpoint.name}`,
        labels: endpoint.labels,
        addresses: endpoint.addresses.map(formatIp),
        interface: endpoint.interface,
        enforced: endpoint.enforced,
        attached: states.get(endpoint.id)?.attached ?? false,
        drops: counted.get(endpoint.id) ?? 0,
      }))
    },
    async names(name, offset, limit) {
      const endpoint = policy.state.endpoints.find((known) => `${known.namespace}/${known.name}` === name)
      if (endpoint === undefined) return undefined
      const answer = await ledger.ask({ kind: 'names', endpointId: endpoint.id, offset, limit })
      if (answer.kind !== 'names') throw new Error(answer.kind === 'error' ? answer.message : 'unexpected answer')
      return {
        total: answer.total,
        names: answer.names.map(({ name: text, address, secondsLeft, identity }) => ({
          name: text,
          address,
          secondsLeft,
          identity,
        })),
      }
    },
    policy() {
      const { generation, appliedAt, rules, files, problems } = policy.state
      return {
        generation,
        appliedAt,
        rules,
        files,
        problems: problems.map(({ file, line, column, severity, message }) => ({
          file,
          line,
          column,
          severity,
          message,
        })),
      }
    },
    drops(limit) {
      collectDrops()
      return drops.slice(0, limit)
    },
    collectDrops,
  }
}

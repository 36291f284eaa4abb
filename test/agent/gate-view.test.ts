import { beforeEach, expect, it } from 'vitest'
import type { DnsThreads } from '../../src/agent/dns-threads.ts'
import { createGateView, type GateView } from '../../src/agent/gate-view.ts'
import type { LedgerThread } from '../../src/agent/ledger-thread.ts'
import type { FileProblem, PolicyLoop, PolicyState } from '../../src/agent/policy-loop.ts'
import type { DropEvent } from '../../src/bpf/layouts.ts'
import { systemClock } from '../../src/core/clock.ts'
import { parseIp } from '../../src/core/ip.ts'
import type { Datapath, EndpointState } from '../../src/datapath/ports.ts'
import {
  CONTROL_GENERATION,
  CONTROL_PATH,
  CONTROL_STATE,
  CONTROL_WORDS,
  THREAD_DRAINING,
  THREAD_SERVING,
} from '../../src/dns/worker-protocol.ts'
import { FQDN } from '../../src/fqdn/counters.ts'
import { IDENTITY, STATS_LENGTH } from '../../src/identity/counters.ts'
import type { LedgerAnswer, LedgerQuery } from '../../src/identity/ledger-protocol.ts'
import { PATH_IO_URING } from '../../src/native/binding.ts'

const pod = (id: number, name: string, enforced: boolean): PolicyState['endpoints'][number] => ({
  id,
  name,
  namespace: 'shop',
  labels: { app: name },
  addresses: [parseIp(`10.0.0.${id}`)],
  interface: `veth${name}`,
  enforced,
})
const problem = (severity: FileProblem['severity'], message: string): FileProblem => ({
  file: '/p/a.yaml',
  line: 3,
  column: 7,
  severity,
  message,
  hint: 'not shown',
})
const dropped = (endpointId: number, sourcePort: number): DropEvent => ({
  timeMs: 5000,
  endpointId,
  reason: 133,
  direction: 2,
  family: 4,
  protocol: 6,
  source: parseIp('10.0.0.1'),
  destination: parseIp('198.51.100.9'),
  sourcePort,
  destinationPort: 443,
  identity: 9,
  length: 74,
  ifindex: 3,
})

let state: PolicyState
let events: DropEvent[]
let states: EndpointState[]
let unsaved: string | undefined
let control: Int32Array
let alive: { dns: boolean; ledger: boolean; compiler: boolean }
let asked: LedgerQuery[]
let answer: LedgerAnswer
let stats: Float64Array
let up: Set<string>
let view: GateView

beforeEach(() => {
  state = {
    generation: 4,
    appliedAt: '2026-01-01T00:00:00.000Z',
    rules: 2,
    files: [{ file: '/p/a.yaml', documents: 1 }],
    problems: [],
    endpoints: [pod(1, 'cart', true), pod(2, 'till', false)],
  }
  events = []
  states = [
    { id: 1, ifindex: 3, attached: true, enforced: true },
    { id: 2, ifindex: undefined, attached: false, enforced: false },
    { id: 3, ifindex: 5, attached: true, enforced: true },
  ]
  unsaved = undefined
  control = new Int32Array(CONTROL_WORDS)
  control[CONTROL_STATE] = THREAD_SERVING
  control[CONTROL_GENERATION] = 4
  control[CONTROL_PATH] = PATH_IO_URING
  alive = { dns: true, ledger: true, compiler: true }
  asked = []
  answer = { kind: 'names', total: 0, names: [] }
  stats = new Float64Array(STATS_LENGTH)
  stats[IDENTITY.generation] = 3
  up = new Set(['datapath', 'dns'])
  const thread = (name: keyof typeof alive, label: string) => ({
    name: label,
    restarts: 2,
    get alive() {
      return alive[name]
    },
  })
  view = createGateView({
    datapath: {
      states: () => states,
      events: () => events.splice(0),
      counters: () => ({
        reasons: [],
        suppressedEvents: 0,
        drops: [
          { endpointId: 1, reason: 133, direction: 2, packets: 5, bytes: 500 },
          { endpointId: 1, reason: 181, direction: 2, packets: 2, bytes: 200 },
          { endpointId: 9, reason: 133, direction: 2, packets: 1, bytes: 100 },
        ],
      }),
    } as unknown as Datapath,
    ledger: {
      thread: thread('ledger', 'ledger'),
      stats,
      get unsaved() {
        return unsaved
      },
      ask: (query: LedgerQuery) => {
        asked.push(query)
        return Promise.resolve(answer)
      },
    } as unknown as LedgerThread,
    dns: { threads: [{ thread: thread('dns', 'dns-0'), control }] } as unknown as DnsThreads,
    policy: {
      thread: thread('compiler', 'compiler'),
      get state() {
        return state
      },
    } as unknown as PolicyLoop,
    up,
  })
})

const notReady = (): string[] =>
  view
    .readiness()
    .filter(({ ready }) => !ready)
    .map(({ name, reason }) => `${name}: ${reason}`)
const status = (): Record<string, string> =>
  Object.fromEntries(view.status().workers.map(({ name, state: is }) => [name, is]))

it('is ready when every part is, and says which is not and why', () => {
  expect(notReady()).toEqual([])
  up.delete('dns')
  expect(notReady()).toEqual(['dns: not started yet'])
  up.add('dns')
  alive.dns = false
  expect(notReady()).toEqual(['dns: not serving: dns-0'])
  alive.dns = true
  control[CONTROL_STATE] = THREAD_DRAINING
  expect(notReady()).toEqual(['dns: not serving: dns-0'])
  expect(status()['dns-0']).toBe('stopping')
  control[CONTROL_STATE] = THREAD_SERVING
  alive.ledger = false
  expect(notReady()).toEqual(['ledger: the ledger thread does not run'])
  up.delete('datapath')
  expect(notReady()[0]).toMatch(/^datapath: /)
})

it('stays ready while the compiler is started again: what is in force stays', () => {
  alive.compiler = false
  expect(notReady()).toEqual([])
  expect(status()['compiler']).toBe('starting')
})

it('is not ready before the first policy, and then names the first error, not a warning', () => {
  state = { ...state, generation: 0 }
  expect(notReady()).toEqual(['policy: the first policy is not in force yet'])
  state = { ...state, problems: [problem('warning', 'odd'), problem('error', 'no such field')] }
  expect(notReady()).toEqual(['policy: no policy is in force: /p/a.yaml:3:7: no such field'])
  // With a policy in force a broken file is a warning.
  state = { ...state, generation: 1 }
  expect(notReady()).toEqual([])
  expect(view.status().warnings[0]).toMatch(/^1 problem/)
})

it('shows generations as each thread has them', () => {
  stats[FQDN.entries] = 12
  stats[IDENTITY.identities] = 5
  expect(view.status()).toMatchObject({
    policyGeneration: 4,
    endpoints: { known: 2, enforced: 1 },
    names: { entries: 12, identities: 5 },
    workers: [
      { name: 'dns-0', generation: 4, restarts: 2, pump: 'io_uring' },
      { name: 'ledger', generation: 3 },
      { name: 'compiler', generation: null },
    ],
  })
})

it('warns of what a restart would forget and of interfaces that are not there', () => {
  unsaved = 'ENOSPC'
  expect(view.status().warnings).toEqual([
    'state.dir: a restart will forget what was learned meanwhile: ENOSPC',
    '1 endpoint(s) without their interface',
  ])
})

it('adds the drops of an endpoint up over reasons', () => {
  expect(view.endpoints().map(({ name, drops, attached }) => [name, drops, attached])).toEqual([
    ['shop/cart', 7, true],
    ['shop/till', 0, false],
  ])
})

it('keeps the newest 1000 drops, newest first, with the name of today and the time on the wall', () => {
  events = Array.from({ length: 600 }, (_, i) => dropped(1, i))
  view.collectDrops()
  events = Array.from({ length: 600 }, (_, i) => dropped(9, 600 + i))
  const drops = view.drops(2000)
  expect(drops).toHaveLength(1000)
  expect([drops[0], drops[599], drops[600], drops[999]].map((one) => one?.sourcePort)).toEqual([1199, 600, 599, 200])
  expect(drops[0]).toMatchObject({ endpoint: '', direction: 'egress', reason: 'policy', destination: '198.51.100.9' })
  expect(drops[999]?.endpoint).toBe('shop/cart')
  const at = systemClock.wallMs() - systemClock.monotonicMs() + 5000
  expect(Math.abs(Date.parse(drops[0]?.time ?? '') - at)).toBeLessThan(1000)
  expect(view.drops(3)).toHaveLength(3)
})

it('asks the ledger for the names of a known endpoint only, and passes no more on than the schema has', async () => {
  expect(await view.names('shop/nobody', 0, 10)).toBeUndefined()
  expect(asked).toEqual([])
  const one = { endpointId: 1, name: 'a.example.', address: '192.0.2.1', secondsLeft: 3, identity: 16777217 }
  answer = { kind: 'names', total: 41, names: [one] }
  const { endpointId: _, ...shown } = one
  expect(await view.names('shop/cart', 40, 10)).toEqual({ total: 41, names: [shown] })
  expect(asked).toEqual([{ kind: 'names', endpointId: 1, offset: 40, limit: 10 }])
  answer = { kind: 'error', message: 'gone' }
  await expect(view.names('shop/cart', 0, 1)).rejects.toThrow('gone')
})

it('shows problems with their place and without the rest', () => {
  state = { ...state, problems: [problem('error', 'no such field')] }
  expect(view.policy().problems).toEqual([
    { file: '/p/a.yaml', line: 3, column: 7, severity: 'error', message: 'no such field' },
  ])
})

import type { MetricSource, MetricSpec } from '../core/metric.ts'
import type { AgentView } from '../http/ports.ts'

const THREADS = ['dns', 'tcp', 'ledger', 'compiler'] as const
const ENDPOINT_STATES = ['enforced', 'open'] as const

export const agentSpecs: readonly MetricSpec[] = [
  { name: 'sekisho_agent_ready', help: '1 when every part is ready, as /readyz says.', type: 'gauge' },
  {
    name: 'sekisho_agent_policy_generation',
    help: 'Generation of the policy in force; 0 before the first.',
    type: 'gauge',
  },
  {
    name: 'sekisho_agent_policy_errors',
    help: 'Errors in the policy and endpoints files as they are on disk; while above 0, what was in force stays.',
    type: 'gauge',
  },
  {
    name: 'sekisho_agent_endpoints',
    help: 'Endpoints known: with a policy that is enforced, or open.',
    type: 'gauge',
    labels: { state: ENDPOINT_STATES },
  },
  {
    name: 'sekisho_agent_thread_restarts_total',
    help: 'Threads that died and were started again.',
    type: 'counter',
    labels: { thread: THREADS },
  },
]

/** What an operator alerts on, from what the API shows. */
export const agentMetrics = (view: AgentView): MetricSource => ({
  specs: agentSpecs,
  *collect() {
    const status = view.status()
    const ready = view.readiness().every((latch) => latch.ready)
    const errors = view.policy().problems.filter(({ severity }) => severity === 'error').length
    const { known, enforced } = status.endpoints
    yield { name: 'sekisho_agent_ready', value: ready ? 1 : 0 }
    yield { name: 'sekisho_agent_policy_generation', value: status.policyGeneration }
    yield { name: 'sekisho_agent_policy_errors', value: errors }
    yield { name: 'sekisho_agent_endpoints', labels: { state: 'enforced' }, value: enforced }
    yield { name: 'sekisho_agent_endpoints', labels: { state: 'open' }, value: known - enforced }
    for (const { name, restarts } of status.workers) {
      const thread = THREADS.find((kind) => name === kind || name.startsWith(`${kind}-`))
      if (thread !== undefined) {
        yield { name: 'sekisho_agent_thread_restarts_total', labels: { thread }, value: restarts }
      }
    }
  },
})

import { expect, test } from 'vitest'
import { agentMetrics } from '../../src/agent/metrics.ts'
import { createMetrics } from '../../src/metrics/registry.ts'
import { fakeAgent } from '../http/fake-agent.ts'

test('what operators alert on is counted from what the API shows', async () => {
  const view = fakeAgent()
  const dead = (name: string, restarts: number) => ({ name, state: 'running' as const, restarts, generation: null })
  const metrics = createMetrics({ process: false })
  metrics.add(
    agentMetrics({
      ...view,
      readiness: () => [{ name: 'policy', ready: false }],
      status: () => ({
        ...view.status(),
        workers: [dead('dns-0', 2), dead('dns-1', 3), dead('ledger', 1), dead('tcp', 0)],
      }),
      policy: () => ({
        ...view.policy(),
        problems: [
          { file: 'p', line: 1, column: 1, severity: 'error', message: 'x' },
          { file: 'p', line: 2, column: 1, severity: 'warning', message: 'y' },
        ],
      }),
    }),
  )
  const text = await metrics.render()
  expect(text).toContain('sekisho_agent_ready 0')
  expect(text).toContain('sekisho_agent_policy_generation 3')
  expect(text).toContain('sekisho_agent_policy_errors 1')
  expect(text).toContain('sekisho_agent_endpoints{state="enforced"} 1')
  expect(text).toContain('sekisho_agent_endpoints{state="open"} 1')
  expect(text).toContain('sekisho_agent_thread_restarts_total{thread="dns"} 5')
  expect(text).toContain('sekisho_agent_thread_restarts_total{thread="compiler"} 0')
  expect(text).not.toMatch(/rejected_samples_total\{reason="[a-z]+"\} [1-9]/)
})

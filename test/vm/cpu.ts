/** Processor time of WireGuard's kernel threads, as the agents show it: nobody else has it in its account. */
import assert from 'node:assert/strict'
import { until } from './harness.ts'
import type { Lab } from './mesh/lab.ts'

const sum = (metrics: string, name: string): number =>
  [...metrics.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))].reduce((all, [, n]) => all + Number(n), 0)

/** An agent looks every 10 s, and a worker's time counts from its second look on; emulated processors are slow besides. */
const LOOKS_MS = 60_000

/** Seconds, of all nodes; after there was traffic. Each agent sees the threads of all: it is one kernel. */
export async function kernelCpuSeconds(lab: Lab): Promise<number> {
  let seconds = 0
  const look = async (): Promise<boolean> => {
    seconds = 0
    for (const node of lab.nodes) {
      const metrics = await lab.agents.metrics(node)
      assert.equal(sum(metrics, 'sekisho_wg_kernel_cpu_visible'), 1, `${node.name}: kernel threads are not seen`)
      seconds += sum(metrics, 'sekisho_wg_kernel_cpu_seconds_total')
    }
    return seconds > 0
  }
  await until('WireGuard, which has worked, used processor time', look, LOOKS_MS)
  return seconds
}

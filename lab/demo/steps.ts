import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Agent } from '../agent.ts'
import { connects, curl } from '../ask.ts'
import { ROOT } from '../lab.ts'
import type { Lab } from '../lab.ts'
import type { Seal } from '../seal.ts'
import type { PodKey } from '../topology.ts'

/** What the steps share. */
export interface Stage {
  readonly lab: Lab
  /** Gate and seal of the first node. */
  readonly agent: Agent
  /** The seal between both nodes; its `far` agent starts during the demo. */
  readonly seal: Seal
}

/** A line of the demo: returns what was seen, throws when it did not hold. `ms` replaces the wall time where another span is the point. */
export interface Step {
  readonly step: string
  run(stage: Stage): Promise<string | { detail: string; ms: number }>
}

export const policyFile = (name: string): string => readFileSync(join(ROOT, 'lab/policies', name), 'utf8')

export function check(held: boolean, otherwise: string): asserts held {
  if (!held) throw new Error(otherwise)
}

/** Fetches a page; it must come, without a single segment sent twice by the pod. */
export async function firstPacket(
  { lab }: Stage,
  pod: PodKey,
  url: string,
  extra: readonly string[] = [],
): Promise<string> {
  const before = await lab.counter(pod, 'TcpRetransSegs')
  const page = await curl(lab, pod, url, extra)
  const again = (await lab.counter(pod, 'TcpRetransSegs')) - before
  check(page.code === 0, `curl ${url}: exit ${page.code}`)
  check(again === 0, `${again} segments sent twice`)
  return `${page.body.trim()}; name ${page.lookupMs.toFixed(1)} ms, connect ${page.connectMs.toFixed(1)} ms, 0 retransmitted`
}

export async function dropsOf({ agent }: Stage, pod: PodKey): Promise<number> {
  const endpoint = (await agent.endpoints()).find((e) => e.name === `default/${pod}`)
  check(endpoint !== undefined, `no endpoint ${pod}`)
  return endpoint.drops
}

export async function mustNotConnect({ lab }: Stage, pod: PodKey, address: string, port = 80): Promise<void> {
  check(!(await connects(lab, pod, address, port)), `${address} port ${port} was reached`)
}

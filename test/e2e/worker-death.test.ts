import { describe, expect, it } from 'vitest'
import { dig } from '../../lab/ask.ts'
import { namesPolicy } from '../../lab/policy.ts'
import { sleep, waitFor } from '../../lab/run.ts'
import { DNS4 } from '../../lab/topology.ts'
import { background, json, reach, useSite } from '../support/lab.ts'

const site = useSite({
  prefix: 'skw',
  workerEntry: 'test/support/mortal-worker.ts',
  policies: { 'client-a.yaml': namesPolicy('client-a', ['www.shop.example', '*.odd.example']) },
})

const DEATHS = 3

describe('a dns worker that dies', () => {
  it('is started again with the policy in force, and nothing is opened or forgotten', async () => {
    const { lab, agent } = site()
    const { pid } = agent
    const { generation } = await agent.policy()
    expect((await dig(lab, 'client-a', 'www.shop.example')).status).toBe('NOERROR')
    const prober = background(lab, 'client-a', 'prober', ['-t', 40, '198.18.66.7', 80, '2001:db8:166::7', 80])
    const load = background(lab, 'client-a', 'dnsload', ['-r', 500, DNS4, 'www.shop.example', 'www.evil.example'])
    for (let death = 1; death <= DEATHS; death++) {
      await lab.program('client-a', 'connected', ['-t', 50, DNS4, 53], { input: dieQuery() })
      await waitFor('the worker to serve again', async () => {
        const worker = (await agent.status()).workers.find((w) => w.name.startsWith('dns'))
        return worker?.restarts === death && worker.state === 'running' ? true : undefined
      })
      expect((await dig(lab, 'client-a', 'www.shop.example')).status).toBe('NOERROR')
      expect((await dig(lab, 'client-a', 'www.evil.example')).status).toBe('REFUSED')
    }
    await sleep(300)
    const seen = json<{ sent: number; lost: number; rcodes: Record<string, Record<string, number>> }>(await load.end())
    // What was in flight inside the worker dies with it; what waited at the socket does not.
    expect(seen.lost).toBeLessThan(DEATHS * 10)
    expect(Object.keys(seen.rcodes['www.evil.example'] ?? {})).toEqual(['5'])
    expect(Object.keys(seen.rcodes['www.shop.example'] ?? {})).toEqual(['0'])
    const probe = json<{ attempts: number; connected: number }>(await prober.end())
    expect([probe.connected, probe.attempts > 10]).toEqual([0, true])
    expect(await reach(lab, 'client-a', ['198.18.1.10'])).toBe(1)
    expect((await agent.policy()).generation).toBe(generation)
    expect(agent.pid).toBe(pid)
    expect((await agent.get('/readyz')).code).toBe(200)
  })
})

/** die.odd.example, A. */
function dieQuery(): string {
  return '424201000001000000000000036469 65036f6464076578616d706c650000010001\n'.replace(' ', '')
}

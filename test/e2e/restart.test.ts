import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Agent } from '../../lab/agent.ts'
import { dig } from '../../lab/ask.ts'
import { Lab } from '../../lab/lab.ts'
import { cidrRule, dnsRule, fqdnRule, podPolicy } from '../../lab/policy.ts'
import { sleep } from '../../lab/run.ts'
import { DNS4 } from '../../lab/topology.ts'
import { background, json, reach } from '../support/lab.ts'

const PREFIX = 'skr'
const FORBIDDEN = ['198.18.66.6', '198.18.66.7', '2001:db8:166::6', '2001:db8:166::7', '198.18.20.200']

describe('an agent that is killed under load', () => {
  let lab: Lab
  let agent: Agent

  beforeAll(async () => {
    lab = await Lab.up({ prefix: PREFIX, freshCount: 30_000 })
    const names = ['*.fresh.test', 'www.shop.example']
    agent = new Agent(lab, {
      settings: { fqdn: { maxNamesPerEndpoint: 100_000 } },
      policies: {
        'client-a.yaml': podPolicy('client-a', {
          egress: [
            dnsRule(names),
            fqdnRule(names, ['80', '7']),
            cidrRule('198.18.20.0/24', ['198.18.20.128/25'], ['80']),
          ],
        }),
      },
    })
    await agent.start()
    await agent.settled()
  })
  afterAll(async () => {
    await Lab.down(PREFIX)
  })

  it('forgets no name it answered, opens nothing that is forbidden and cuts no connection', async () => {
    expect((await dig(lab, 'client-a', 'www.shop.example')).status).toBe('NOERROR')
    const targets = FORBIDDEN.flatMap((address) => [address, 80])
    const prober = background(lab, 'client-a', 'prober', ['-t', 40, ...targets])
    const allowed = background(lab, 'client-a', 'prober', ['-t', 1500, '198.18.1.10', 80])
    const held = background(lab, 'client-a', 'hold', ['198.18.1.10', 7])
    const learned: string[] = []
    for (let round = 0; round < 3; round++) {
      // Four clients that learn as fast as they can; the kill comes in the middle of it.
      const args = ['-v', '-l', 150, '-c', 200, DNS4, 'n%06d.fresh.test', round * 10_000, 4000, 4, '4']
      const load = background(lab, 'client-a', 'fresh', args)
      await sleep(400 + 130 * round)
      await agent.kill()
      const told = load
        .stderr()
        .split('\n')
        .filter((line) => line !== '')
      await sleep(200)
      await agent.start()
      await load.end()
      expect(told.length).toBeGreaterThan(50)
      learned.push(...told)
      expect(await reach(lab, 'client-a', learned)).toBe(learned.length)
    }
    const [forbidden, open, kept] = await Promise.all([prober.end(), allowed.end(), held.end()])
    const probe = json<{ attempts: number; connected: number }>(forbidden)
    expect(probe.attempts).toBeGreaterThan(100)
    expect(probe.connected).toBe(0)
    // One SYN a try and no pause longer than a lost one would make.
    expect(json<{ longestGapMs: number }>(open).longestGapMs).toBeLessThan(900)
    expect(json<{ end: string; longestGapMs: number }>(kept)).toMatchObject({ end: '' })
    expect(json<{ end: string; longestGapMs: number }>(kept).longestGapMs).toBeLessThan(900)
  })

  it('comes up after kills at any moment of its start, with all it knew, and without a gap', async () => {
    const prober = background(lab, 'client-a', 'prober', ['-t', 40, ...FORBIDDEN.flatMap((address) => [address, 80])])
    const learned: string[] = []
    for (let round = 0; round < 6; round++) {
      const args = ['-v', '-l', 150, '-c', 200, DNS4, 'n%06d.fresh.test', 25_000 + 500 * round, 500, 4, '4']
      const load = background(lab, 'client-a', 'fresh', args)
      await sleep(60 * round)
      await agent.kill()
      const started = agent.start().catch(() => undefined)
      // From before anything of it runs until after the first policy is in force.
      await sleep(50 + 190 * round)
      await agent.kill()
      await started
      await agent.start()
      await load.end()
      learned.push(
        ...load
          .stderr()
          .split('\n')
          .filter((line) => line !== ''),
      )
    }
    expect(learned.length).toBeGreaterThan(100)
    expect(await reach(lab, 'client-a', learned)).toBe(learned.length)
    const probe = json<{ attempts: number; connected: number }>(await prober.end())
    expect(probe.attempts).toBeGreaterThan(20)
    expect(probe.connected).toBe(0)
  })

  it('shows what it restored, and forbids what it forbade', async () => {
    const status = await agent.status()
    expect(status.names.entries).toBeGreaterThan(100)
    expect(await reach(lab, 'client-a', FORBIDDEN)).toBe(0)
    expect(await reach(lab, 'plain', FORBIDDEN)).toBe(FORBIDDEN.length)
  })

  it('takes over after an orderly stop too', async () => {
    expect((await dig(lab, 'client-a', 'www.shop.example')).status).toBe('NOERROR')
    await agent.stop()
    expect(await reach(lab, 'client-a', ['198.18.1.10', ...FORBIDDEN])).toBe(1)
    await agent.start()
    expect(await reach(lab, 'client-a', ['198.18.1.10', '198.18.20.1', ...FORBIDDEN])).toBe(2)
  })
})

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Agent } from '../../lab/agent.ts'
import { Lab } from '../../lab/lab.ts'
import { namesPolicy } from '../../lab/policy.ts'
import { DNS4, DNS6, PODS } from '../../lab/topology.ts'
import { json } from '../support/lab.ts'

const PREFIX = 'skf'
const COUNT = 10_000
const SWAPPED = 100
const FIRST_SWAPPED = COUNT

interface Run {
  readonly lookups: number
  readonly answered: number
  readonly connected: number
  readonly retransmitted: number
  readonly failed: number
}

describe('the first packet to an address never seen before', () => {
  let lab: Lab
  const options = {
    policies: { 'client-a.yaml': namesPolicy('client-a', ['*.fresh.test']) },
    settings: { fqdn: { maxNamesPerEndpoint: 50_000 } },
  }

  beforeAll(async () => {
    lab = await Lab.up({ prefix: PREFIX, freshCount: COUNT + 2 * SWAPPED })
  })
  afterAll(async () => {
    await Lab.down(PREFIX)
  })

  async function look(
    agent: Agent,
    server: string,
    first: number,
    count: number,
    workers: number,
    family: string,
  ): Promise<Run & { drops: number; sentTwice: number }> {
    const drops = async (): Promise<number> =>
      (await agent.endpoints()).find((e) => e.name === 'default/client-a')?.drops ?? NaN
    const [dropsBefore, sentBefore] = [await drops(), await lab.counter('client-a', 'TcpRetransSegs')]
    const args = ['-c', 3500, server, 'n%06d.fresh.test', first, count, workers, family]
    const run = json<Run>(await lab.program('client-a', 'fresh', args, { timeoutMs: 150_000 }))
    return {
      ...run,
      drops: (await drops()) - dropsBefore,
      sentTwice: (await lab.counter('client-a', 'TcpRetransSegs')) - sentBefore,
    }
  }

  it(`passes for ${COUNT} look-ups each followed at once by a connection, IPv4 and IPv6`, async () => {
    const agent = new Agent(lab, options)
    await agent.start()
    await agent.settled()
    // A and AAAA of each name: half of the names by each of the resolver's addresses, the last with eight clients at once.
    const whole = { failed: 0, retransmitted: 0, drops: 0, sentTwice: 0 }
    const half = COUNT / 4
    for (const [server, first, workers] of [
      [DNS4, 0, 1],
      [DNS6, half, 8],
    ] as const) {
      const run = await look(agent, server, first, half, workers, 'both')
      expect(run).toMatchObject({ lookups: 2 * half, answered: 2 * half, connected: 2 * half, ...whole })
    }
    await agent.stop()
  })

  it('is lost when the answer leaves before the map is written', async () => {
    const agent = new Agent(lab, { ...options, workerEntry: 'test/support/swapped-worker.ts' })
    await agent.start()
    await agent.settled()
    const run = await look(agent, DNS4, FIRST_SWAPPED, SWAPPED, 16, '4')
    expect(run.answered).toBe(SWAPPED)
    // What a lost first packet costs a client: the second SYN a second later.
    expect(run.sentTwice).toBeGreaterThan(0)
    expect(run.drops).toBeGreaterThan(0)
    await agent.stop()
  })

  it('is no matter of luck: a pod without policy has none lost either way', async () => {
    expect(PODS).toContain('plain')
    const run = json<Run>(await lab.program('plain', 'fresh', [DNS4, 'n%06d.fresh.test', 0, 500, 4, 'both']))
    expect(run).toMatchObject({ connected: 1000, retransmitted: 0, failed: 0 })
  })
})

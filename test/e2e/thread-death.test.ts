import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { dig } from '../../lab/ask.ts'
import { namesPolicy } from '../../lab/policy.ts'
import { sleep, waitFor } from '../../lab/run.ts'
import { DNS4 } from '../../lab/topology.ts'
import { background, json, logOnFailure, reach, useSite } from '../support/lab.ts'

const FILE = 'client-a.yaml'
const NAMES = ['www.shop.example', '*.fresh.test']
const site = useSite({
  prefix: 'skh',
  mortal: true,
  freshCount: 20_000,
  policies: { [FILE]: namesPolicy('client-a', NAMES) },
})

/** Ends the thread in the middle of what it does, and waits for the one that follows. */
async function end(thread: 'ledger' | 'tcp' | 'compiler', meanwhile?: () => void): Promise<void> {
  const { agent } = site()
  const restarts = async (): Promise<number> =>
    (await agent.status()).workers.find(({ name }) => name === thread)?.restarts ?? -1
  const before = await restarts()
  writeFileSync(join(agent.deaths, thread), '')
  meanwhile?.()
  await waitFor(`the ${thread} thread to be back`, async () => ((await restarts()) === before + 1 ? true : undefined))
}

describe('a thread that dies', () => {
  it('ledger: what was learned stays reachable, what is new is learned by the next one, nothing is opened', async () => {
    logOnFailure(site())
    const { lab, agent } = site()
    expect((await dig(lab, 'client-a', 'www.shop.example')).status).toBe('NOERROR')
    const prober = background(lab, 'client-a', 'prober', ['-t', 40, '198.18.66.7', 80, '2001:db8:166::7', 80])
    const allowed = background(lab, 'client-a', 'prober', ['-t', 1500, '198.18.1.10', 80])
    const learned: string[] = []
    for (let round = 0; round < 3; round++) {
      const args = ['-v', '-l', 150, '-c', 200, DNS4, 'n%06d.fresh.test', round * 5000, 2000, 4, '4']
      const load = background(lab, 'client-a', 'fresh', args)
      await sleep(300 + 90 * round)
      await end('ledger')
      await load.end()
      learned.push(
        ...load
          .stderr()
          .split('\n')
          .filter((line) => line !== ''),
      )
    }
    expect(learned.length).toBeGreaterThan(500)
    expect(await reach(lab, 'client-a', learned)).toBe(learned.length)
    expect((await dig(lab, 'client-a', 'n019999.fresh.test')).status).toBe('NOERROR')
    expect((await dig(lab, 'client-a', 'www.evil.example')).status).toBe('REFUSED')
    expect(json<{ connected: number }>(await prober.end()).connected).toBe(0)
    expect(json<{ longestGapMs: number }>(await allowed.end()).longestGapMs).toBeLessThan(900)
    expect((await agent.get('/readyz')).code).toBe(200)
  })

  it('tcp: is served again, and UDP never noticed', async () => {
    const { lab, agent } = site()
    expect((await dig(lab, 'client-a', 'www.shop.example', ['+tcp'])).status).toBe('NOERROR')
    const load = background(lab, 'client-a', 'dnsload', ['-r', 500, DNS4, 'www.shop.example'])
    await end('tcp')
    await waitFor('TCP to be served', async () =>
      (await dig(lab, 'client-a', 'www.shop.example', ['+tcp'])).status === 'NOERROR' ? true : undefined,
    )
    expect((await dig(lab, 'client-a', 'www.evil.example', ['+tcp'])).status).toBe('REFUSED')
    expect(json<{ lost: number; sent: number }>(await load.end()).lost).toBe(0)
    expect((await agent.get('/readyz')).code).toBe(200)
  })

  it('compiler: the change that it was given comes into force', async () => {
    const { lab, agent } = site()
    expect((await dig(lab, 'client-a', 'api.shop.example')).status).toBe('REFUSED')
    await end('compiler', () => agent.writePolicy(FILE, namesPolicy('client-a', [...NAMES, 'api.shop.example'])))
    await waitFor('the change to be in force', async () =>
      (await dig(lab, 'client-a', 'api.shop.example')).status === 'NOERROR' ? true : undefined,
    )
  })
})

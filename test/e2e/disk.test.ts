import { describe, expect, it } from 'vitest'
import { dig } from '../../lab/ask.ts'
import { namesPolicy } from '../../lab/policy.ts'
import { must, sleep, waitFor } from '../../lab/run.ts'
import { DNS4 } from '../../lab/topology.ts'
import { json, logOnFailure, reach, useSite } from '../support/lab.ts'

const FILE = 'client-a.yaml'
const NAMES = ['www.shop.example', '*.fresh.test']
const site = useSite({
  prefix: 'skd',
  freshCount: 20_000,
  settings: { state: { snapshotInterval: '200ms' } },
  policies: { [FILE]: namesPolicy('client-a', NAMES) },
})

/** Learns that many new names, each followed by a connection; all must connect. */
async function learn(from: number, count: number): Promise<void> {
  const { lab } = site()
  const args = ['-l', 150, '-c', 500, DNS4, 'n%06d.fresh.test', from, count, 4, '4']
  const done = await lab.program('client-a', 'fresh', args, { timeoutMs: 60_000 })
  expect(json<{ connected: number }>(done)).toMatchObject({ connected: count })
}

describe('a state folder that cannot be written', () => {
  it('full: names are learned, policy changes, the operator is told, and it mends itself', async () => {
    logOnFailure(site())
    const { lab, agent } = site()
    await agent.stop()
    await must(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', agent.stateDirectory])
    try {
      await agent.start()
      await agent.settled()
      await learn(0, 3000)
      agent.writePolicy(FILE, namesPolicy('client-a', [...NAMES, 'api.shop.example']))
      await waitFor('the change to be in force', async () =>
        (await dig(lab, 'client-a', 'api.shop.example')).status === 'NOERROR' ? true : undefined,
      )
      expect((await dig(lab, 'client-a', 'www.evil.example')).status).toBe('REFUSED')
      expect((await agent.get('/readyz')).code).toBe(200)
      expect((await agent.metrics()).sum('sekisho_fqdn_journal_errors_total')).toBeGreaterThan(0)
      expect((await agent.status()).warnings.join('\n')).toMatch(/state/i)
      await must(['mount', '-o', 'remount,size=64m', agent.stateDirectory])
      await learn(5000, 500)
      await sleep(1000)
      await agent.kill()
      await agent.start()
      expect(await reach(lab, 'client-a', ['198.18.1.10'])).toBe(0)
      expect((await agent.status()).names.entries).toBeGreaterThan(3000)
    } finally {
      await agent.stop()
      await must(['umount', agent.stateDirectory])
      await agent.start()
    }
  })

  it('read-only: the same', async () => {
    logOnFailure(site())
    const { lab, agent } = site()
    await agent.stop()
    await must(['mount', '-t', 'tmpfs', 'tmpfs', agent.stateDirectory])
    await must(['mount', '-o', 'remount,ro', agent.stateDirectory])
    try {
      await agent.start()
      await agent.settled()
      await learn(8000, 500)
      expect((await dig(lab, 'client-a', 'www.evil.example')).status).toBe('REFUSED')
      expect((await agent.status()).warnings.join('\n')).toMatch(/state/i)
    } finally {
      await agent.stop()
      await must(['umount', agent.stateDirectory])
      await agent.start()
    }
  })
})

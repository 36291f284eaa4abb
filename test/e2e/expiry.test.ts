import { describe, expect, it } from 'vitest'
import { dig } from '../../lab/ask.ts'
import { namesPolicy } from '../../lab/policy.ts'
import { sleep, waitFor } from '../../lab/run.ts'
import { background, json, reach, useSite } from '../support/lab.ts'

const site = useSite({
  prefix: 'skx',
  policies: {
    'client-a.yaml': namesPolicy('client-a', ['*.short.example', 'www.shop.example', '*.odd.example'], ['80', '7']),
  },
  settings: { fqdn: { conntrackInterval: '300ms' }, datapath: { conntrack: { closeSeconds: 1 } } },
})

const ONE = '198.18.6.1'
const TWO = '198.18.6.2'
const HELD = '198.18.6.3'
const LONE = '198.18.6.4'
const ask = async (name: string): Promise<string> => (await dig(site().lab, 'client-a', name)).status

/**
 * Waits until the TTL, the second a closed connection is remembered and a reading of conntrack must be over. Nobody may
 * knock meanwhile: each knock is a connection that keeps the address.
 */
const timeIsOver = (ttl: number): Promise<void> => sleep(1000 * ttl + 3500)
const open = (address: string): Promise<number> => reach(site().lab, 'client-a', [address], 80, 200)

// Nearly all is waiting, so they wait together; each has an address of its own.
describe.concurrent('an address whose time is over', () => {
  it.each([
    ['one.short.example', ONE, 1],
    ['two.short.example', TWO, 2],
  ])('of %s takes no new connection, and did before', async (name, address, ttl) => {
    expect(await open(address)).toBe(0)
    expect(await ask(name)).toBe('NOERROR')
    expect(await open(address)).toBe(1)
    await timeIsOver(ttl)
    expect(await open(address)).toBe(0)
    expect(await ask(name)).toBe('NOERROR')
    expect(await open(address)).toBe(1)
  })

  it('stays while a connection lives, also for new ones, and goes after it', async () => {
    const { lab } = site()
    expect(await ask('held.short.example')).toBe('NOERROR')
    const held = background(lab, 'client-a', 'hold', [HELD, 7])
    await waitFor('the connection', () => (held.stderr().includes('ready') ? true : undefined))
    await timeIsOver(2)
    expect(await open(HELD)).toBe(1)
    const kept = json<{ end: string; longestGapMs: number }>(await held.end())
    expect(kept.end).toBe('')
    expect(kept.longestGapMs).toBeLessThan(500)
    await timeIsOver(2)
    expect(await open(HELD)).toBe(0)
  })

  it('leaves the others alone', async () => {
    expect(await ask('www.shop.example')).toBe('NOERROR')
    expect(await ask('lone.short.example')).toBe('NOERROR')
    await timeIsOver(1)
    expect([await open(LONE), await open('198.18.1.10')]).toEqual([0, 1])
  })

  it('makes room for the next of a name that moves', async () => {
    const seen: string[] = []
    for (let i = 0; i < 3; i++) {
      const answer = await dig(site().lab, 'client-a', 'move.odd.example')
      const address = answer.records.at(-1)?.data ?? ''
      expect(await open(address)).toBe(1)
      seen.push(address)
      await sleep(3200)
    }
    expect(new Set(seen).size).toBe(3)
    await timeIsOver(0)
    expect(await open(seen[0] ?? '')).toBe(0)
  })
})

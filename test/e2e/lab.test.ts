import { afterAll, describe, expect, it } from 'vitest'
import { curl, dig } from '../../lab/ask.ts'
import { Lab } from '../../lab/lab.ts'
import { DNS4, DNS6, ODD4, PODS } from '../../lab/topology.ts'
import { json, reach, udp } from '../support/lab.ts'
import { remains } from '../support/remains.ts'

const PREFIXES = ['skt1', 'skt2']

describe('the lab without an agent', () => {
  afterAll(async () => {
    for (const prefix of PREFIXES) await Lab.down(prefix)
  })

  it('lets every pod resolve and reach everything that an agent would forbid', async () => {
    const lab = await Lab.up({ prefix: 'skt1', freshCount: 600 })
    for (const pod of PODS) {
      for (const server of [DNS4, DNS6]) {
        expect((await dig(lab, pod, 'www.evil.example', [], server)).status).toBe('NOERROR')
        expect((await dig(lab, pod, 'many.cdn.example', ['AAAA'], server)).records).toHaveLength(100)
      }
      expect(await reach(lab, pod, ['198.18.66.7', '2001:db8:166::7', '198.18.20.129', '198.19.255.254'])).toBe(4)
      expect((await curl(lab, pod, 'http://www.evil.example/')).code).toBe(0)
      expect(await udp(lab, pod, ['echo', '2001:db8:166::7', 4000])).toBe('4000')
      expect(await udp(lab, pod, ['closed', '198.18.66.7'])).toBe('refused')
    }
    const run = json<object>(await lab.program('client-a', 'fresh', [DNS4, 'n%06d.fresh.test', 0, 500, 4, 'both']))
    expect(run).toMatchObject({ connected: 1000, retransmitted: 0, failed: 0 })
  })

  it('has names that live as in real life', async () => {
    const lab = Lab.open('skt1') ?? (await Lab.up({ prefix: 'skt1' }))
    const chain = await dig(lab, 'plain', 'app.shop.example')
    expect(chain.records.map((r) => r.type)).toEqual(['CNAME', 'CNAME', 'CNAME', 'A', 'A'])
    expect((await dig(lab, 'plain', 'one.short.example')).records[0]?.ttl).toBeLessThanOrEqual(1)
    const first = new Set<string | undefined>()
    for (let i = 0; i < 12; i++) first.add((await dig(lab, 'plain', 'assets.cdn.example')).records[0]?.data)
    expect(first.size).toBeGreaterThan(2)
    expect((await dig(lab, 'plain', 'x.broken.example')).status).toBe('SERVFAIL')
    expect((await dig(lab, 'plain', 'no.such.name.example')).status).toBe('NXDOMAIN')
    const moved = [0, 1].map(async () => (await dig(lab, 'plain', 'move.odd.example', [], ODD4)).records[0]?.data)
    expect(new Set(await Promise.all(moved)).size).toBe(2)
  })

  it('stands beside another one, and each goes without a trace, also when its maker has died', async () => {
    // The second `up` finds what a maker that was killed would leave: everything.
    await Lab.up({ prefix: 'skt1' })
    const [one, two] = await Promise.all(PREFIXES.map((prefix) => Lab.up({ prefix, freshCount: 10 })))
    expect((await dig(one!, 'client-a', 'www.shop.example')).status).toBe('NOERROR')
    expect((await remains('skt1')).length).toBeGreaterThan(10)
    await Lab.down('skt1')
    expect(await remains('skt1')).toEqual([])
    expect((await dig(two!, 'client-a', 'www.shop.example')).status).toBe('NOERROR')
    await Lab.down('skt2')
    expect(await remains('skt2')).toEqual([])
  })
})

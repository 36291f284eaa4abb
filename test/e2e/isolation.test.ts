import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { curl, dig } from '../../lab/ask.ts'
import { cidrRule, dnsRule, fqdnRule, podPolicy } from '../../lab/policy.ts'
import { waitFor } from '../../lab/run.ts'
import { DNS4, DNS6, NODE4, NODE6, spoke } from '../../lab/topology.ts'
import { json, reach, udp, useSite } from '../support/lab.ts'
import { GOOD_QUERY } from '../support/malformed.ts'

const NAMES = ['www.shop.example', 'deny.shop.example', 'narrow.shop.example']
const PORTS = ['80', '7', '7/UDP', '9/UDP']
const site = useSite({
  prefix: 'ski',
  policies: {
    'client-a.yaml': podPolicy('client-a', {
      egress: [
        dnsRule(NAMES),
        fqdnRule(NAMES, PORTS),
        cidrRule('198.18.20.0/24', ['198.18.20.128/25'], ['80']),
        cidrRule('2001:db8:120::/48', ['2001:db8:120:8000::/49'], ['80']),
        {
          toEndpoints: [{ matchLabels: { app: 'client-b' } }],
          toPorts: [{ ports: [{ port: '8080', protocol: 'TCP' }] }],
        },
      ],
      egressDeny: [{ toCIDR: ['198.18.1.40/32', '2001:db8:101::40/128'] }],
    }),
    // May reach the echo servers that client-a's spoofed packets name.
    'client-b.yaml': podPolicy('client-b', {
      egress: [cidrRule('198.18.0.0/15', [], ['7/UDP']), cidrRule('2001:db8:100::/40', [], ['7/UDP'])],
    }),
  },
})

const drops = async (pod: string): Promise<number> =>
  (await site().agent.endpoints()).find((e) => e.name === `default/${pod}`)?.drops ?? NaN

describe('a pod with policy', () => {
  it('reaches no address it did not resolve, and each try is counted and told', async () => {
    const { lab, agent } = site()
    const before = await drops('client-a')
    expect(await reach(lab, 'client-a', ['198.18.66.7', '2001:db8:166::7', '198.18.2.1'], 80, 100)).toBe(0)
    await waitFor('the drops to be counted', async () => ((await drops('client-a')) - before >= 3 ? true : undefined))
    const told = await waitFor('the event', async () =>
      (await agent.drops()).find((d) => d.destination === '198.18.66.7'),
    )
    expect(told).toMatchObject({
      endpoint: 'default/client-a',
      protocol: 6,
      destinationPort: 80,
      source: spoke('client-a').address4,
    })
  })

  it('reaches what it resolved on the ports of its rule only', async () => {
    const { lab } = site()
    expect((await dig(lab, 'client-a', 'www.shop.example')).status).toBe('NOERROR')
    expect((await dig(lab, 'client-a', 'www.shop.example', ['AAAA'])).status).toBe('NOERROR')
    const both = ['198.18.1.10', '2001:db8:101::10']
    expect(await reach(lab, 'client-a', both, 80)).toBe(2)
    expect(await reach(lab, 'client-a', both, 8080, 100)).toBe(0)
  })

  it('may not look up through a resolver it has no rule for', async () => {
    const answer = await dig(site().lab, 'client-a', 'www.shop.example', [], '198.18.1.10')
    expect(answer.status).not.toBe('NOERROR')
  })

  it('is denied what a deny rule names, whatever allows it', async () => {
    const { lab } = site()
    for (const type of ['A', 'AAAA'])
      expect((await dig(lab, 'client-a', 'deny.shop.example', [type])).status).toBe('NOERROR')
    expect(await reach(lab, 'client-a', ['198.18.1.40', '2001:db8:101::40'], 80, 100)).toBe(0)
  })

  it('reaches a prefix without the hole in it', async () => {
    const { lab } = site()
    const inside = ['198.18.20.1', '198.18.20.127', '2001:db8:120::1']
    expect(await reach(lab, 'client-a', inside)).toBe(inside.length)
    expect(
      await reach(
        lab,
        'client-a',
        ['198.18.20.128', '198.18.20.255', '198.18.21.1', '2001:db8:120:8000::1', '2001:db8:121::1'],
        80,
        100,
      ),
    ).toBe(0)
  })

  it('cannot speak under another’s address', async () => {
    const { lab } = site()
    const arrived = async (): Promise<number> =>
      (await lab.counter('net', 'UdpInDatagrams')) + (await lab.counter('net', 'Udp6InDatagrams'))
    for (const [key, address] of [
      ['address4', '198.18.7.7'],
      ['address6', '2001:db8:107::7'],
    ] as const) {
      const own = await arrived()
      expect(await udp(lab, 'client-b', ['spoof', spoke('client-b')[key], address, 5])).toBe('sent')
      await waitFor('client-b’s own datagrams', async () => ((await arrived()) - own === 5 ? true : undefined), {
        timeoutMs: 2000,
      })
      const before = await arrived()
      const dropped = await drops('client-a')
      for (const source of [
        spoke('client-b')[key],
        spoke('plain')[key],
        key === 'address4' ? '198.18.9.9' : '2001:db8:109::9',
      ]) {
        await udp(lab, 'client-a', ['spoof', source, address, 5])
      }
      await waitFor('the drops', async () => ((await drops('client-a')) - dropped >= 15 ? true : undefined), {
        timeoutMs: 2000,
      })
      expect(await arrived()).toBe(before)
    }
  })

  it('asks nothing of the gate under another’s address', async () => {
    const { lab, agent } = site()
    const queries = async (): Promise<number> => (await agent.metrics()).sum('sekisho_dns_queries_total')
    for (const [key, server] of [
      ['address4', DNS4],
      ['address6', DNS6],
    ] as const) {
      const ask = (source: string): Promise<string> =>
        udp(lab, 'client-a', ['spoof', source, server, 3, 53, GOOD_QUERY.toString('hex')])
      const before = await queries()
      const dropped = await drops('client-a')
      await ask(spoke('client-b')[key])
      await ask(spoke('plain')[key])
      await waitFor('the drops', async () => ((await drops('client-a')) - dropped >= 6 ? true : undefined))
      expect((await queries()) - before).toBe(0)
      await ask(spoke('client-a')[key])
      await waitFor('its own queries', async () => ((await queries()) - before === 3 ? true : undefined))
    }
  })

  it('sends and gets datagrams that need fragments, to what is allowed', async () => {
    const { lab } = site()
    for (const type of ['A', 'AAAA']) await dig(lab, 'client-a', 'www.shop.example', [type])
    expect(await udp(lab, 'client-a', ['echo', '198.18.1.10', 4000])).toBe('4000')
    expect(await udp(lab, 'client-a', ['echo', '2001:db8:101::10', 4000])).toBe('4000')
    const before = (await lab.counter('net', 'IpReasmReqds')) + (await lab.counter('net', 'Ip6ReasmReqds'))
    expect(await udp(lab, 'client-a', ['echo', '198.18.66.7', 4000])).toBe('0')
    expect(await udp(lab, 'client-a', ['echo', '2001:db8:166::7', 4000])).toBe('0')
    expect((await lab.counter('net', 'IpReasmReqds')) + (await lab.counter('net', 'Ip6ReasmReqds'))).toBe(before)
  })

  it('gets the ICMP errors of what is allowed: nobody there, too far, too large', async () => {
    const { lab } = site()
    for (const name of ['www.shop.example', 'narrow.shop.example']) {
      for (const type of ['A', 'AAAA']) expect((await dig(lab, 'client-a', name, [type])).status).toBe('NOERROR')
    }
    for (const [address, node] of [
      ['198.18.1.10', NODE4],
      ['2001:db8:101::10', NODE6],
    ] as const) {
      expect(await udp(lab, 'client-a', ['closed', address])).toBe('refused')
      expect(await udp(lab, 'client-a', ['ttl', address, 1])).toBe(node)
    }
    const upload = join(lab.directory, 'upload')
    writeFileSync(upload, Buffer.alloc(2_000_000, 'x'))
    // An upload over a link of 1400 octets: stands still when "too large" does not arrive.
    for (const family of ['-4', '-6']) {
      const page = await curl(
        lab,
        'client-a',
        'http://narrow.shop.example/',
        [family, '--data-binary', `@${upload}`, '-H', 'Expect:'],
        20,
      )
      expect(page.code).toBe(0)
    }
  })

  it('reaches a pod that a rule selects by label, and no other', async () => {
    const { lab } = site()
    const listen = (pod: 'client-b' | 'plain'): Promise<{ code: number }> =>
      lab.inPod(pod, [
        'timeout',
        '4',
        'python3',
        '-c',
        'import socket\ns = socket.create_server(("", 8080))\nwhile 1: s.accept()',
      ])
    const servers = [listen('client-b'), listen('plain')]
    await waitFor('the servers', async () =>
      (await reach(lab, 'plain', [spoke('client-b').address4], 8080, 50)) === 1 ? true : undefined,
    )
    expect(await reach(lab, 'client-a', [spoke('client-b').address4, spoke('plain').address4], 8080, 100)).toBe(1)
    await Promise.all(servers)
  })
})

describe('a pod without policy', () => {
  it('is asked for nothing and loses nothing', async () => {
    const { lab, agent } = site()
    const before = (await agent.metrics()).sum('sekisho_dns_queries_total')
    for (const server of [DNS4, DNS6])
      expect((await dig(lab, 'plain', 'www.evil.example', [], server)).status).toBe('NOERROR')
    expect(await reach(lab, 'plain', ['198.18.66.7', '2001:db8:166::7'])).toBe(2)
    expect(await udp(lab, 'plain', ['echo', '198.18.66.7', 4000])).toBe('4000')
    const load = json<{ lost: number }>(
      await lab.program('plain', 'dnsload', ['-r', 2000, '-l', 1, DNS4, 'www.evil.example']),
    )
    expect(load.lost).toBe(0)
    expect((await agent.metrics()).sum('sekisho_dns_queries_total')).toBe(before)
    expect(await drops('plain')).toBe(0)
  })
})

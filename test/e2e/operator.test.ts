import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { connects, dig } from '../../lab/ask.ts'
import { namesPolicy } from '../../lab/policy.ts'
import { sleep } from '../../lab/run.ts'
import { DNS4 } from '../../lab/topology.ts'
import { background, json, useSite } from '../support/lab.ts'

const FILE = 'client-a.yaml'
const site = useSite({
  prefix: 'sko',
  policies: { [FILE]: namesPolicy('client-a', ['www.shop.example', '*.cdn.example', '*.odd.example']) },
})

describe('the operator', () => {
  it('sees the state of the node with `sekisho status`, as a table and as JSON', async () => {
    const { agent } = site()
    const text = await agent.command(['status'])
    expect([text.code, text.stderr]).toEqual([0, ''])
    for (const word of ['ready', 'default/client-a', 'dns-0', 'ledger']) expect(text.stdout).toContain(word)
    const { status } = json<{ status: { pid: number; endpoints: { known: number; enforced: number } } }>(
      await agent.command(['status', '-o', 'json']),
    )
    expect(status).toMatchObject({ pid: agent.pid, endpoints: { known: 4, enforced: 1 } })
  })

  it('asks `sekisho why` and is told the rule, or what is missing', async () => {
    const { agent } = site()
    const allowed = await agent.command(['why', '--config', agent.configFile, 'default/client-a', 'www.shop.example'])
    expect(allowed.stdout).toContain(FILE)
    expect(allowed.code).toBe(0)
    const denied = await agent.command(['why', '--config', agent.configFile, 'default/client-a', 'www.evil.example'])
    expect(denied.code).toBe(1)
    expect(denied.stdout).not.toBe('')
    const nobody = await agent.command(['why', '--config', agent.configFile, 'default/nobody', 'www.shop.example'])
    expect(nobody.code).not.toBe(0)
  })

  it('checks policy files before they are in force', async () => {
    const { agent, lab } = site()
    const good = join(lab.directory, 'good.yaml')
    const bad = join(lab.directory, 'bad.yaml')
    writeFileSync(good, agent.readPolicy(FILE))
    writeFileSync(bad, agent.readPolicy(FILE).replaceAll('toPorts', 'toPort'))
    expect((await agent.command(['policy', 'check', good])).code).toBe(0)
    const seen = await agent.command(['policy', 'check', good, bad])
    expect(seen.code).toBe(1)
    expect(seen.stdout + seen.stderr).toMatch(/bad\.yaml:\d+:\d+/)
  })

  it('finds the agent alive, ready and with metrics that Prometheus can read', async () => {
    const { agent, lab } = site()
    await dig(lab, 'client-a', 'www.shop.example')
    expect((await agent.get('/livez')).code).toBe(200)
    const ready = await agent.get('/readyz')
    expect([ready.code, (JSON.parse(ready.stdout) as { ready: boolean }).ready]).toEqual([200, true])
    const { stdout } = await agent.get('/metrics')
    expect(faults(stdout)).toEqual([])
    const metrics = await agent.metrics()
    expect(metrics.sum('sekisho_dns_queries_total')).toBeGreaterThan(0)
  })

  it('sees the names of an endpoint and its latest drops', async () => {
    const { agent, lab } = site()
    await dig(lab, 'client-a', 'www.shop.example')
    const names = await agent.get('/v1/names?endpoint=default/client-a')
    expect(JSON.parse(names.stdout)).toMatchObject({
      names: expect.arrayContaining([
        expect.objectContaining({ name: 'www.shop.example.', address: '198.18.1.10' }),
      ]) as unknown,
    })
    expect(await connects(lab, 'client-a', '198.18.66.7', 80, 100)).toBe(false)
    expect((await agent.drops()).some((d) => d.destination === '198.18.66.7')).toBe(true)
  })

  it('stops it with queries in flight: those are answered, it ends soon, enforcement stays', async () => {
    const { agent, lab } = site()
    const waiting = [1, 2, 3].map(() => dig(lab, 'client-a', 'slow-700.odd.example'))
    const load = background(lab, 'client-a', 'dnsload', ['-r', 500, DNS4, 'www.shop.example'])
    await sleep(300)
    const ms = await agent.stop()
    expect(ms).toBeLessThan(4000)
    expect((await Promise.all(waiting)).map((answer) => answer.status)).toEqual(['NOERROR', 'NOERROR', 'NOERROR'])
    await load.end()
    expect(agent.log()).not.toMatch(/"level":(50|60)/)
    expect(await connects(lab, 'client-a', '198.18.66.7', 80, 100)).toBe(false)
    expect(await connects(lab, 'client-a', '198.18.1.10')).toBe(true)
    expect((await agent.command(['status'])).code).toBe(69)
  })

  it('cleans up, twice, and nothing of the agent is left', async () => {
    const { agent, lab } = site()
    for (let round = 0; round < 2; round++) {
      const done = await agent.command(['cleanup', '--config', agent.configFile])
      expect([done.code, done.stderr]).toEqual([0, ''])
      expect(agent.pinned).toBe(false)
    }
    const left = await lab.at('node', [
      'sh',
      '-c',
      'ip rule; ip -6 rule; ip route show table 2004; ip -6 route show table 2004; bpftool net show; tc filter show dev lxca ingress',
    ])
    expect(left.stdout).not.toMatch(/2004|sekisho|tcx|bpf/)
    expect(await connects(lab, 'client-a', '198.18.66.7')).toBe(true)
    expect((await dig(lab, 'client-a', 'www.evil.example')).status).toBe('NOERROR')
  })
})

/** What `promtool check metrics` would object to: names, types before samples, help, duplicates, counters without `_total`. */
function faults(text: string): string[] {
  const found: string[] = []
  const types = new Map<string, string>()
  const helped = new Set<string>()
  const seen = new Set<string>()
  for (const line of text.split('\n')) {
    const [, kind, name = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? []
    if (kind === 'HELP') helped.add(name)
    else if (kind === 'TYPE') types.set(name, rest)
    else if (line !== '') {
      const series = line.slice(0, line.lastIndexOf(' '))
      const sample = /^[a-z_][a-z0-9_]*/.exec(line)?.[0] ?? ''
      const family = types.has(sample) ? sample : sample.replace(/_(bucket|sum|count)$/, '')
      if (!types.has(family)) found.push(`no type: ${line}`)
      if (!helped.has(family)) found.push(`no help: ${line}`)
      if (seen.has(series)) found.push(`twice: ${series}`)
      if (types.get(family) === 'counter' && !family.endsWith('_total')) found.push(`counter without _total: ${family}`)
      if (types.get(family) !== 'counter' && family.endsWith('_total')) found.push(`_total without counter: ${family}`)
      seen.add(series)
    }
  }
  return found
}

import { describe, expect, it } from 'vitest'
import { dig } from '../../lab/ask.ts'
import { namesPolicy } from '../../lab/policy.ts'
import { sleep, waitFor } from '../../lab/run.ts'
import { DNS4 } from '../../lab/topology.ts'
import { background, json, reach, useSite } from '../support/lab.ts'

const BASE = ['www.shop.example', 'api.shop.example']
const FILE = 'client-a.yaml'
const site = useSite({ prefix: 'skl', policies: { [FILE]: namesPolicy('client-a', BASE) } })

interface Load {
  readonly sent: number
  readonly lost: number
  readonly worstMs: number
  readonly rcodes: Record<string, Record<string, number>>
}

const status = async (name: string): Promise<string> => (await dig(site().lab, 'client-a', name)).status
/** Milliseconds until a name is answered so. */
async function until(name: string, wanted: string): Promise<number> {
  const started = performance.now()
  await waitFor(`${name} ${wanted}`, async () => ((await status(name)) === wanted ? true : undefined), {
    timeoutMs: 5000,
    everyMs: 1,
  })
  return performance.now() - started
}

describe('a policy file that changes', () => {
  it('is in force in under a second, ten times over, and no query is lost or judged wrongly meanwhile', async () => {
    const { lab, agent } = site()
    const load = background(lab, 'client-a', 'dnsload', [
      '-r',
      1000,
      DNS4,
      'www.shop.example',
      'api.shop.example',
      'www.evil.example',
    ])
    await sleep(200)
    const took: number[] = []
    for (let round = 0; round < 5; round++) {
      agent.writePolicy(FILE, namesPolicy('client-a', [...BASE, 'other.shop.example']))
      took.push(await until('other.shop.example', 'NOERROR'))
      expect(await reach(lab, 'client-a', ['198.18.1.30'])).toBe(1)
      agent.writePolicy(FILE, namesPolicy('client-a', BASE))
      took.push(await until('other.shop.example', 'REFUSED'))
    }
    const seen = json<Load>(await load.end())
    expect(Math.max(...took)).toBeLessThan(1000)
    expect(seen.sent).toBeGreaterThan(500)
    expect(seen.lost).toBe(0)
    expect(seen.rcodes).toEqual({
      'www.shop.example': { '0': expect.any(Number) as number },
      'api.shop.example': { '0': expect.any(Number) as number },
      'www.evil.example': { '5': expect.any(Number) as number },
    })
  })

  it('shuts the addresses of a name that it no longer has', async () => {
    const { lab, agent } = site()
    agent.writePolicy(FILE, namesPolicy('client-a', [...BASE, 'other.shop.example']))
    await until('other.shop.example', 'NOERROR')
    expect(await reach(lab, 'client-a', ['198.18.1.30'])).toBe(1)
    agent.writePolicy(FILE, namesPolicy('client-a', BASE))
    const started = performance.now()
    await waitFor(
      'the address to be shut',
      async () => ((await reach(lab, 'client-a', ['198.18.1.30'], 80, 60)) === 0 ? true : undefined),
      {
        timeoutMs: 5000,
        everyMs: 5,
      },
    )
    expect(performance.now() - started).toBeLessThan(1000)
  })

  it('opens to another port what was resolved before, without a new look-up', async () => {
    const { lab, agent } = site()
    expect(await status('www.shop.example')).toBe('NOERROR')
    expect(await reach(lab, 'client-a', ['198.18.1.10'], 8080, 60)).toBe(0)
    agent.writePolicy(FILE, namesPolicy('client-a', BASE, ['80', '8080']))
    await waitFor(
      'the port to open',
      async () => ((await reach(lab, 'client-a', ['198.18.1.10'], 8080, 60)) === 1 ? true : undefined),
      {
        timeoutMs: 2000,
      },
    )
    agent.writePolicy(FILE, namesPolicy('client-a', BASE))
    await waitFor(
      'the port to shut',
      async () => ((await reach(lab, 'client-a', ['198.18.1.10'], 8080, 60)) === 0 ? true : undefined),
      {
        timeoutMs: 2000,
      },
    )
  })

  it.each([
    ['a field that does not exist', (text: string) => text.replace('toFQDNs:', 'toFQDN:')],
    ['text that is no YAML', (text: string) => `${text}\n  - [`],
    ['a pattern that can match nothing', (text: string) => text.replaceAll('api.shop.example', 'api.[a-z].example')],
    [
      'a second document that is broken',
      (text: string) => `${text}\n---\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nspec: 5\n`,
    ],
  ])('is refused whole with file, line and column for %s, and the old one stays', async (_, broken) => {
    const { lab, agent } = site()
    const good = namesPolicy('client-a', BASE)
    await waitFor('no problems', async () => ((await agent.policy()).problems.length === 0 ? true : undefined))
    const { rules } = await agent.policy()
    const logged = agent.log().length
    // The broken file also allows something new: half of it must not come into force.
    agent.writePolicy(FILE, broken(namesPolicy('client-a', [...BASE, 'deny.shop.example'])))
    const problem = await waitFor(
      'the problem',
      async () => (await agent.policy()).problems.find((p) => p.severity === 'error'),
      {
        timeoutMs: 3000,
      },
    )
    expect(problem.file.endsWith(FILE)).toBe(true)
    expect(problem.line).toBeGreaterThan(0)
    expect(problem.column).toBeGreaterThan(0)
    expect(agent.log().slice(logged)).toContain(FILE)
    expect((await agent.policy()).rules).toBe(rules)
    expect((await agent.get('/readyz')).code).toBe(200)
    expect(await status('deny.shop.example')).toBe('REFUSED')
    expect(await status('www.shop.example')).toBe('NOERROR')
    expect(await reach(lab, 'client-a', ['198.18.1.10', '198.18.66.7'])).toBe(1)
    agent.writePolicy(FILE, good)
    await waitFor('the good file', async () => ((await agent.policy()).problems.length === 0 ? true : undefined), {
      timeoutMs: 3000,
    })
  })

  it('that goes takes its pod out of enforcement, and one that comes puts a pod in', async () => {
    const { lab, agent } = site()
    expect(await reach(lab, 'client-b', ['198.18.66.7'])).toBe(1)
    agent.writePolicy('client-b.yaml', namesPolicy('client-b', ['*.wild.example']))
    await waitFor(
      'enforcement',
      async () => ((await reach(lab, 'client-b', ['198.18.66.7'], 80, 60)) === 0 ? true : undefined),
      { timeoutMs: 3000 },
    )
    expect((await dig(lab, 'client-b', 'x.wild.example')).status).toBe('NOERROR')
    expect(await reach(lab, 'client-b', ['198.18.5.1'])).toBe(1)
    agent.removePolicy('client-b.yaml')
    await waitFor(
      'freedom',
      async () => ((await reach(lab, 'client-b', ['198.18.66.7'], 80, 60)) === 1 ? true : undefined),
      { timeoutMs: 3000 },
    )
    expect((await dig(lab, 'client-b', 'www.evil.example')).status).toBe('NOERROR')
  })
})

import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Link, Rule } from '../../src/netlink/netlink.ts'
import { inside, Peer, run } from '../support/datapath/in-namespace.ts'

const NAMESPACE = `dpnl${process.pid}`
const PEER = fileURLToPath(new URL('../support/datapath/netlink-peer.ts', import.meta.url))
const ip = (...command: string[]): string => run(...inside(NAMESPACE, 'ip', ...command))

let peer: Peer
beforeAll(() => {
  run('ip', 'netns', 'add', NAMESPACE)
  ip('link', 'set', 'lo', 'up')
  ip('link', 'add', 'one', 'mtu', '1400', 'type', 'veth', 'peer', 'name', 'two')
  peer = new Peer(NAMESPACE, PEER)
})
afterAll(async () => {
  await (peer as Peer | undefined)?.end()
  run('ip', 'netns', 'delete', NAMESPACE)
})

describe('links', () => {
  it('are listed, and found by name and by index', async () => {
    const links = await peer.call<Link[]>('links')
    expect(links.map((link) => link.name).sort()).toEqual(expect.arrayContaining(['lo', 'one', 'two']) as string[])
    const one = await peer.call<Link>('linkByName', 'one')
    expect(one).toMatchObject({ name: 'one', up: false, mtu: 1400, kind: 'veth' })
    expect((await peer.call<Link>('linkByIndex', one.index)).name).toBe('one')
    expect(await peer.call('linkByName', 'three')).toBeNull()
    expect(await peer.call('linkByIndex', 99999)).toBeNull()
  })

  it('are set up and down, and the monitor tells', async () => {
    const { index } = await peer.call<Link>('linkByName', 'one')
    await peer.call('events')
    await peer.call('setLinkUp', index, true)
    expect((await peer.call<Link>('linkByName', 'one')).up).toBe(true)
    ip('address', 'add', '10.77.0.1/24', 'dev', 'one')
    ip('address', 'delete', '10.77.0.1/24', 'dev', 'one')
    ip('link', 'delete', 'one')
    const events = await peer.call<string[]>('events')
    expect(events).toEqual(
      expect.arrayContaining([
        'link one',
        'address 10.77.0.1',
        'address-gone 10.77.0.1',
        'link-gone one',
        'link-gone two',
      ]),
    )
    await expect(peer.call('setLinkUp', index, true)).rejects.toMatchObject({ code: 'SEKISHO_NETLINK_REFUSED' })
  })

  it('are listed whole when there are more than one datagram holds', async () => {
    const many = Array.from({ length: 75 }, (_, i) => `link add many${i} type veth peer name peer${i}`).join('\n')
    run('sh', '-c', `echo '${many}' | nsenter --net=/run/netns/${NAMESPACE} ip -batch -`)
    const links = await peer.call<Link[]>('links')
    expect(links.filter((link) => /^(many|peer)/.test(link.name))).toHaveLength(150)
  })
})

describe('addresses', () => {
  it('are listed in both families', async () => {
    ip('address', 'add', '10.78.0.1', 'peer', '10.78.0.2', 'dev', 'many0')
    ip('address', 'add', '2001:db8::78/64', 'dev', 'many0', 'nodad')
    const addresses = await peer.call<{ ip: string; prefix: number; scope: number }[]>('addresses')
    expect(addresses.find((one) => one.ip === '10.78.0.1')).toMatchObject({ prefix: 32, scope: 0 })
    expect(addresses.find((one) => one.ip === '2001:db8::78')).toMatchObject({ prefix: 64, scope: 0 })
    expect(addresses.find((one) => one.ip === '::1')).toMatchObject({ prefix: 128, scope: 254 })
  })
})

describe.each([4, 6] as const)('IPv%i rules and routes', (family) => {
  const rule = { family, priority: 77, mark: 0x200, mask: 0xf00, table: 2077, protocol: 2 }
  const local = {
    destination: family === 4 ? '0.0.0.0/0' : '::/0',
    table: 2077,
    protocol: 2,
    scope: family === 4 ? 254 : 0,
    type: 2,
    oif: 1,
  }

  it('are added once, listed as the kernel has them, and deleted once', async () => {
    expect(await peer.call('addRule', rule)).toBe(true)
    expect(await peer.call('addRule', rule)).toBe(false)
    const listed = await peer.call<Rule[]>('rules', family)
    expect(listed.filter((one) => one.priority === 77)).toEqual([
      { ...rule, action: 1, inverted: false, narrowed: false },
    ])
    expect(ip(`-${family}`, 'rule', 'show', 'priority', '77')).toBe('77:\tfrom all fwmark 0x200/0xf00 lookup 2077\n')
    expect(await peer.call('deleteRule', rule)).toBe(true)
    expect(await peer.call('deleteRule', rule)).toBe(false)
  })

  it('show when a rule is narrower than a mark', async () => {
    ip(`-${family}`, 'rule', 'add', 'priority', '78', 'fwmark', '1', 'iif', 'lo', 'lookup', '2077')
    const listed = await peer.call<Rule[]>('rules', family)
    expect(listed.find((one) => one.priority === 78)?.narrowed).toBe(true)
    ip(`-${family}`, 'rule', 'delete', 'priority', '78')
  })

  it('routes go in, again, and out', async () => {
    expect(await peer.call('routes', family, 2077)).toBe(0)
    await peer.call('replaceRoute', local)
    await peer.call('replaceRoute', local)
    expect(await peer.call('routes', family, 2077)).toBe(1)
    expect(ip(`-${family}`, 'route', 'show', 'table', '2077')).toContain('local default dev lo proto kernel')
    expect(await peer.call('deleteRoute', local)).toBe(true)
    expect(await peer.call('deleteRoute', local)).toBe(false)
    expect(await peer.call('routes', family, 2077)).toBe(0)
  })

  it("give the kernel's words when it refuses", async () => {
    const nowhere = { ...local, oif: 99999 }
    await expect(peer.call('replaceRoute', nowhere)).rejects.toMatchObject({ code: 'SEKISHO_NETLINK_REFUSED' })
  })
})

import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { inside, Peer, run } from '../support/datapath/in-namespace.ts'

const NAMESPACE = `sknh${process.pid}`
const PEER = fileURLToPath(new URL('../support/datapath/route-peer.ts', import.meta.url))
const TABLE = 20000
const ip = (...command: string[]): string => run(...inside(NAMESPACE, 'ip', ...command))

let peer: Peer
let one = 0
let two = 0
beforeAll(async () => {
  run('ip', 'netns', 'add', NAMESPACE)
  ip('link', 'set', 'lo', 'up')
  ip('link', 'add', 'one', 'type', 'veth', 'peer', 'name', 'two')
  for (const name of ['one', 'two']) ip('link', 'set', name, 'up')
  peer = new Peer(NAMESPACE, PEER)
  one = await peer.call<number>('index', 'one')
  two = await peer.call<number>('index', 'two')
})
afterAll(async () => {
  await (peer as Peer | undefined)?.end()
  run('ip', 'netns', 'delete', NAMESPACE)
})

describe.each([4, 6] as const)('IPv%i', (family) => {
  const [cidr, other] = family === 4 ? ['10.1.2.0/24', '10.1.3.0/24'] : ['fd10:2::/64', 'fd10:3::/64']
  const inet = family === 4 ? '-4' : '-6'
  const id = 5000 + family
  const base = { table: TABLE, protocol: 2, scope: family === 4 ? 253 : 0, type: 1 }

  it('one replaced nexthop moves every route that points to it', async () => {
    await peer.call('replaceNexthop', { id, family, oif: one, protocol: 2 })
    for (const destination of [cidr, other]) await peer.call('replaceRoute', { ...base, destination, nexthop: id })
    expect(ip(inet, 'route', 'show', 'table', String(TABLE)).match(/dev one/g)).toHaveLength(2)
    await peer.call('replaceNexthop', { id, family, oif: two, protocol: 2 })
    expect(ip(inet, 'route', 'show', 'table', String(TABLE)).match(/dev two/g)).toHaveLength(2)
    expect(await peer.call('nexthops')).toContainEqual({ id, family, oif: two, protocol: 2 })
  })

  it('an unreachable route of a high metric is what is left when the interface goes down', async () => {
    const closed = { ...base, scope: 0, type: 7, destination: cidr, metric: 0xff000000 }
    await peer.call('replaceRoute', closed)
    await peer.call('setUp', two, false)
    const left = await peer.call<{ type: number; metric: number }[]>('routes', family, TABLE)
    expect(left.map(({ type, metric }) => [type, metric])).toEqual([[7, 0xff000000]])
    expect(await peer.call('nexthops')).not.toContainEqual(expect.objectContaining({ id }))
    await peer.call('setUp', two, true)
    expect(await peer.call('deleteRoute', closed)).toBe(true)
    expect(await peer.call('deleteRoute', closed)).toBe(false)
    expect(await peer.call('deleteNexthop', id)).toBe(false)
  })

  it('rules for what bears no mark, and for sockets of one interface', async () => {
    const unmarked = { family, priority: 90, mark: 0x1e00, mask: 0x1f00, table: TABLE, protocol: 2, inverted: true }
    const bound = { family, priority: 80, mark: 0, mask: 0, table: 20100, protocol: 2, oifName: 'one' }
    for (const rule of [unmarked, bound]) {
      expect(await peer.call('addRule', rule)).toBe(true)
      expect(await peer.call('addRule', rule)).toBe(false)
    }
    const shown = ip(inet, 'rule')
    expect(shown).toMatch(/90:\s+not from all fwmark 0x1e00\/0x1f00 lookup 20000/)
    expect(shown).toMatch(/80:\s+from all oif one lookup 20100/)
    expect(await peer.call('rules', family)).toEqual(
      expect.arrayContaining([expect.objectContaining(unmarked), expect.objectContaining(bound)]),
    )
    for (const rule of [unmarked, bound]) {
      expect(await peer.call('deleteRule', rule)).toBe(true)
      expect(await peer.call('deleteRule', rule)).toBe(false)
    }
  })

  it('addresses, and routes that prefer one as source', async () => {
    const [address, bits] = family === 4 ? ['169.254.77.1', 32] : ['fd77::1', 128]
    await peer.call('address', one, address, bits, 0x202)
    expect(ip(inet, 'address', 'show', 'dev', 'one')).toContain(`${address}/${bits}`)
    const preferred = { ...base, destination: cidr, oif: one, source: address }
    await peer.call('replaceRoute', preferred)
    expect(ip(inet, 'route', 'show', 'table', String(TABLE))).toContain(`src ${address}`)
    expect(await peer.call('deleteRoute', preferred)).toBe(true)
    expect(await peer.call('deleteAddress', one, address, bits)).toBe(true)
    expect(await peer.call('deleteAddress', one, address, bits)).toBe(false)
  })
})

it('a kind of link that the kernel does not know is refused by name', async () => {
  await expect(peer.call('createLink', 'new', 'nothing-of-the-kind', 1400)).rejects.toMatchObject({
    code: 'SEKISHO_NETLINK_REFUSED',
    message: expect.stringContaining('EOPNOTSUPP') as string,
  })
  expect(await peer.call('createLink', 'one', 'veth', 1400)).toBe(false)
})

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { inside, Peer, run } from '../support/datapath/in-namespace.ts'
import type { PlainPeer } from '../support/wg/routing-peer.ts'

const NAMESPACE = `rtg${process.pid}`
const SCRIPT = fileURLToPath(new URL('../support/wg/routing-peer.ts', import.meta.url))
const SENDER = fileURLToPath(new URL('../support/wg/send-udp.py', import.meta.url))
const HERE = ['10.1.2.9', 'fd10:2::9'] as const
const A: PlainPeer = { uid: 'a', prefixes: ['10.1.2.0/24', 'fd10:2::/64'], egress: 0, mode: 'active' }
const B: PlainPeer = { uid: 'b', prefixes: ['10.1.3.0/24', 'fd10:3::/64'], egress: 1, mode: 'active' }

const inNamespace = (...command: string[]): string => run(...inside(NAMESPACE, ...command))
const ip = (...command: string[]): string => inNamespace('ip', ...command)
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Veth pairs stand for the slots and the underlay; what leaves by one is counted where it comes out. */
function addPair(name: string, peer: string): void {
  ip('link', 'add', 'name', name, 'type', 'veth', 'peer', 'name', peer)
  // As WireGuard's devices: nobody is asked for a hardware address.
  for (const one of [name, peer]) ip('link', 'set', one, 'arp', 'off', 'up')
  // What comes out at the far end is only counted.
  inNamespace('nft', `add chain netdev count ${peer} { type filter hook ingress device ${peer} priority 0; }`)
  for (const family of ['ip', 'ip6']) {
    inNamespace(
      'nft',
      `add rule netdev count ${peer} ${family} version ${family === 'ip' ? 4 : 6} udp dport 4444 counter drop`,
    )
  }
}

function counted(peer: string): number {
  const text = inNamespace('nft', 'list', 'chain', 'netdev', 'count', peer)
  return [...text.matchAll(/counter packets (\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0)
}

/** Where the next packet to the address goes. */
function way(address: string, ...more: string[]): string {
  try {
    const [, device = 'nowhere'] = / dev (\S+)/.exec(ip('route', 'get', address, ...more)) ?? []
    return device
  } catch (error) {
    return /unreachable|No route/i.exec((error as { stderr?: string }).stderr ?? '')?.[0].toLowerCase() ?? String(error)
  }
}

/** Everything of the namespace that routing could change. */
const state = (): string =>
  [
    ip('rule'),
    ip('-6', 'rule'),
    ip('nexthop'),
    ip('-4', 'route', 'show', 'table', 'all'),
    ip('-6', 'route', 'show', 'table', 'all'),
    ip('-o', 'address'),
    ip('-o', 'link').replaceAll(/qdisc.*|mtu \d+/g, ''),
    inNamespace('sysctl', 'net.ipv4.conf.kwg0.rp_filter', 'net.ipv4.conf.kwg1.rp_filter'),
  ].join('\n--\n')

/** Sends `count` datagrams to each family, and takes steps all the while; the names of the errors of the sender. */
async function whileSending(count: number, step: (i: number) => Promise<unknown>): Promise<string[]> {
  const [command = '', ...args] = inside(NAMESPACE, 'python3', SENDER, String(count), ...HERE)
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  let ended = false
  child.once('close', () => (ended = true))
  await new Promise<void>((resolve) => {
    child.once('close', resolve)
    child.stdout.on('data', (data: Buffer) => {
      text += data.toString()
      resolve()
    })
  })
  for (let i = 0; !ended; i++) {
    await step(i)
    await sleep(1)
  }
  const [ready, ...errors] = text.trim().split('\n')
  expect(ready).toBe('ready')
  return errors
}

let peer: Peer
const fresh = async (): Promise<string[]> => {
  await (peer as Peer | undefined)?.end()
  peer = new Peer(NAMESPACE, SCRIPT)
  return peer.call<string[]>('start')
}

let before = ''
beforeAll(async () => {
  run('ip', 'netns', 'add', NAMESPACE)
  // No link-local addresses: their coming and going is noise here.
  for (const setting of ['ipv6.conf.default.addr_gen_mode=1', 'ipv6.conf.all.forwarding=1', 'ipv4.ip_forward=1']) {
    inNamespace('sysctl', '-qw', `net.${setting}`)
  }
  ip('link', 'set', 'lo', 'up')
  inNamespace('nft', 'add table netdev count')
  addPair('kwg0', 'far0')
  addPair('kwg1', 'far1')
  addPair('eth0', 'wire')
  ip('address', 'add', '192.168.0.1/24', 'dev', 'eth0')
  ip('address', 'add', 'fd00::1/64', 'dev', 'eth0', 'nodad')
  ip('route', 'add', 'default', 'via', '192.168.0.254')
  ip('-6', 'route', 'add', 'default', 'via', 'fd00::254')
  before = state()
  await fresh()
})
afterAll(async () => {
  await (peer as Peer | undefined)?.end()
  run('ip', 'netns', 'delete', NAMESPACE)
})

describe('what routes stand on', () => {
  it('is there after the start', async () => {
    expect(await peer.call('mtu')).toBe(1408)
    for (const [slot, address] of ['169.254.77.1', '169.254.77.2'].entries()) {
      const shown = ip('address', 'show', 'dev', `kwg${slot}`)
      expect(shown).toContain(`inet ${address}/32 scope link`)
      expect(shown).toContain('inet 10.1.1.1/32')
      expect(shown).toContain('inet6 fd10:1::1/128')
      expect(shown).toContain('mtu 1408')
      expect(inNamespace('sysctl', '-n', `net.ipv4.conf.kwg${slot}.rp_filter`)).toBe('2\n')
    }
    for (const family of ['-4', '-6']) {
      expect(ip(family, 'rule')).toMatch(/90:\s+not from all fwmark 0x1e00\/0x1f00 lookup 20000/)
      expect(ip(family, 'rule')).toMatch(/80:\s+from all oif kwg0 lookup 20100/)
      expect(ip(family, 'rule')).toMatch(/80:\s+from all oif kwg1 lookup 20101/)
    }
    expect(await peer.call('check')).toEqual([])
    expect(await peer.call('warnings')).toEqual([])
  })

  it('is warned of when the host stands in the way', async () => {
    ip('rule', 'add', 'priority', '50', 'to', '10.0.0.0/8', 'lookup', 'main')
    inNamespace('sysctl', '-qw', 'net.ipv4.conf.all.src_valid_mark=1')
    await peer.call('check')
    const told = (await peer.call<string[]>('warnings')).join('\n')
    expect(told).toContain('rule of priority 50 (lookup 254)')
    expect(told).toContain('net.ipv4.conf.all.src_valid_mark')
    ip('rule', 'delete', 'priority', '50')
    inNamespace('sysctl', '-qw', 'net.ipv4.conf.all.src_valid_mark=0')
    await peer.call('check')
    expect(await peer.call('warnings')).toEqual([])
  })
})

describe('a peer', () => {
  it('that is not active goes in clear text, and can be asked through each slot', async () => {
    await peer.call('setPeer', { ...A, mode: 'proven' })
    for (const address of HERE) {
      expect(way(address)).toBe('eth0')
      expect(way(address, 'oif', 'kwg0')).toBe('kwg0')
      expect(way(address, 'oif', 'kwg1')).toBe('kwg1')
    }
  })

  it('that is active goes through its slot, encrypted packets and the bypass do not', async () => {
    await peer.call('setPeer', A)
    for (const address of HERE) {
      expect(way(address)).toBe('kwg0')
      expect(way(address, 'mark', '0x1e00')).toBe('eth0')
    }
    expect(ip('route', 'get', HERE[0])).toContain('src 10.1.1.1')
    expect(ip('route', 'get', HERE[1])).toContain('src fd10:1::1')
    await peer.call('setPeer', { ...B, prefixes: ['192.0.2.0/24'] })
    expect(way('192.0.2.1')).toBe('kwg1')
    expect(way('192.0.2.1', 'ipproto', '6', 'dport', '6443')).toBe('eth0')
    await peer.call('removePeer', 'b')
    expect(way('192.0.2.1')).toBe('eth0')
    expect(ip('nexthop')).not.toContain('5002')
  })

  it('loses no packet when its slot changes', async () => {
    await peer.call('setPeer', A)
    const [slot0, slot1, clear] = [counted('far0'), counted('far1'), counted('wire')]
    const refused = await whileSending(3000, (i) => peer.call('setPeer', { ...A, egress: (i + 1) % 2 }))
    expect(refused).toEqual([])
    expect(counted('far0') - slot0 + counted('far1') - slot1).toBe(6000)
    expect(counted('far0') - slot0).toBeGreaterThan(100)
    expect(counted('far1') - slot1).toBeGreaterThan(100)
    expect(counted('wire') - clear).toBe(0)
  })

  it('loses no packet on its way into the tunnel and out of it', async () => {
    // Many, so that there is time between the first message of a change and the last.
    const more = Array.from({ length: 60 }, (_, i) => `10.2.${i}.0/24`)
    const wide = { ...A, prefixes: [...A.prefixes, ...more] }
    await peer.call('setPeer', wide)
    const [slot, clear] = [counted('far0'), counted('wire')]
    const refused = await whileSending(3000, (i) =>
      peer.call('setPeer', { ...wide, mode: i % 2 === 0 ? 'off' : 'active' }),
    )
    expect(refused).toEqual([])
    expect(counted('far0') - slot + counted('wire') - clear).toBe(6000)
    expect(counted('wire') - clear).toBeGreaterThan(100)
    expect(counted('far0') - slot).toBeGreaterThan(100)
  })

  it('gives a prefix to another without a packet in clear text', async () => {
    await peer.call('setPeer', A)
    const clear = counted('wire')
    const refused = await whileSending(2000, (i) => {
      const [from, to] = i % 2 === 0 ? ['a', 'b'] : ['b', 'a']
      return peer.call('setPeers', [
        { ...A, uid: from, prefixes: [] },
        { ...A, uid: to, egress: (i >> 1) % 2 },
      ])
    })
    expect(refused).toEqual([])
    expect(counted('wire') - clear).toBe(0)
  })
})

describe('a restart', () => {
  it('finds the peers as they are and changes nothing', async () => {
    await peer.call('removePeer', 'b')
    await peer.call('setPeers', [{ ...A, egress: 1 }, B])
    const events = spawn('nsenter', inside(NAMESPACE, 'ip', 'monitor', 'all').slice(1), {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let heard = ''
    events.stdout.on('data', (data: Buffer) => (heard += data.toString()))
    await sleep(200)
    expect(await fresh()).toEqual([
      ['10.1.2.0/24', 1],
      ['10.1.3.0/24', 1],
      ['fd10:2::/64', 1],
      ['fd10:3::/64', 1],
    ])
    expect(await peer.call('check')).toEqual([])
    // In the other order: their nexthops are theirs still.
    await peer.call('setPeer', B)
    await peer.call('setPeer', { ...A, egress: 1 })
    await peer.call('prune')
    expect(await peer.call('check')).toEqual([])
    await sleep(100)
    expect(heard).toBe('')
    // The ear hears: a change is told.
    await peer.call('setPeer', A)
    await sleep(100)
    expect(heard).toContain('id 5000')
    events.kill()
  })

  it('keeps what nobody claims until the list is complete', async () => {
    await fresh()
    await peer.call('setPeer', A)
    expect(await peer.call('check')).toEqual([])
    expect(way('10.1.3.9')).toBe('kwg1')
    await peer.call('prune')
    expect(way('10.1.3.9')).toBe('eth0')
    expect(way(HERE[0])).toBe('kwg0')
  })
})

describe('a device that is lost', () => {
  it('shuts its peers: nothing in clear text, until it is back', async () => {
    await peer.call('setPeer', A)
    const clear = counted('wire')
    ip('link', 'delete', 'kwg0')
    inNamespace('nft', 'delete', 'chain', 'netdev', 'count', 'far0')
    const refused = await whileSending(20, async () => undefined)
    expect(refused).toHaveLength(40)
    expect(new Set(refused)).toEqual(new Set(['EHOSTUNREACH']))
    expect(counted('wire') - clear).toBe(0)
    await expect(peer.call('setPeer', A)).rejects.toMatchObject({ code: 'SEKISHO_WG_DEVICE' })
    // The other slot takes over in one call, though nobody read the tables since.
    await peer.call('setPeer', { ...A, egress: 1 })
    for (const address of HERE) expect(way(address)).toBe('kwg1')
    expect(await peer.call('check')).toEqual([])
    await expect(peer.call('slotReplaced', 0)).rejects.toMatchObject({ code: 'SEKISHO_WG_DEVICE' })
    addPair('kwg0', 'far0')
    await peer.call('slotReplaced', 0)
    await peer.call('setPeer', A)
    for (const address of HERE) {
      expect(way(address)).toBe('kwg0')
      expect(way(address, 'oif', 'kwg0')).toBe('kwg0')
    }
    expect(inNamespace('sysctl', '-n', 'net.ipv4.conf.kwg0.rp_filter')).toBe('2\n')
    expect(await peer.call('check')).toEqual([])
  })

  it('found only shut after a restart, peers are sealed still', async () => {
    ip('link', 'set', 'kwg0', 'down')
    for (const address of HERE) expect(way(address)).toMatch(/unreachable|no route/)
    expect(await fresh()).toEqual([
      ['10.1.2.0/24', 0],
      ['fd10:2::/64', 0],
    ])
    for (const address of HERE) expect(way(address)).toMatch(/unreachable|no route/)
    await peer.call('setPeer', A)
    for (const address of HERE) expect(way(address)).toBe('kwg0')
  })
})

describe('what others break', () => {
  const TABLE = ['table', '20000']
  it.each<[string, string[][], string[]]>([
    [
      'rules',
      [
        ['rule', 'delete', 'priority', '90'],
        ['-6', 'rule', 'delete', 'priority', '90'],
      ],
      ['rule', 'rule'],
    ],
    ['the rule of a slot', [['rule', 'delete', 'oif', 'kwg1', 'lookup', '20101']], ['rule']],
    ['a bypass', [['rule', 'delete', 'priority', '70']], ['rule']],
    ['a route', [['route', 'delete', '10.1.2.0/24', 'metric', '1024', ...TABLE]], ['route']],
    ['a route of IPv6', [['-6', 'route', 'delete', 'fd10:2::/64', 'metric', '1024', ...TABLE]], ['route']],
    [
      'a route led elsewhere',
      [['route', 'replace', '10.1.2.0/24', 'dev', 'eth0', 'metric', '1024', ...TABLE]],
      ['route'],
    ],
    ['a route for probes', [['route', 'delete', '10.1.2.0/24', 'table', '20100']], ['route']],
    [
      'a shut prefix',
      [['-6', 'route', 'delete', 'unreachable', 'fd10:2::/64', 'metric', '4278190080', ...TABLE]],
      ['unreachable'],
    ],
    ['a nexthop', [['nexthop', 'delete', 'id', '5000']], ['nexthop', 'route']],
    ['a nexthop led elsewhere', [['nexthop', 'replace', 'id', '5000', 'dev', 'eth0', 'proto', '155']], ['nexthop']],
    ['the address of a slot', [['address', 'delete', '169.254.77.2/32', 'dev', 'kwg1']], ['address']],
    // The other device has it still, so the routes that prefer it stay.
    ['a probe address', [['address', 'delete', '10.1.1.1/32', 'dev', 'kwg1']], ['address']],
    ['an MTU', [['link', 'set', 'kwg1', 'mtu', '1500']], ['mtu']],
    // Down: IPv4 routes, nexthops and all of IPv6 are flushed, most of it unsaid.
    [
      'a device set down',
      [['link', 'set', 'kwg0', 'down']],
      ['address', 'link', 'nexthop', 'nexthop', 'route', 'route', 'route', 'route'],
    ],
  ])('%s: is put back and told', async (_what, commands, repairs) => {
    for (const command of commands) ip(...command)
    expect((await peer.call<string[]>('check')).sort()).toEqual(repairs)
    expect(await peer.call('check')).toEqual([])
    for (const address of HERE) expect(way(address)).toBe('kwg0')
  })

  it('rp_filter is put back', async () => {
    inNamespace('sysctl', '-qw', 'net.ipv4.conf.kwg1.rp_filter=1')
    expect(await peer.call('check')).toEqual(['rp_filter'])
    expect(inNamespace('sysctl', '-n', 'net.ipv4.conf.kwg1.rp_filter')).toBe('2\n')
  })

  it('an MTU of the underlay is followed', async () => {
    ip('link', 'set', 'eth0', 'mtu', '1400')
    expect(await peer.call('check')).toEqual(['mtu', 'mtu'])
    expect(await peer.call('mtu')).toBe(1312)
    ip('link', 'set', 'eth0', 'mtu', '1500')
    expect(await peer.call('check')).toEqual(['mtu', 'mtu'])
  })

  it('an underlay that is gone for a moment leaves the MTU as it is', async () => {
    ip('link', 'set', 'eth0', 'mtu', '9000')
    expect(await peer.call('check')).toEqual(['mtu', 'mtu'])
    const large = await peer.call<number>('mtu')
    expect(large).toBe(8912)
    // It takes the default routes with it.
    ip('link', 'set', 'eth0', 'down')
    expect(ip('route', 'show', 'default')).toBe('')
    await peer.call('check')
    expect(await peer.call('mtu')).toBe(large)
    expect(ip('-o', 'link', 'show', 'dev', 'kwg0')).toContain(` mtu ${large} `)
    ip('link', 'set', 'eth0', 'mtu', '1500', 'up')
    ip('address', 'replace', 'fd00::1/64', 'dev', 'eth0', 'nodad')
    ip('route', 'replace', 'default', 'via', '192.168.0.254')
    ip('-6', 'route', 'replace', 'default', 'via', 'fd00::254')
    expect(await peer.call('check')).toEqual(expect.arrayContaining(['mtu', 'mtu']))
    expect(await peer.call('mtu')).toBe(1408)
  })
})

describe('watching', () => {
  afterEach(async () => {
    await peer.call('check')
  })

  it('tells of what others change, a few times and not for ever, and not of our own changes', async () => {
    await peer.call('watch')
    await peer.call('check')
    await sleep(150)
    await peer.call('changes')
    await peer.call('flip', A, 50)
    await peer.call('setPeer', { ...B, mode: 'strict' })
    await peer.call('removePeer', 'b')
    await sleep(150)
    expect(await peer.call('changes')).toBe(0)
    const changes: [string[], string[]][] = [
      [['route', 'delete', '10.1.2.0/24', 'metric', '1024', 'table', '20000'], ['route']],
      [['rule', 'delete', 'priority', '70'], ['rule']],
      [
        ['nexthop', 'delete', 'id', '5001'],
        ['nexthop', 'route'],
      ],
      [['address', 'delete', '169.254.77.2/32', 'dev', 'kwg1'], ['address']],
    ]
    for (const [command, repairs] of changes) {
      ip(...command)
      await expect.poll(() => peer.call('changes'), { timeout: 2000 }).toBeGreaterThan(0)
      expect(await peer.call('check')).toEqual(repairs)
      await sleep(150)
      expect(await peer.call('check')).toEqual([])
      await peer.call('changes')
      await sleep(150)
      expect(await peer.call('changes')).toBe(0)
    }
    // A pod that comes is nobody's news.
    ip('link', 'add', 'name', 'pod1', 'type', 'veth', 'peer', 'name', 'pod2')
    ip('route', 'add', '10.1.1.7/32', 'dev', 'eth0')
    ip('route', 'delete', '10.1.1.7/32', 'dev', 'eth0')
    ip('link', 'delete', 'pod1')
    await sleep(150)
    expect(await peer.call('changes')).toBe(0)
  })

  it('tells at most 20 times a second', async () => {
    await peer.call('changes')
    const batch = Array.from(
      { length: 400 },
      (_, i) => `route replace 10.200.${i % 200}.0/24 dev eth0 table 20000`,
    ).join('\n')
    const start = performance.now()
    run('sh', '-c', `echo '${batch}' | nsenter --net=/run/netns/${NAMESPACE} ip -batch -`)
    await sleep(300)
    const seconds = (performance.now() - start) / 1000
    const count = await peer.call<number>('changes')
    expect(count).toBeGreaterThan(0)
    expect(count).toBeLessThanOrEqual(Math.ceil(20 * seconds) + 1)
    await peer.call('check')
    expect((await peer.call<string[]>('warnings')).join('\n')).toContain('table 20000 has 200 routes that are not ours')
    for (let i = 0; i < 200; i++) ip('route', 'delete', `10.200.${i}.0/24`, 'table', '20000')
  })
})

describe('cleaning up', () => {
  it('takes away ours and nothing else, and leaves all as it was', async () => {
    const others: string[][] = [
      ['rule', 'add', 'priority', '90', 'fwmark', '0x1e00/0x1f00', 'lookup', '20000'],
      ['rule', 'add', 'priority', '80', 'oif', 'eth0', 'lookup', '20100'],
      ['route', 'add', '10.77.0.0/16', 'dev', 'eth0', 'table', '20000'],
      ['nexthop', 'add', 'id', '5100', 'dev', 'eth0'],
    ]
    for (const one of others) ip(...one)
    await peer.call('setPeers', [A, B])
    await peer.call('cleanup')
    expect(ip('rule')).toMatch(/90:\s+from all fwmark 0x1e00\/0x1f00 lookup 20000\n/)
    expect(ip('rule')).toMatch(/80:\s+from all oif eth0 lookup 20100\n/)
    expect(ip('route', 'show', 'table', '20000')).toContain('10.77.0.0/16')
    expect(ip('nexthop')).toContain('id 5100')
    for (const one of others) {
      const id =
        one[0] === 'nexthop'
          ? ['nexthop', 'delete', 'id', '5100']
          : one.map((word) => (word === 'add' ? 'delete' : word))
      ip(...id)
    }
    const sorted = (text: string): string[] =>
      text
        .split('\n')
        .map((line) => line.replace(/^\d+: /, '').trim())
        .sort()
    expect(sorted(state())).toEqual(sorted(before))
    await peer.call('cleanup')
    await peer.call('stop')
  })
})

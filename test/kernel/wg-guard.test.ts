import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync } from 'node:fs'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { parseCidr } from '../../src/core/ip.ts'
import { loadNative } from '../../src/native/load.ts'
import { encodeGuardSettings, encodeKey, encodeValue, GUARD_MAPS, MAX_FLOWS } from '../../src/wg/guard/layout.ts'
import { inside, Peer, run } from '../support/datapath/in-namespace.ts'
import {
  destinationOptions,
  ETH_ARP,
  ETH_IPV4,
  ETH_IPV6,
  ethernet,
  fragmentHeader,
  icmp,
  ipv4,
  ipv6,
  packet,
  tagged,
  tcp,
  udp,
} from '../support/frames.ts'

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const SCRIPT = here('../support/wg/guard-peer.ts')
const SEND_FRAMES = here('../support/datapath/send-frames.py')
const TUN = here('../support/wg/tun.py')
const OBJECT = here('../../build/guard.o')

const A = `prbga${process.pid}`
const B = `prbgb${process.pid}`
/** Pods of the two nodes, and what is protected at A. */
const POD_A = { 4: '10.92.1.1', 6: 'fd00:92:1::1' } as const
const POD_B = { 4: '10.92.2.1', 6: 'fd00:92:2::1' } as const
const OTHER_B = { 4: '10.92.3.1', 6: 'fd00:92:3::1' } as const
const PREFIX = { 4: '10.92.2.0/24', 6: 'fd00:92:2::/64' } as const
const NODE_A = { 4: '10.92.0.1', 6: 'fd00:92::1' } as const
const NODE_B = { 4: '10.92.0.2', 6: 'fd00:92::2' } as const
const FAMILIES = [4, 6] as const
const PORT = 9000
const MARK = 0x1e00

const bpffs = mkdtempSync(join(tmpdir(), 'prb-bpffs-'))
const options = { bpffs, directory: 'test', ports: [51871, 51872], allowFwmark: MARK, mask: 0x1f00 }
const inA = (...command: string[]): string => run(...inside(A, ...command))

let a: Peer
let b: Peer

function link(): void {
  inA('ip', 'link', 'add', 'und0', 'type', 'veth', 'peer', 'name', 'und0', 'netns', B)
  for (const [name, other, node, pods] of [
    [A, POD_B, NODE_A, [POD_A]],
    [B, POD_A, NODE_B, [POD_B, OTHER_B]],
  ] as const) {
    const inside_ = (...command: string[]): string => run(...inside(name, ...command))
    inside_('ip', 'link', 'set', 'und0', 'up')
    inside_('ip', 'address', 'replace', `${node[4]}/24`, 'dev', 'und0')
    inside_('ip', 'address', 'replace', `${node[6]}/64`, 'dev', 'und0', 'nodad')
    for (const pod of pods) {
      inside_('ip', 'address', 'replace', `${pod[4]}/32`, 'dev', 'lo')
      inside_('ip', 'address', 'replace', `${pod[6]}/128`, 'dev', 'lo', 'nodad')
    }
    const via = name === A ? NODE_B : NODE_A
    inside_('ip', 'route', 'replace', `${other[4]}/32`, 'via', via[4])
    inside_('ip', '-6', 'route', 'replace', `${other[6]}/128`, 'via', via[6])
    if (name === A) {
      inside_('ip', 'route', 'replace', `${OTHER_B[4]}/32`, 'via', via[4])
      inside_('ip', '-6', 'route', 'replace', `${OTHER_B[6]}/128`, 'via', via[6])
    }
  }
}

/** How many of `count` datagrams arrive at the far end. */
async function arrive(from: Peer, to: Peer, source: string, target: string, size = 100, count = 10): Promise<number> {
  const before = await to.call<number>('received')
  await from.call('send', source, target, PORT, size, count)
  const deadline = performance.now() + 2000
  let got = 0
  // A second after the last: nothing may come late either.
  for (let still = 0; still < 4 && performance.now() < deadline; still++) {
    await new Promise((resolve) => setTimeout(resolve, 25))
    const now = (await to.call<number>('received')) - before
    if (now !== got) still = 0
    got = now
    if (got === count) break
  }
  return got
}

const counts = (): Promise<Record<string, number>> => a.call('counts')
async function counting(act: () => Promise<unknown>): Promise<Record<string, number>> {
  const before = await counts()
  await act()
  const after = await counts()
  return Object.fromEntries(
    Object.entries(after).flatMap(([name, packets]) => {
      const more = packets - (before[name] ?? 0)
      return more === 0 ? [] : [[name, more]]
    }),
  )
}

const frames = (namespace: string, device: string, list: readonly Uint8Array[]): void => {
  const input = list.map((frame) => Buffer.from(frame).toString('hex')).join('\n')
  const [command = '', ...args] = inside(namespace, 'python3', SEND_FRAMES, device)
  const ran = spawnSync(command, args, { input, encoding: 'utf8' })
  if (ran.status !== 0) throw new Error(ran.stderr)
}

beforeAll(async () => {
  run('mount', '-t', 'bpf', 'bpf', bpffs)
  for (const name of [A, B]) {
    run('ip', 'netns', 'add', name)
    run(...inside(name, 'ip', 'link', 'set', 'lo', 'up'))
    for (const setting of ['ipv4.conf.all.rp_filter=0', 'ipv4.conf.default.rp_filter=0'])
      run(...inside(name, 'sysctl', '-qw', `net.${setting}`))
  }
  link()
  a = new Peer(A, SCRIPT)
  b = new Peer(B, SCRIPT)
  for (const family of FAMILIES) {
    await a.call('listen', POD_A[family], PORT)
    await a.call('listen', NODE_A[family], PORT)
    await b.call('listen', POD_B[family], PORT)
    await b.call('listen', OTHER_B[family], PORT)
  }
  expect(await a.call('start', options, ['und0', 'not-there'])).toEqual([])
})

const unprotect = async (): Promise<void> => {
  for (const family of FAMILIES) await a.call('protect', PREFIX[family], false)
}

/** A new link needs a moment: duplicate address detection, neighbours. */
async function works(family: 4 | 6): Promise<void> {
  const deadline = performance.now() + 5000
  const [podA, podB] = [POD_A[family], POD_B[family]]
  for (const way of [() => arrive(b, a, podB, podA), () => arrive(a, b, podA, podB)]) {
    while ((await way()) < 10 && performance.now() < deadline) continue
    expect(await way()).toBe(10)
  }
}

afterAll(async () => {
  for (const peer of [a, b] as (Peer | undefined)[]) await peer?.end()
  for (const name of [A, B]) spawnSync('ip', ['netns', 'delete', name])
  run('umount', bpffs)
  rmdirSync(bpffs)
})

describe.each(FAMILIES)('IPv%i', (family) => {
  beforeAll(() => works(family))
  beforeEach(unprotect)

  it('comes in and goes out while nothing is protected', async () => {
    const more = await counting(async () => {
      expect(await arrive(b, a, POD_B[family], POD_A[family])).toBe(10)
      expect(await arrive(a, b, POD_A[family], POD_B[family])).toBe(10)
    })
    expect(more).toEqual({})
  })

  it('is dropped and counted, each packet once, by source coming in and by destination going out', async () => {
    await a.call('protect', PREFIX[family], true)
    expect(await counting(() => arrive(b, a, POD_B[family], POD_A[family]))).toEqual({ [`ingress${family}`]: 10 })
    expect(await counting(() => arrive(a, b, POD_A[family], POD_B[family]))).toEqual({ [`egress${family}`]: 10 })
    expect(await arrive(b, a, POD_B[family], POD_A[family])).toBe(0)
    expect(await arrive(a, b, POD_A[family], POD_B[family])).toBe(0)
    // Its neighbour by number is not of the prefix.
    expect(
      await counting(async () => {
        expect(await arrive(a, b, POD_A[family], OTHER_B[family])).toBe(10)
      }),
    ).toEqual({})
    await a.call('protect', PREFIX[family], false)
    expect(await arrive(b, a, POD_B[family], POD_A[family])).toBe(10)
    expect(await arrive(a, b, POD_A[family], POD_B[family])).toBe(10)
  })

  it('is dropped in every fragment', async () => {
    expect(await arrive(b, a, POD_B[family], POD_A[family], 4000, 4)).toBe(4)
    await a.call('protect', PREFIX[family], true)
    const dropped = await counting(() => arrive(b, a, POD_B[family], POD_A[family], 4000, 4))
    expect(dropped).toEqual({ [`ingress${family}`]: 12 })
    // The sender gives a datagram up when its first fragment is refused.
    expect(await counting(() => arrive(a, b, POD_A[family], POD_B[family], 4000, 4))).toEqual({
      [`egress${family}`]: 4,
    })
  })

  it('is dropped behind one, two and three VLAN tags', async () => {
    const payload = udp(1, PORT)
    const inner =
      family === 4
        ? ipv4({ from: POD_B[4], to: POD_A[4], protocol: 17, payload })
        : ipv6({ from: POD_B[6], to: POD_A[6], protocol: 17, payload })
    const type = family === 4 ? ETH_IPV4 : ETH_IPV6
    const one = tagged(type, inner)
    const two = tagged(0x8100, Uint8Array.of(0, 6, type >> 8, type & 0xff, ...inner))
    const three = tagged(0x8100, Uint8Array.of(0, 6, 0x81, 0, 0, 7, type >> 8, type & 0xff, ...inner))
    await a.call('countOn', 'und0', family)
    await a.call('counted')
    frames(B, 'und0', [one, one])
    // What passes reaches those behind the guard.
    expect(await a.call('counted')).toBe(2)
    await a.call('protect', PREFIX[family], true)
    expect(
      await counting(async () => {
        frames(B, 'und0', [one, one, two, three])
      }),
    ).toEqual({ [`ingress${family}`]: 4 })
    expect(await a.call('counted')).toBe(0)
  })

  it('goes on between nodes: neighbours are found while node addresses are protected', async () => {
    const node = `${NODE_B[family]}/${family === 4 ? 32 : 128}`
    await a.call('protect', node, true)
    for (const name of [A, B]) run(...inside(name, 'ip', `-${family}`, 'neighbour', 'flush', 'dev', 'und0'))
    expect(await arrive(a, b, POD_A[family], OTHER_B[family])).toBe(10)
    for (const name of [A, B]) run(...inside(name, 'ip', `-${family}`, 'neighbour', 'flush', 'dev', 'und0'))
    expect(await arrive(b, a, POD_B[family], POD_A[family])).toBe(10)
    const more = await counting(async () => {
      expect(await arrive(b, a, NODE_B[family], NODE_A[family])).toBe(0)
    })
    expect(more).toEqual({ [`ingress${family}`]: 10 })
    await a.call('protect', node, false)
    expect(await arrive(b, a, NODE_B[family], NODE_A[family])).toBe(10)
  })
})

it('guards a device without Ethernet header', async () => {
  await unprotect()
  const [command = '', ...args] = inside(A, 'python3', TUN, 'und1')
  const tun = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface(tun.stdout)[Symbol.asyncIterator]()
  expect((await lines.next()).value).toBe('ready')
  const write = async (one: Uint8Array): Promise<void> => {
    tun.stdin.write(`${Buffer.from(one).toString('hex')}\n`)
    expect((await lines.next()).value).toBe('written')
  }
  await a.call('devices', ['und0', 'und1'])
  expect(await a.call('check')).toBe(1)
  expect(await a.call('check')).toBe(0)
  const v4 = ipv4({ from: POD_B[4], to: POD_A[4], protocol: 17, payload: udp(1, PORT) })
  const v6 = ipv6({ from: POD_B[6], to: POD_A[6], protocol: 17, payload: udp(1, PORT) })
  expect(await counting(() => write(v4).then(() => write(v6)))).toEqual({})
  for (const family of FAMILIES) await a.call('protect', PREFIX[family], true)
  expect(await counting(() => write(v4).then(() => write(v6)))).toEqual({ ingress4: 1, ingress6: 1 })
  tun.stdin.end()
  await once(tun, 'exit')
  expect(await a.call('check')).toBe(0)
  await a.call('devices', ['und0'])
})

it('goes on without the agent, is adopted with what it protects, and follows a device that is made again', async () => {
  await a.call('protect', PREFIX[4], true)
  await a.call('protect', PREFIX[6], true)
  await a.end('SIGKILL')
  a = new Peer(A, SCRIPT)
  for (const family of FAMILIES) await a.call('listen', POD_A[family], PORT)
  for (const family of FAMILIES) expect(await arrive(b, a, POD_B[family], POD_A[family])).toBe(0)
  expect(await a.call('start', options, ['und0'])).toEqual([PREFIX[4], PREFIX[6]])
  expect(await a.call('check')).toBe(0)
  // Counted while nobody was there.
  expect((await counts())['ingress4']).toBeGreaterThanOrEqual(10)
  for (const family of FAMILIES) expect(await arrive(b, a, POD_B[family], POD_A[family])).toBe(0)

  inA('ip', 'link', 'delete', 'und0')
  expect(await a.call('check')).toBe(0)
  link()
  for (const family of FAMILIES) await works(family)
  expect(await a.call('check')).toBe(1)
  expect(await a.call('check')).toBe(0)
  for (const family of FAMILIES) {
    expect(await counting(() => arrive(b, a, POD_B[family], POD_A[family]))).toEqual({ [`ingress${family}`]: 10 })
  }
  expect(readdirSync(join(bpffs, 'test', 'guard_links'))).toHaveLength(2)
})

it('stays on a device that nobody names for a moment, and leaves it for another that is named', async () => {
  await a.call('devices', [])
  expect(await a.call('check')).toBe(0)
  expect(await counting(() => arrive(b, a, POD_B[4], POD_A[4]))).toEqual({ ingress4: 10 })
  await a.call('devices', ['lo'])
  await a.call('check').catch(() => undefined)
  expect(await arrive(b, a, POD_B[4], POD_A[4])).toBe(10)
  await a.call('devices', ['und0'])
  expect(await a.call('check')).toBe(1)
  expect(await counting(() => arrive(b, a, POD_B[4], POD_A[4]))).toEqual({ ingress4: 10 })
})

it('is put on by a filter where the kernel has no tcx, found and mended there', async () => {
  await a.call('stop')
  await a.call('cleanup', options)
  expect(readdirSync(bpffs).filter((name) => !name.endsWith('.debug'))).toEqual([])
  for (const family of FAMILIES) expect(await arrive(b, a, POD_B[family], POD_A[family])).toBe(10)
  // The mark of an earlier run makes it a filter here too.
  const index = /^(\d+):/.exec(inA('ip', '-o', 'link', 'show', 'und0'))?.[1] ?? ''
  const folder = join(bpffs, 'test', 'guard_links')
  for (const direction of ['ingress', 'egress'])
    mkdirSync(join(folder, `${index}-${direction}-tc`), { recursive: true })
  expect(await a.call('start', options, ['und0'])).toEqual([])
  await a.call('protect', PREFIX[4], true)
  expect(inA('tc', 'filter', 'show', 'dev', 'und0', 'ingress')).toContain('ingress_frame')
  expect(await counting(() => arrive(b, a, POD_B[4], POD_A[4]))).toEqual({ ingress4: 10 })
  expect(await counting(() => arrive(a, b, POD_A[4], POD_B[4]))).toEqual({ egress4: 10 })
  expect(await a.call('check')).toBe(0)
  inA('tc', 'qdisc', 'delete', 'dev', 'und0', 'clsact')
  expect(await arrive(b, a, POD_B[4], POD_A[4])).toBe(10)
  expect(await a.call('check')).toBe(1)
  expect(await counting(() => arrive(b, a, POD_B[4], POD_A[4]))).toEqual({ ingress4: 10 })
  await a.call('stop')
  await a.call('cleanup', options)
  expect(inA('tc', 'filter', 'show', 'dev', 'und0', 'ingress')).toBe('')
  expect(existsSync(join(bpffs, 'test'))).toBe(false)
  expect(await arrive(b, a, POD_B[4], POD_A[4])).toBe(10)
})

describe('what a packet is', () => {
  const native = loadNative()
  const SKB_MARK = 8
  const maps = Object.fromEntries<number>([])
  let programs: Readonly<Record<string, number>> = {}
  beforeAll(() => {
    const loaded = native.bpfObjectLoad(OBJECT, {})
    programs = loaded.programs
    for (const name of GUARD_MAPS) maps[name] = loaded.maps[name] ?? -1
    for (const text of ['10.92.2.0/24', '10.92.0.2/32', 'fd00:92:2::/64', 'fd00:92::2/128', '10.92.2.7/32']) {
      const prefix = parseCidr(text)
      native.bpfMapUpdate(maps[`guard_v${prefix.ip.family}`] ?? -1, encodeKey(prefix), encodeValue(prefix))
    }
    const settings = encodeGuardSettings({
      ports: [51871],
      allowFwmark: MARK,
      mask: 0x1f00,
      // The list is full, and those that tests ask for are the last of it.
      bypass: [
        ...Array.from({ length: MAX_FLOWS - 2 }, (_, i) => ({ cidr: parseCidr(`10.93.${i}.0/24`) })),
        { cidr: parseCidr('10.92.0.2/32'), protocol: 'tcp', port: 6443 },
        { cidr: parseCidr('fd00:92:2:0:8000::/65') },
      ],
    })
    native.bpfMapUpdate(maps['guard_settings'] ?? -1, new Uint8Array(4), settings)
  })
  afterAll(() => {
    for (const fd of [...Object.values(programs), ...Object.values(maps)]) native.close(fd)
  })
  const verdict = (name: string, frame: Uint8Array, mark = 0): string => {
    const context = new Uint8Array(192)
    new DataView(context.buffer).setUint32(SKB_MARK, mark, true)
    const { returnValue } = native.bpfProgTestRun(programs[name] ?? -1, frame, context, 1)
    return returnValue === 2 ? 'drop' : returnValue === 0xffffffff ? 'pass' : `${returnValue}`
  }
  const P4 = '10.92.2.9'
  const P6 = 'fd00:92:2::9'
  const ext = (...extensions: { type: number; body: Uint8Array }[]): Uint8Array =>
    ethernet(ETH_IPV6, ipv6({ from: P6, to: POD_A[6], protocol: 17, payload: udp(1, 2), extensions }))
  const neighbour = (from: string, to: string, type: number, hopLimit: number): Uint8Array =>
    ethernet(ETH_IPV6, ipv6({ from, to, protocol: 58, payload: icmp(type, 0, [0, 0, 0, 0]), hopLimit }))
  const later4 = (from: string, to: string, protocol = 17): Uint8Array =>
    ethernet(ETH_IPV4, ipv4({ from, to, protocol, payload: udp(51871, 51871), fragmentOffset: 1480 }))

  it.each<[string, string, Uint8Array, string, number?]>([
    ['from a protected pod', 'ingress_frame', packet(P4, POD_A[4], 17, udp(1, 2)), 'drop'],
    ['to a protected pod', 'egress_frame', packet(POD_A[6], P6, 6, tcp(1, 2, 2)), 'drop'],
    ['to a protected pod, coming in', 'ingress_frame', packet(POD_A[4], P4, 17, udp(1, 2)), 'pass'],
    ['from a protected pod, going out', 'egress_frame', packet(P4, POD_A[4], 17, udp(1, 2)), 'pass'],
    ['of a pod to the port of WireGuard', 'ingress_frame', packet(P4, POD_A[4], 17, udp(51871, 51871)), 'drop'],
    [
      'in a later fragment behind extension headers',
      'ingress_frame',
      ext(destinationOptions, fragmentHeader(1, 1480, false)),
      'drop',
    ],
    ['ARP', 'ingress_frame', ethernet(ETH_ARP, new Uint8Array(28)), 'pass'],
    ['of no IP version', 'ingress_frame', ethernet(ETH_IPV4, new Uint8Array(40)), 'pass'],
    [
      'IPv4 under the type of IPv6',
      'ingress_frame',
      ethernet(ETH_IPV6, packet(P4, POD_A[4], 17, udp(1, 2, new Uint8Array(40))).slice(14)),
      'drop',
    ],
    ['neighbour solicitation', 'ingress_frame', neighbour('fd00:92::2', 'ff02::1:ff00:1', 135, 255), 'pass'],
    ['neighbour advertisement', 'egress_frame', neighbour('fd00:92::1', 'fd00:92::2', 136, 255), 'pass'],
    ['neighbour solicitation from afar', 'ingress_frame', neighbour('fd00:92::2', 'fd00:92::1', 135, 254), 'drop'],
    ['echo with hop limit 255', 'ingress_frame', neighbour('fd00:92::2', 'fd00:92::1', 128, 255), 'drop'],
    ['WireGuard from a node', 'ingress_frame', packet(NODE_B[4], NODE_A[4], 17, udp(4, 51871)), 'pass'],
    ['WireGuard from a node, IPv6', 'ingress_frame', packet(NODE_B[6], NODE_A[6], 17, udp(4, 51871)), 'pass'],
    ['of a node to another port', 'ingress_frame', packet(NODE_B[4], NODE_A[4], 17, udp(51871, 4)), 'drop'],
    ['TCP to that port', 'ingress_frame', packet(NODE_B[4], NODE_A[4], 6, tcp(51871, 51871, 2)), 'drop'],
    ['WireGuard to a node', 'egress_frame', packet(NODE_A[4], NODE_B[4], 17, udp(51871, 9)), 'pass', MARK],
    [
      'the same with more marks',
      'egress_frame',
      packet(NODE_A[4], NODE_B[4], 17, udp(51871, 9)),
      'pass',
      MARK | 0x10005,
    ],
    ['the same without the mark', 'egress_frame', packet(NODE_A[4], NODE_B[4], 17, udp(51871, 9)), 'drop'],
    ['marked, from another port', 'egress_frame', packet(NODE_A[4], NODE_B[4], 17, udp(9, 51871)), 'drop', MARK],
    ['a later fragment of WireGuard', 'egress_frame', later4(NODE_A[4], NODE_B[4]), 'pass', MARK],
    ['a later fragment of a node', 'egress_frame', later4(NODE_A[4], NODE_B[4]), 'drop'],
    ['a later fragment of WireGuard from a node', 'ingress_frame', later4(NODE_B[4], NODE_A[4]), 'pass'],
    ['a later fragment of TCP from a node', 'ingress_frame', later4(NODE_B[4], NODE_A[4], 6), 'drop'],
    ['a later fragment of a pod', 'ingress_frame', later4(P4, POD_A[4]), 'drop'],
    ['round the seal by port', 'egress_frame', packet(NODE_A[4], NODE_B[4], 6, tcp(1, 6443, 2)), 'pass'],
    ['its answer', 'ingress_frame', packet(NODE_B[4], NODE_A[4], 6, tcp(6443, 1, 2)), 'pass'],
    ['another port', 'egress_frame', packet(NODE_A[4], NODE_B[4], 6, tcp(6443, 1, 2)), 'drop'],
    ['a later fragment of it', 'ingress_frame', later4(NODE_B[4], NODE_A[4], 6), 'drop'],
    ['round the seal by prefix', 'egress_frame', packet(POD_A[6], 'fd00:92:2:0:8000::1', 17, udp(1, 2)), 'pass'],
    ['beside that prefix', 'egress_frame', packet(POD_A[6], 'fd00:92:2:0:7fff::1', 17, udp(1, 2)), 'drop'],
    ['bare, to a protected pod', 'egress_packet', packet(POD_A[4], P4, 17, udp(1, 2)).slice(14), 'drop'],
    ['bare, from a protected pod', 'ingress_packet', packet(P6, POD_A[6], 17, udp(1, 2)).slice(14), 'drop'],
    ['bare, of others', 'egress_packet', packet(POD_A[4], '10.92.3.1', 17, udp(1, 2)).slice(14), 'pass'],
  ])('%s (%s)', (_what, name, frame, wanted, mark) => {
    expect(verdict(name, frame, mark)).toBe(wanted)
  })
})

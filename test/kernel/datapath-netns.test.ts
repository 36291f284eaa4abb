import { fileURLToPath } from 'node:url'
import { spawnSync } from 'node:child_process'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { KernelRow } from '../../src/bpf/layouts.ts'
import type { DatapathConfig, EndpointState } from '../../src/datapath/ports.ts'
import { inside, Peer, run } from '../support/datapath/in-namespace.ts'
import { BAD, FREE, GOOD, POD, Topology } from '../support/datapath/topology.ts'
import { ETH_IPV4, ETH_IPV6, ethernet, ipv4, ipv6, udp } from '../support/frames.ts'

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const OBJECT = here('../../build/datapath.o')
const HOST_PEER = here('../support/datapath/host-peer.ts')
const POD_PEER = here('../support/datapath/pod-peer.ts')
const PING = here('../support/datapath/ping.py')
const SEND_FRAMES = here('../support/datapath/send-frames.py')

const ID = 300
const FREE_ID = 301
const PROXY_PORT = 10053
const DENIED_MS = 400
const ANSWERED_MS = 3000
const FAMILIES = [4, 6] as const

const allow = (label: number, protocol = 0, port = 0): KernelRow => ({
  label,
  protocol,
  port,
  portBits: port === 0 ? 0 : 16,
  verdict: 'allow',
})
const redirect = (protocol: number): KernelRow => ({ ...allow(0, protocol, 53), verdict: 'redirect' })
const NAME = 0x01000001
/** What the tests begin with: GOOD may be reached, port 53 goes to the proxy, all else is denied. */
const ROWS = [allow(NAME), redirect(6), redirect(17)]

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

let net: Topology
let config: DatapathConfig
let host: Peer
let pod: Peer
let free: Peer
let world: Peer
let clean: string

const endpoints = (enforced = true): unknown[] => [
  { id: ID, interface: 'host1', addresses: [POD[4], POD[6]], enforced },
  { id: FREE_ID, interface: 'host2', addresses: [FREE[4], FREE[6]], enforced: false },
]
const drops = async (reason: string, id = ID): Promise<number> => {
  const all = await host.call<{ id: number; reason: string; packets: number }[]>('drops')
  return all.find((one) => one.id === id && one.reason === reason)?.packets ?? 0
}
const ping = (from: string, to: string, count = 3, payload = 0): number =>
  Number(run(...inside(net.namespace(from), 'python3', PING, to, String(count), '20', String(payload))))
/** Of kernel objects "kind id", those that still exist. */
const existing = (objects: readonly string[]): string[] =>
  objects.filter((object) => spawnSync('bpftool', [...object.replace(' ', ' show id ').split(' ')]).status === 0)

async function startHost(): Promise<void> {
  host = new Peer(net.namespace('node'), HOST_PEER)
  await host.call('start', config, OBJECT)
}

beforeAll(async () => {
  net = new Topology('dpt')
  clean = net.traces()
  config = {
    bpffs: net.bpffs,
    directory: 'test',
    routeTable: 2004,
    rulePriority: 9,
    eventsPerSecond: 1000,
    maps: { ipcacheEntries: 1024, policyEntries: 256, conntrackEntries: 4096 },
    conntrack: { tcpSeconds: 8000, otherSeconds: 60, synSeconds: 60, closeSeconds: 10 },
  }
  pod = new Peer(net.namespace('pod'), POD_PEER)
  free = new Peer(net.namespace('free'), POD_PEER)
  world = new Peer(net.namespace('world'), POD_PEER)
  for (const family of FAMILIES) {
    for (const port of [53, 80]) {
      await world.call('answerAs', 'good', GOOD[family], port)
      await world.call('answerAs', 'bad', BAD[family], port)
    }
    await pod.call('answerAs', 'pod', POD[family], 8080)
  }
  await startHost()
  await host.call('openProxy', PROXY_PORT)
})

beforeEach(async () => {
  await host.call('apply', endpoints())
  await host.call('rows', ID, ROWS, PROXY_PORT)
  await host.call('identities', [
    [`${GOOD[4]}/32`, NAME],
    [`${GOOD[6]}/128`, NAME],
  ])
})

afterAll(async () => {
  for (const peer of [host, pod, free, world] as (Peer | undefined)[]) await peer?.end()
  ;(net as Topology | undefined)?.remove()
})

describe.each(FAMILIES)('IPv%i', (family) => {
  it('lets TCP, UDP and echo through to what is allowed', async () => {
    expect(await pod.call('askTcp', GOOD[family], 80, ANSWERED_MS)).toBe('good')
    expect(await pod.call('askUdp', GOOD[family], 80, ANSWERED_MS)).toBe('good')
    expect(ping('pod', GOOD[family])).toBe(3)
  })

  it('drops and counts what is not', async () => {
    const before = await drops('policy')
    expect(await pod.call('askTcp', BAD[family], 80, DENIED_MS)).toBe('timeout')
    expect(await pod.call('askUdp', BAD[family], 80, DENIED_MS)).toBe('timeout')
    expect(ping('pod', BAD[family], 1)).toBe(0)
    expect((await drops('policy')) - before).toBeGreaterThanOrEqual(3)
  })

  it('does not touch a pod without policy', async () => {
    expect(await free.call('askTcp', BAD[family], 80, ANSWERED_MS)).toBe('bad')
    expect(await free.call('askUdp', BAD[family], 53, ANSWERED_MS)).toBe('bad')
    expect(ping('free', BAD[family])).toBe(3)
  })

  it('lets answers to inbound connections out', async () => {
    expect(await free.call('askTcp', POD[family], 8080, ANSWERED_MS)).toBe('pod')
    expect(await free.call('askUdp', POD[family], 8080, ANSWERED_MS)).toBe('pod')
    expect(ping('free', POD[family])).toBe(3)
  })

  it('lets an ICMP error out that answers an inbound datagram', async () => {
    expect(await free.call('askUdp', POD[family], 9999, ANSWERED_MS)).toBe('ECONNREFUSED')
  })

  it('carries fragments: an echo larger than the link', () => {
    expect(ping('pod', GOOD[family], 2, 4000)).toBe(2)
    expect(ping('pod', BAD[family], 1, 4000)).toBe(0)
  })

  it('hands DNS to the proxy with its original destination, and the answer comes from there', async () => {
    expect(await pod.call('askUdp', GOOD[family], 53, ANSWERED_MS)).toBe(`proxy ${GOOD[family]} 53`)
    expect(await pod.call('askUdp', BAD[family], 53, ANSWERED_MS)).toBe(`proxy ${BAD[family]} 53`)
    expect(await pod.call('askTcp', BAD[family], 53, ANSWERED_MS)).toBe(`proxy ${BAD[family]} 53`)
  })

  it('stops an established connection when its address is forgotten', async () => {
    await pod.call('hold', GOOD[family], 80)
    expect(await pod.call('askHeld', GOOD[family], 80, ANSWERED_MS)).toBe('good')
    await host.call('forgetIdentities', [`${GOOD[family]}/${family === 4 ? 32 : 128}`])
    expect(await pod.call('askHeld', GOOD[family], 80, DENIED_MS)).toBe('timeout')
  })

  it('finds a neighbour again after its entry was flushed', async () => {
    net.in('pod', 'ip', 'neighbour', 'flush', 'dev', 'eth0')
    net.in('node', 'ip', 'neighbour', 'flush', 'dev', 'host1')
    expect(await pod.call('askTcp', GOOD[family], 80, ANSWERED_MS)).toBe('good')
  })
})

describe('the redirect', () => {
  it.each([
    ['0', '0'],
    ['1', '1'],
    ['2', '2'],
    ['0', '1'],
    ['1', '0'],
  ])('works with rp_filter %s on all and %s on the interface', async (all, device) => {
    net.in('node', 'sysctl', '-qw', `net.ipv4.conf.all.rp_filter=${all}`, `net.ipv4.conf.host1.rp_filter=${device}`)
    expect(await pod.call('askUdp', BAD[4], 53, ANSWERED_MS)).toBe(`proxy ${BAD[4]} 53`)
    expect(await pod.call('askTcp', BAD[4], 53, ANSWERED_MS)).toBe(`proxy ${BAD[4]} 53`)
    net.in('node', 'sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.host1.rp_filter=0')
  })

  it.each(['0', '1', '2'])('works with src_valid_mark and rp_filter %s', async (filter) => {
    const settings = ['all', 'host1'].map((device) => `net.ipv4.conf.${device}`)
    for (const one of settings) net.in('node', 'sysctl', '-qw', `${one}.src_valid_mark=1`, `${one}.rp_filter=${filter}`)
    expect(await pod.call('askUdp', BAD[4], 53, ANSWERED_MS)).toBe(`proxy ${BAD[4]} 53`)
    expect(await pod.call('askTcp', BAD[4], 53, ANSWERED_MS)).toBe(`proxy ${BAD[4]} 53`)
    for (const one of settings) net.in('node', 'sysctl', '-qw', `${one}.src_valid_mark=0`, `${one}.rp_filter=0`)
  })

  it('many connections one after the other, also on the same ports', async () => {
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, i) =>
        pod.call('askTcp', FAMILIES[i % 2] === 4 ? GOOD[4] : BAD[6], 53, ANSWERED_MS),
      ),
    )
    expect(answers.filter((one) => !String(one).startsWith('proxy'))).toEqual([])
  })

  it.each(FAMILIES)('IPv%i: gives the proxy no connection that began past it', async (family) => {
    await pod.call('hold', GOOD[family], 80)
    expect(await pod.call('askHeld', GOOD[family], 80, ANSWERED_MS)).toBe('good')
    await host.call('rows', ID, [{ ...allow(0, 6, 80), verdict: 'redirect' }], PROXY_PORT)
    const before = await drops('no_proxy')
    expect(await pod.call('askHeld', GOOD[family], 80, DENIED_MS)).toBe('timeout')
    expect((await drops('no_proxy')) - before).toBeGreaterThan(0)
    expect(await pod.call('askTcp', GOOD[family], 80, ANSWERED_MS)).toBe(`proxy ${GOOD[family]} 80`)
  })

  it('drops DNS while nobody listens, and everything else goes on', async () => {
    await host.call('closeProxy')
    const before = await drops('no_proxy')
    for (const family of FAMILIES) {
      expect(await pod.call('askUdp', GOOD[family], 53, DENIED_MS)).toBe('timeout')
      expect(await pod.call('askTcp', GOOD[family], 53, DENIED_MS)).toBe('timeout')
      expect(await pod.call('askTcp', GOOD[family], 80, ANSWERED_MS)).toBe('good')
    }
    expect((await drops('no_proxy')) - before).toBeGreaterThanOrEqual(4)
    await host.call('openProxy', PROXY_PORT)
    expect(await pod.call('askUdp', GOOD[4], 53, ANSWERED_MS)).toBe(`proxy ${GOOD[4]} 53`)
  })
})

describe('frames as they come', () => {
  it('drops every frame too short for its headers, and a foreign source', async () => {
    const send = (frames: readonly Uint8Array[]): void => {
      const input = frames.map((frame) => Buffer.from(frame).toString('hex')).join('\n')
      const [command = '', ...args] = inside(net.namespace('pod'), 'python3', SEND_FRAMES, 'eth0')
      expect(spawnSync(command, args, { input, encoding: 'utf8' }).stderr).toBe('')
    }
    const four = ethernet(ETH_IPV4, ipv4({ from: POD[4], to: GOOD[4], protocol: 17, payload: udp(1, 80) }))
    const six = ethernet(ETH_IPV6, ipv6({ from: POD[6], to: GOOD[6], protocol: 17, payload: udp(1, 80) }))
    const short = [four, six].flatMap((frame) =>
      Array.from({ length: frame.length - 15 }, (_, i) => frame.slice(0, 15 + i)),
    )
    const before = await drops('invalid_packet')
    send(short)
    expect((await drops('invalid_packet')) - before).toBe(short.length)
    const foreign = await drops('invalid_source')
    send([
      ethernet(ETH_IPV4, ipv4({ from: FREE[4], to: GOOD[4], protocol: 17, payload: udp(1, 80) })),
      ethernet(ETH_IPV6, ipv6({ from: FREE[6], to: GOOD[6], protocol: 17, payload: udp(1, 80) })),
    ])
    expect((await drops('invalid_source')) - foreign).toBe(2)
  })

  it('wakes the agent for drops, in portions, and leaves it alone without', async () => {
    await pause(600)
    const before = await host.call<{ heard: number; woken: number }>('heard')
    expect(before.heard).toBeGreaterThan(0)
    await pause(600)
    expect(await host.call('heard')).toEqual(before)
    const drop = (): unknown => pod.call('askUdp', BAD[4], 80, 10)
    for (let i = 0; i < 20; i++) await drop()
    await pause(600)
    const after = await host.call<{ heard: number; woken: number }>('heard')
    expect(after.heard - before.heard).toBeGreaterThanOrEqual(20)
    expect(after.woken - before.woken).toBeLessThan(10)
  })
})

describe('life of the agent', () => {
  it('goes on enforcing after the agent was killed, and a new one takes over without losing a packet', async () => {
    await pod.call('hold', GOOD[4], 80)
    await pod.call('startFlood', GOOD[6], 80, 1)
    await pause(200)
    await host.end('SIGKILL')
    expect(await pod.call('askTcp', BAD[4], 80, DENIED_MS)).toBe('timeout')
    expect(await pod.call('askTcp', GOOD[4], 80, ANSWERED_MS)).toBe('good')
    const links = net.in('node', 'find', net.bpffs, '-path', '*links/*')
    for (let i = 0; i < 3; i++) {
      await startHost()
      await host.call('apply', endpoints())
      if (i < 2) await host.end('SIGKILL')
    }
    await host.call('openProxy', PROXY_PORT)
    const { sent, received } = await pod.call<{ sent: number; received: number }>('stopFlood')
    expect(sent).toBeGreaterThan(100)
    expect(received).toBe(sent)
    expect(net.in('node', 'find', net.bpffs, '-path', '*links/*')).toBe(links)
    expect(await pod.call('askHeld', GOOD[4], 80, ANSWERED_MS)).toBe('good')
    expect(await pod.call('askTcp', BAD[4], 80, DENIED_MS)).toBe('timeout')
  })

  it('puts the routing of the redirect right when somebody removes it', async () => {
    net.in('node', 'ip', 'rule', 'delete', 'priority', '9')
    await expect.poll(() => net.in('node', 'ip', 'rule'), { timeout: 2000 }).toContain('lookup 2004')
    net.in('node', 'ip', '-6', 'route', 'flush', 'table', '2004')
    await expect
      .poll(() => net.in('node', 'ip', '-6', 'route', 'show', 'table', '2004'), { timeout: 2000 })
      .toContain('local default dev lo')
    const said = await host.call<{ level: string }[]>('said')
    expect(said.some((one) => one.level === 'warn')).toBe(true)
  })

  it('finds an interface that went away and came back', async () => {
    const state = async (): Promise<EndpointState | undefined> =>
      (await host.call<EndpointState[]>('states')).find((one) => one.id === ID)
    const before = await state()
    net.in('node', 'ip', 'link', 'delete', 'host1')
    await expect.poll(async () => (await state())?.attached, { timeout: 1000 }).toBe(false)
    net.addPod('pod', 1)
    await expect.poll(async () => (await state())?.attached, { timeout: 1000 }).toBe(true)
    expect((await state())?.ifindex).not.toBe(before?.ifindex)
    expect(await pod.call('askTcp', GOOD[4], 80, ANSWERED_MS)).toBe('good')
    expect(await pod.call('askTcp', BAD[6], 80, DENIED_MS)).toBe('timeout')
  })

  it('lets an endpoint go that is no longer in the list, and takes it up again', async () => {
    await host.call('apply', endpoints().slice(1))
    expect(await pod.call('askTcp', BAD[4], 80, ANSWERED_MS)).toBe('bad')
    expect(await drops('policy')).toBe(0)
    await host.call('apply', endpoints())
    expect(await pod.call('askTcp', BAD[4], 80, DENIED_MS)).toBe('timeout')
  })

  it('takes an endpoint up again right after it let it go', async () => {
    for (let i = 0; i < 5; i++) {
      await host.call('apply', endpoints().slice(1))
      await host.call('apply', endpoints())
    }
    expect(await pod.call('askUdp', BAD[4], 53, ANSWERED_MS)).toBe(`proxy ${BAD[4]} 53`)
  })

  it('lifts and sets enforcement', async () => {
    await host.call('apply', endpoints(false))
    expect(await pod.call('askTcp', BAD[4], 80, ANSWERED_MS)).toBe('bad')
    await host.call('apply', endpoints(true))
    expect(await pod.call('askTcp', BAD[4], 80, DENIED_MS)).toBe('timeout')
  })

  it('refuses a pinned map of another layout and changes nothing', async () => {
    await host.call('stop')
    const pin = `${net.bpffs}/test/lxc`
    run('mv', pin, `${net.bpffs}/kept`)
    const wrong = ['type', 'hash', 'key', '4', 'value', '4', 'entries', '1', 'name', 'wrong']
    run('bpftool', 'map', 'create', pin, ...wrong)
    await expect(host.call('start', config, OBJECT)).rejects.toMatchObject({
      code: 'SEKISHO_DATAPATH_LAYOUT',
      hint: expect.stringContaining('sekisho cleanup') as string,
    })
    expect(await pod.call('askTcp', BAD[4], 80, DENIED_MS)).toBe('timeout')
    expect(await pod.call('askTcp', GOOD[4], 80, ANSWERED_MS)).toBe('good')
    run('rm', pin)
    run('mv', `${net.bpffs}/kept`, pin)
    await host.call('start', config, OBJECT)
  })

  it('cleans up to the last object, twice without harm', async () => {
    await host.call('stop')
    expect(net.traces()).not.toBe(clean)
    const objects = net.objects('test')
    expect(objects.filter((one) => one.startsWith('map'))).toHaveLength(15)
    expect(objects.filter((one) => one.startsWith('link'))).toHaveLength(4)
    expect(existing(objects)).toEqual(objects)
    await host.call('cleanup', config)
    // The kernel frees what nobody holds any more after a grace period.
    await expect.poll(() => existing(objects), { timeout: 5000 }).toEqual([])
    expect(net.traces()).toBe(clean)
    await host.call('cleanup', config)
    expect(net.traces()).toBe(clean)
    expect(await pod.call('askTcp', BAD[4], 80, ANSWERED_MS)).toBe('bad')
    await startHost()
  })
})

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Announcement } from '../../src/wg/pair.ts'
import { decodeProbe, encodeAnswer, encodeAsk, PROBE_BYTES, type Answer, type Ask } from '../../src/wg/probe/codec.ts'
import type { ProberCounters } from '../../src/wg/probe/counters.ts'
import type { ProbeResult } from '../../src/wg/seams.ts'
import type { Slot } from '../../src/wg/slots.ts'
import { inside, Peer, run } from '../support/datapath/in-namespace.ts'
import { ETH_IPV4, ETH_IPV6, ethernet, fragmentHeader, ipv4, ipv6, tcp, udp } from '../support/frames.ts'

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const SCRIPT = here('../support/wg/probe-peer.ts')
const SEND_FRAMES = here('../support/datapath/send-frames.py')
const A = `prbpa${process.pid}`
const B = `prbpb${process.pid}`
const PORT = 51873
const OWN = { [A]: ['10.93.1.1', 'fd00:93:1::1'], [B]: ['10.93.2.1', 'fd00:93:2::1'] } as const
const DEVICES = ['slot0', 'slot1'] as const
const FAMILIES = [4, 6] as const

const said: Announcement = { sequence: 7.5, mode: 'active', leaving: false, ack: -1, egress: 1, drain: null }
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

let a: Peer
let b: Peer

/** Both ends, each with the probe addresses, and a routing table for what leaves by the device. */
function slot(number: Slot, mtu = 1400): void {
  const device = DEVICES[number]
  run(...inside(A, 'ip', 'link', 'add', device, 'type', 'veth', 'peer', 'name', device, 'netns', B))
  for (const name of [A, B]) {
    const at = (...command: string[]): string => run(...inside(name, ...command))
    const other = name === A ? B : A
    at('ip', 'link', 'set', device, 'mtu', String(mtu), 'up')
    at('ip', 'address', 'add', `${OWN[name]?.[0]}/32`, 'dev', device)
    at('ip', 'address', 'add', `${OWN[name]?.[1]}/128`, 'dev', device, 'nodad')
    at('ip', 'route', 'replace', `${OWN[other]?.[0]}/32`, 'dev', device, 'scope', 'link', 'table', String(100 + number))
    at('ip', '-6', 'route', 'replace', `${OWN[other]?.[1]}/128`, 'dev', device, 'table', String(100 + number))
  }
}

function pair(name: string, number: Slot): void {
  run(
    ...inside(
      A,
      'ip',
      'link',
      'add',
      `${name}${number}`,
      'type',
      'veth',
      'peer',
      'name',
      `${name}${number}`,
      'netns',
      B,
    ),
  )
  for (const where of [A, B]) {
    // No neighbour discovery, no listener reports: what is counted is what is sent.
    run(...inside(where, 'sysctl', '-qw', `net.ipv6.conf.${name}${number}.disable_ipv6=1`))
    run(...inside(where, 'ip', 'link', 'set', `${name}${number}`, 'up'))
  }
}

beforeAll(() => {
  for (const name of [A, B]) {
    run('ip', 'netns', 'add', name)
    const at = (...command: string[]): string => run(...inside(name, ...command))
    at('ip', 'link', 'set', 'lo', 'up')
    for (const which of ['all', 'default']) {
      at('sysctl', '-qw', `net.ipv4.conf.${which}.rp_filter=0`, `net.ipv4.conf.${which}.arp_ignore=1`)
    }
    for (const number of [0, 1]) {
      for (const family of ['-4', '-6'])
        at('ip', family, 'rule', 'add', 'pref', '80', 'oif', `slot${number}`, 'lookup', String(100 + number))
    }
  }
  for (const number of [0, 1] as const) slot(number)
  run(...inside(B, 'ip', 'address', 'add', '10.93.2.66/32', 'dev', 'lo'))
})

afterAll(() => {
  for (const name of [A, B]) spawnSync('ip', ['netns', 'delete', name])
})

beforeEach(() => {
  a = new Peer(A, SCRIPT)
  b = new Peer(B, SCRIPT)
})
afterEach(async () => {
  await a.end()
  await b.end()
})

const startA = async (uid = 'b', addresses: readonly string[] = OWN[B] ?? []): Promise<void> => {
  await a.call('start', DEVICES, PORT, OWN[A])
  await a.call('targets', [{ uid, addresses }])
}
const startB = async (): Promise<void> => {
  await b.call('start', DEVICES, PORT, OWN[B])
  await b.call('targets', [{ uid: 'a', addresses: OWN[A] }])
  await b.call('announce', { a: said })
}
/** Asks and gives what came of it. */
async function ask(number: Slot, fullSize = false): Promise<ProbeResult | undefined> {
  await a.call('ask', 'b', number, fullSize)
  const deadline = performance.now() + 3000
  while (performance.now() < deadline) {
    const [result] = await a.call<ProbeResult[]>('results')
    if (result !== undefined) return result
    await pause(5)
  }
  return undefined
}
/** The links may need a moment. */
async function answered(number: Slot): Promise<ProbeResult | undefined> {
  for (let i = 0; i < 4; i++) if ((await ask(number))?.answered === true) break
  return ask(number)
}
const counters = (of: Peer): Promise<ProberCounters> => of.call('counters')

describe('a peer that answers', () => {
  it('is heard through each slot, in both families at once, with what it says of itself', async () => {
    await startA()
    await startB()
    for (const number of [0, 1] as const) {
      const result = await answered(number)
      expect(result).toMatchObject({ uid: 'b', slot: number, answered: true, announcement: said })
      // Its waiting for a turn is not counted.
      expect(result?.answered === true ? result.rttMs : -1).toBeLessThan(50)
    }
    const { replies } = await counters(b)
    await ask(0)
    expect((await counters(b)).replies - replies).toBe(2)
    expect((await counters(b)).dropped).toEqual((await counters(a)).dropped)
  })

  it.each([...FAMILIES])('that has IPv%i only is asked by that', async (family) => {
    const address = OWN[B]?.[family === 4 ? 0 : 1] ?? ''
    await startA('b', [address])
    await startB()
    expect(await answered(1)).toMatchObject({ answered: true })
    const before = await counters(b)
    await ask(1)
    expect((await counters(b)).replies - before.replies).toBe(1)
  })

  it.each([...FAMILIES])('is lost when IPv%i alone does not get through', async (family) => {
    await startA()
    await startB()
    expect(await answered(0)).toMatchObject({ answered: true })
    const route = ['ip', '-6', 'route', 'replace', `${OWN[A]?.[1]}/128`, 'table', '100']
    // Strict reverse path filtering: where IPv4 is lost while IPv6 is not.
    if (family === 4) run(...inside(B, 'sysctl', '-qw', 'net.ipv4.conf.slot0.rp_filter=1'))
    else run(...inside(B, ...route, 'dev', 'lo'))
    expect(await ask(0)).toEqual({ uid: 'b', slot: 0, answered: false })
    if (family === 4) run(...inside(B, 'sysctl', '-qw', 'net.ipv4.conf.slot0.rp_filter=0'))
    else run(...inside(B, ...route, 'dev', 'slot0'))
    expect(await answered(0)).toMatchObject({ answered: true })
  })

  it('is not there: lost after a second', async () => {
    await startA()
    const began = performance.now()
    expect(await ask(0)).toEqual({ uid: 'b', slot: 0, answered: false })
    expect(performance.now() - began).toBeGreaterThan(950)
    expect(await counters(a)).toMatchObject({ asked: 1, answered: 0, lost: 1 })
  })

  it('gives none to those it does not know, none without an announcement, and not too many', async () => {
    await startA()
    await startB()
    await b.call('targets', [{ uid: 'x', addresses: ['10.93.9.9'] }])
    expect(await ask(0)).toMatchObject({ answered: false })
    expect((await counters(b)).dropped.unknown).toBe(2)
    await b.call('targets', [{ uid: 'a', addresses: OWN[A] }])
    await b.call('announce', {})
    expect(await ask(0)).toMatchObject({ answered: false })
    expect(await counters(b)).toMatchObject({ replies: 0, dropped: { unknown: 4 } })
    await b.call('announce', { a: said })
    await a.call('targets', [{ uid: 'b', addresses: [OWN[B]?.[0] ?? ''] }])
    for (let i = 0; i < 100; i++) await a.call('ask', 'b', 0)
    await pause(1300)
    const { replies, dropped } = await counters(b)
    expect(replies + dropped.rate).toBe(100)
    expect(replies).toBeGreaterThanOrEqual(40)
    expect(replies).toBeLessThan(80)
    const results = await a.call<ProbeResult[]>('results')
    expect(results.filter((one) => one.answered)).toHaveLength(replies)
    expect(results).toHaveLength(100)
  })
})

describe('a full-size probe', () => {
  it('gets through where the MTU is what we think, and is lost where it is less, on either way', async () => {
    await startA()
    await startB()
    expect(await answered(0)).toMatchObject({ answered: true })
    expect(await ask(0, true)).toMatchObject({ answered: true })
    // The far end takes less than we send.
    run(...inside(B, 'ip', 'link', 'set', 'slot0', 'mtu', '1300'))
    expect(await ask(0)).toMatchObject({ answered: true })
    expect(await ask(0, true)).toMatchObject({ answered: false })
    run(...inside(B, 'ip', 'link', 'set', 'slot0', 'mtu', '1400'))
    expect(await ask(0, true)).toMatchObject({ answered: true })
    // Our own device takes less: told at once.
    await a.call('mtu', 1500)
    const began = performance.now()
    expect(await ask(0, true)).toMatchObject({ answered: false })
    expect(performance.now() - began).toBeLessThan(800)
    expect((await counters(a)).sendErrors).toBe(2)
  })
})

describe('a forged or late answer', () => {
  const b0 = OWN[B]?.[0] ?? ''
  const a0 = OWN[A]?.[0] ?? ''
  beforeEach(async () => {
    await startA('b', [b0])
    await b.call('openRaw', 'right', 'slot0', b0, PORT)
    await b.call('openRaw', 'slot', 'slot1', b0, PORT)
    await b.call('openRaw', 'port', 'slot0', b0, PORT + 1)
    await b.call('openRaw', 'source', 'slot0', '10.93.2.66', PORT)
  })

  /** The question of A as B sees it. */
  async function question(fullSize = false): Promise<Ask & { octets: number }> {
    await a.call('ask', 'b', 0, fullSize)
    for (let i = 0; i < 400; i++) {
      const [read] = await b.call<{ hex: string; octets: number; port: number; address: string }[]>('readRaw', 'right')
      if (read !== undefined) {
        expect(read).toMatchObject({ port: PORT, address: a0 })
        const octets = Buffer.from(read.hex, 'hex')
        const decoded = decodeProbe(new DataView(octets.buffer, octets.byteOffset, octets.length), 0, read.octets)
        if (!decoded.ok || decoded.value.kind !== 'ask') throw new Error('no question')
        return { ...decoded.value, octets: read.octets }
      }
      await pause(5)
    }
    throw new Error('no question came')
  }
  const encode = (message: Omit<Answer, 'kind'>): string => {
    const view = new DataView(new ArrayBuffer(PROBE_BYTES))
    encodeAnswer(message, view)
    return Buffer.from(view.buffer).toString('hex')
  }
  const answer = (asked: Ask): Omit<Answer, 'kind'> => ({
    slot: asked.slot,
    high: asked.high,
    low: asked.low,
    heldUs: 0,
    announcement: said,
  })
  const outcome = async (): Promise<ProbeResult | undefined> => {
    for (let i = 0; i < 600; i++) {
      const [result] = await a.call<ProbeResult[]>('results')
      if (result !== undefined) return result
      await pause(5)
    }
    return undefined
  }

  it('is told from a right one, which counts once', async () => {
    const asked = await question()
    expect(asked.octets).toBe(PROBE_BYTES)
    const hex = encode(answer(asked))
    for (let i = 0; i < 2; i++) await b.call('sendRaw', 'right', a0, PORT, hex, PROBE_BYTES)
    expect(await outcome()).toMatchObject({ answered: true, announcement: said })
    await pause(60)
    expect(await a.call('results')).toEqual([])
    expect((await counters(a)).dropped).toMatchObject({ unasked: 1 })
  })

  type Forgery = [what: string, from: string, forge: (asked: Ask) => [hex: string, octets: number], reason: string]
  const forgeries: readonly Forgery[] = [
    [
      'another number',
      'right',
      (asked) => [encode({ ...answer(asked), high: asked.high ^ 1 }), PROBE_BYTES],
      'unasked',
    ],
    ['another slot in it', 'right', (asked) => [encode({ ...answer(asked), slot: 1 }), PROBE_BYTES], 'slot'],
    ['through another slot', 'slot', (asked) => [encode(answer(asked)), PROBE_BYTES], 'slot'],
    [
      'through another slot that it names',
      'slot',
      (asked) => [encode({ ...answer(asked), slot: 1 }), PROBE_BYTES],
      'slot',
    ],
    ['another source', 'source', (asked) => [encode(answer(asked)), PROBE_BYTES], 'source'],
    ['another port', 'port', (asked) => [encode(answer(asked)), PROBE_BYTES], 'port'],
    ['another size', 'right', (asked) => [encode(answer(asked)), PROBE_BYTES + 1], 'size'],
    ['cut short', 'right', (asked) => [encode(answer(asked)), PROBE_BYTES - 1], 'short'],
    ['empty', 'right', () => ['', 0], 'short'],
    ['of another program', 'right', () => ['00', PROBE_BYTES], 'magic'],
  ]

  it('is not believed, and counted by what is wrong with it; the question is lost', async () => {
    const dropped: Record<string, number> = (await counters(a)).dropped
    // All within the second in which an answer counts: they wait for its end together.
    for (const [what, from, forge, reason] of forgeries) {
      const [hex, octets] = forge(await question())
      expect(await b.call('sendRaw', from, a0, PORT, hex, octets), what).toBe(0)
      dropped[reason] = (dropped[reason] ?? 0) + 1
      await expect.poll(async () => (await counters(a)).dropped, { message: what, interval: 5 }).toEqual(dropped)
    }
    const results: ProbeResult[] = []
    for (let i = 0; i < 600 && results.length < forgeries.length; i++) {
      results.push(...(await a.call<ProbeResult[]>('results')))
      await pause(5)
    }
    expect(results).toEqual(forgeries.map(() => ({ uid: 'b', slot: 0, answered: false })))
    expect(await counters(a)).toMatchObject({ asked: forgeries.length, answered: 0, lost: forgeries.length })
  })

  it('a right one does not count when a second is over', async () => {
    const asked = await question()
    await pause(1100)
    await b.call('sendRaw', 'right', a0, PORT, encode(answer(asked)), PROBE_BYTES)
    await pause(60)
    expect(await a.call('results')).toEqual([{ uid: 'b', slot: 0, answered: false }])
    expect(await counters(a)).toMatchObject({ answered: 0, dropped: { unasked: 1 } })
  })

  it('what counts is when it came, also while nothing is read', async () => {
    const first = await question()
    const blocked = a.call('block', 1400)
    await pause(100)
    await b.call('sendRaw', 'right', a0, PORT, encode(answer(first)), PROBE_BYTES)
    await blocked
    expect(await outcome()).toMatchObject({ answered: true })
    const second = await question()
    const again = a.call('block', 1400)
    await pause(1150)
    await b.call('sendRaw', 'right', a0, PORT, encode(answer(second)), PROBE_BYTES)
    await again
    expect(await outcome()).toMatchObject({ answered: false })
    expect((await counters(a)).dropped.unasked).toBe(1)
  })

  it('a forged one does not spoil the right one', async () => {
    const asked = await question(true)
    await b.call('sendRaw', 'source', a0, PORT, encode(answer(asked)), asked.octets)
    await b.call('sendRaw', 'right', a0, PORT, encode(answer(asked)), asked.octets)
    expect(await outcome()).toMatchObject({ answered: true })
  })

  it('a question from nobody, from another port or for another slot gets nothing, and never more than it was', async () => {
    const asked = await question()
    const view = new DataView(new ArrayBuffer(PROBE_BYTES))
    encodeAsk({ slot: 0, high: 1, low: asked.low }, view)
    const hex = Buffer.from(view.buffer).toString('hex')
    await a.call('announce', { b: said })
    await b.call('sendRaw', 'source', a0, PORT, hex, PROBE_BYTES)
    await b.call('sendRaw', 'port', a0, PORT, hex, PROBE_BYTES)
    await b.call('sendRaw', 'slot', a0, PORT, hex, PROBE_BYTES)
    await b.call('sendRaw', 'right', a0, PORT, hex, 200)
    await pause(150)
    expect(await b.call('readRaw', 'source')).toEqual([])
    expect(await b.call('readRaw', 'port')).toEqual([])
    expect(await b.call('readRaw', 'slot')).toEqual([])
    const replies = await b.call<{ octets: number }[]>('readRaw', 'right')
    expect(replies.map((one) => one.octets)).toEqual([200])
    expect(await counters(a)).toMatchObject({ replies: 1, dropped: { unknown: 1, port: 1, slot: 1 } })
  })
})

describe('a device that is made again', () => {
  it('is asked and answered through after slotReplaced, and the other slot goes on', async () => {
    await startA()
    await startB()
    expect(await answered(0)).toMatchObject({ answered: true })
    run(...inside(A, 'ip', 'link', 'delete', 'slot0'))
    expect(await ask(0)).toMatchObject({ answered: false })
    await expect(a.call('slotReplaced', 0)).rejects.toMatchObject({ code: 'SEKISHO_WG_PROBE' })
    expect(await ask(0)).toMatchObject({ answered: false })
    expect(await answered(1)).toMatchObject({ answered: true })
    slot(0)
    expect(await ask(0)).toMatchObject({ answered: false })
    await a.call('slotReplaced', 0)
    await b.call('slotReplaced', 0)
    expect(await answered(0)).toMatchObject({ answered: true })
    expect(await ask(1)).toMatchObject({ answered: true })
  })

  it('is refused at the start when it is not there', async () => {
    await expect(a.call('start', ['slot0', 'none'], PORT, OWN[A])).rejects.toMatchObject({ code: 'SEKISHO_WG_PROBE' })
    // Nothing was left open: the port is free.
    await startA()
  })
})

describe('the counter of a slot', () => {
  const v4 = (payload: Uint8Array, fields: Partial<Parameters<typeof ipv4>[0]> = {}): Uint8Array =>
    ethernet(ETH_IPV4, ipv4({ from: '10.93.2.1', to: '10.93.1.1', protocol: 17, payload, ...fields }))
  const v6 = (payload: Uint8Array, fields: Partial<Parameters<typeof ipv6>[0]> = {}): Uint8Array =>
    ethernet(ETH_IPV6, ipv6({ from: 'fd00:93:2::1', to: 'fd00:93:1::1', protocol: 17, payload, ...fields }))
  function send(device: string, list: readonly Uint8Array[], from = B): void {
    const input = list.map((frame) => Buffer.from(frame).toString('hex')).join('\n')
    const [command = '', ...args] = inside(from, 'python3', SEND_FRAMES, device)
    const ran = spawnSync(command, args, { input, encoding: 'utf8' })
    if (ran.status !== 0) throw new Error(ran.stderr)
  }
  const many = (count: number, frame: Uint8Array): Uint8Array[] => Array.from({ length: count }, () => frame)

  it('counts exactly what comes in, without probes, by slot, and goes on with a new device', async () => {
    for (const number of [0, 1] as const) pair('cnt', number)
    await a.call('count', ['cnt0', 'cnt1'], PORT)
    expect([await a.call('packets', 0), await a.call('packets', 1)]).toEqual([0, 0])
    // More than a socket that is never read has room for.
    send('cnt0', [
      ...many(500, v4(udp(1, 2))),
      ...many(300, v6(udp(1, 2))),
      ...many(50, v6(tcp(1, 2, 2), { protocol: 6 })),
    ])
    expect([await a.call('packets', 0), await a.call('packets', 1)]).toEqual([850, 0])
    expect(await a.call('packets', 0)).toBe(850)
    const probe = udp(PORT, PORT, new Uint8Array(64))
    send('cnt0', [...many(40, v4(probe)), ...many(40, v6(probe)), v4(probe, { options: Uint8Array.of(1, 1, 1, 0) })])
    expect(await a.call('packets', 0)).toBe(850)
    // Not probes: one port only, a fragment, another protocol, behind an extension header.
    send('cnt0', [
      v4(udp(PORT, 9)),
      v4(udp(9, PORT)),
      v6(udp(PORT, 9)),
      v4(probe, { fragmentOffset: 8 }),
      v4(probe, { moreFragments: true }),
      v4(tcp(PORT, PORT, 2), { protocol: 6 }),
      v6(probe, { extensions: [fragmentHeader(1, 0, true)] }),
    ])
    expect(await a.call('packets', 0)).toBe(857)
    // What goes out is not counted, nor ARP.
    send('cnt0', many(5, v4(udp(1, 2))), A)
    send('cnt0', [ethernet(0x0806, new Uint8Array(28))])
    expect(await a.call('packets', 0)).toBe(857)
    run(...inside(A, 'ip', 'link', 'delete', 'cnt0'))
    expect(await a.call('packets', 0)).toBe(857)
    await expect(a.call('counterReplaced', 0)).rejects.toMatchObject({ code: 'SEKISHO_WG_PROBE' })
    pair('cnt', 0)
    await a.call('counterReplaced', 0)
    send('cnt0', many(3, v6(udp(1, 2))))
    send('cnt1', many(2, v4(udp(1, 2))))
    expect([await a.call('packets', 0), await a.call('packets', 1)]).toEqual([860, 2])
    await a.call('stopCounter')
    expect(await a.call('packets', 0)).toBe(860)
  })
})

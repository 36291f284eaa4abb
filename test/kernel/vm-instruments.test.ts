import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { inside } from '../support/datapath/in-namespace.ts'
import { Network } from '../vm/mesh/network.ts'
import { Sniffer } from '../vm/mesh/sniffer.ts'
import { Traffic } from '../vm/mesh/traffic.ts'
import { scanProcess } from '../vm/scan.ts'

const network = new Network(`vmi${process.pid}`, 3)
const [first, second] = [network.node(1), network.node(2)]
const sleep = async (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
let traffic: Traffic
let sniffer: Sniffer

beforeAll(async () => {
  network.build()
  traffic = new Traffic()
  await traffic.late(300)
  sniffer = await Sniffer.open(network.fabric, network.ports, ['10.1.0.0/16', 'fd10::/16'])
  for (const [a, b] of network.pairs()) {
    for (const [from, to] of network.podEnds(a, b)) {
      await traffic.udp('pod', from, to, 100)
      await traffic.tcp('pod', from, to, 50, 1200)
    }
    for (const [from, to] of network.hostEnds(a, b)) await traffic.udp('node', from, to, 25)
  }
  await traffic.start()
  // Neighbours are found with the first packets.
  let lost = Infinity
  for (let i = 0; lost > 0 && i < 20; i++) {
    await sleep(300)
    const { udp, tcp } = await traffic.mark('begin')
    lost = udp.lost + tcp.lost
  }
})

afterAll(async () => {
  await traffic.end()
  await sniffer.end()
  network.remove()
})

const nft = (namespace: string, rules: string): void => {
  execFileSync('nsenter', [...inside(namespace, 'nft', '-f', '-').slice(1)], { input: rules })
}

test('a quiet network loses nothing, on any flow of any pair, and all of it is seen in the clear', async () => {
  await sleep(1000)
  const { udp, tcp, flows } = await traffic.mark('quiet')
  expect(flows).toHaveLength(3 * 2 * (2 + 2 + 2))
  expect(flows.filter(({ sent }) => sent < 20)).toEqual([])
  expect(udp).toMatchObject({ lost: 0, duplicated: 0, errors: 0, received: udp.sent })
  expect(tcp).toMatchObject({ lost: 0, resets: 0, received: tcp.sent })
  // Once as it comes in at a port of the bridge and once as it leaves: each packet of the window at least.
  const { frames, interfaces, sample } = await sniffer.count()
  expect(frames).toBeGreaterThan(2 * udp.sent)
  expect(Object.keys(interfaces)).toEqual(network.ports)
  expect(sample).toMatch(/^[0-9a-f]{80,}$/)
})

test('the sniffer sees only the prefixes it is told', async () => {
  const other = await Sniffer.open(network.fabric, network.ports, ['10.2.0.0/16', '10.1.2.128/25', 'fd10:4::/32'])
  const one = await Sniffer.open(network.fabric, network.ports, ['fd10:1::2/128'])
  await sleep(200)
  expect((await other.count()).frames).toBe(0)
  expect((await one.count()).frames).toBeGreaterThan(0)
  await Promise.all([other.end(), one.end()])
})

test('an outage of one node costs its flows what was sent meanwhile, and the others nothing', async () => {
  await traffic.mark('before')
  network.setLink(second, false)
  await sleep(300)
  network.setLink(second, true)
  await sleep(700)
  const { flows, udp } = await traffic.mark('outage')
  const touches = (label: string): boolean => label.includes(second.namespace) || label.includes(second.pod)
  const touched = flows.filter(({ tcp, label }) => !tcp && touches(label))
  const untouched = flows.filter(({ label }) => !touches(label))
  expect(untouched.length).toBeGreaterThan(0)
  expect(untouched.filter(({ lost }) => lost > 0)).toEqual([])
  // What the node itself sends is in part kept until its neighbours are found again, and then not lost.
  const towards = touched.filter(({ label }) => label.startsWith('pod') && label.includes(`>${second.pod}`))
  expect(towards).toHaveLength(4)
  expect(towards.filter(({ lost }) => lost < 20 || lost > 70)).toEqual([])
  expect(udp.received + udp.lost).toBe(udp.sent)
  expect(Math.max(...touched.map(({ gapMs }) => gapMs))).toBeGreaterThan(280)
  // Only what was sent between the two commands, and until neighbours were found again.
  expect(Math.max(...touched.map(({ lostToMs = 0, lostFromMs = 0 }) => lostToMs - lostFromMs))).toBeLessThan(700)
})

test('a packet that comes twice is counted as doubled, and as received once', async () => {
  await sleep(1500)
  await traffic.mark('before')
  nft(
    first.namespace,
    `table netdev twice { chain c { type filter hook egress device eth0 priority 0; meta l4proto udp ip daddr ${second.podAddresses[0]} dup to eth0; }; }`,
  )
  await sleep(300)
  nft(first.namespace, 'delete table netdev twice')
  const { udp } = await traffic.mark('twice')
  expect(udp.duplicated).toBeGreaterThan(10)
  expect(udp).toMatchObject({ lost: 0, received: udp.sent })
})

test('a connection that is reset is counted, and only that', async () => {
  await traffic.mark('before')
  nft(
    second.namespace,
    `table ip breaks { chain f { type filter hook forward priority 0; ip saddr ${first.podAddresses[0]} tcp dport 1-65535 reject with tcp reset; }; }`,
  )
  await sleep(500)
  const { tcp, flows } = await traffic.stop('reset')
  nft(second.namespace, 'delete table ip breaks')
  const broken = flows.filter(({ resets }) => resets > 0).map(({ label }) => label)
  expect(broken.every((label) => label.includes(first.pod) && label.endsWith('/4'))).toBe(true)
  expect(tcp.resets).toBeGreaterThan(0)
})

test('memory is searched whole: across the chunks that are read at once, behind zeros, and nothing is found that is not there', async () => {
  const secret = randomBytes(32)
  const zeros = Buffer.concat([Buffer.alloc(2), randomBytes(30)])
  // So close to each other that some begin in one chunk and end in the next.
  const room = Buffer.alloc(8 << 20)
  const copies = Math.floor(room.length / 37) - 1
  for (let i = 1; i <= copies; i++) secret.copy(room, i * 37)
  const quiet = Buffer.alloc(1 << 20)
  zeros.copy(quiet, 12_345)
  // Never made of its octets here, so that it is nowhere.
  const absent = secret.toString('hex').replaceAll(/./g, (digit) => (15 - parseInt(digit, 16)).toString(16))
  const found = await scanProcess(process.pid, [
    secret,
    zeros,
    { toString: () => absent } as unknown as Buffer,
    Buffer.from(absent),
  ])
  expect(found.bytes).toBeGreaterThan(room.length)
  expect(found.hits[0]).toBeGreaterThanOrEqual(copies + 1)
  expect(found.hits[1]).toBeGreaterThanOrEqual(2)
  expect(found.hits[2]).toBe(0)
  expect(found.hits[3]).toBeGreaterThan(0)
  expect(room.length + quiet.length).toBe(9 << 20)
})

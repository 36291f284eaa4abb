import { expect, test } from 'vitest'
import { parseCidr, parseIp } from '../../../src/core/ip.ts'
import { FINDING_CODES, findingsOf, type ExpectedNode, type Seen } from '../../../src/wg/observe/findings.ts'
import type { WgDevice, WgPeer } from '../../../src/wg/ports.ts'

const NOW = Date.UTC(2026, 0, 2)
const ago = (seconds: number): bigint => BigInt(NOW - seconds * 1000) * 1_000_000n

const node = (n: number, over: Partial<ExpectedNode> = {}): ExpectedNode => ({
  name: `n${n}`,
  endpoints: [parseIp(`192.0.2.${n}`)],
  prefixes: [parseCidr(`10.1.${n}.0/24`), parseCidr(`fd00:${n}::/64`)],
  publicKey: `key-${n}`,
  ...over,
})
/** As Cilium has it: single pods, and the address of the node. */
const wgPeer = (n: number, over: Partial<WgPeer> = {}): WgPeer => ({
  publicKey: `key-${n}`,
  endpoint: { ip: parseIp(`192.0.2.${n}`), port: 51_871 },
  allowedIps: [`10.1.${n}.7/32`, `fd00:${n}::7/128`, `192.0.2.${n}/32`].map((text) => parseCidr(text)),
  keepalive: 0,
  lastHandshakeNs: ago(50),
  rxBytes: 1000,
  txBytes: 1000,
  ...over,
})

interface Case {
  readonly device?: Partial<WgDevice>
  readonly peers?: readonly WgPeer[]
  readonly nodes?: readonly ExpectedNode[] | null
  readonly sending?: readonly string[]
  readonly mtu?: number
}

function found({ device = {}, peers = [wgPeer(2)], nodes = [node(2)], sending = [], mtu = 1420 }: Case): string[] {
  const seen: Seen = {
    device: { name: 'cilium_wg0', publicKey: 'own', listenPort: 51_871, fwmark: 0x1e00, peers, ...device },
    mtu,
    sending: new Set(sending),
    wallMs: NOW,
  }
  const odd = { listenPort: 51_871, underlayMtu: 1500 }
  return findingsOf(seen, nodes ?? undefined, odd).map(({ code, peer, text }) => `${code} ${peer}| ${text}`)
}

const IDLE = { lastHandshakeNs: 0n, rxBytes: 0, txBytes: 0 }

test.each<[string, Case]>([
  ['all is well', {}],
  ['a node lists its prefixes whole', { peers: [wgPeer(2, { allowedIps: node(2).prefixes })] }],
  ['nobody has sent anything yet', { peers: [wgPeer(2, IDLE)] }],
  ['an old handshake of a pair that is idle', { peers: [wgPeer(2, { lastHandshakeNs: ago(4000) })] }],
  ['a young handshake of one that sends', { sending: ['key-2'] }],
  ['nodes are not known yet', { peers: [wgPeer(2), wgPeer(3)], nodes: null }],
])('nothing is found when %s', (_what, one) => {
  expect(found(one)).toEqual([])
})

const CASES: readonly (readonly [string, Case, readonly string[]])[] = [
  ['no-key', { device: { publicKey: undefined } }, ['no-key | cilium_wg0 has no key']],
  [
    'listen-port',
    { device: { listenPort: 40_000 } },
    ['listen-port | cilium_wg0 listens on UDP 40000, and peers send to 51871'],
  ],
  ['mtu', { mtu: 1000 }, ['mtu | cilium_wg0 has an MTU of 1000: IPv6 needs 1280']],
  ['mtu', { mtu: 1441 }, ['mtu | cilium_wg0 has an MTU of 1441, which does not fit into the 1500 of the underlay']],
  [
    'key-unpublished',
    { nodes: [node(2, { publicKey: undefined })] },
    ['key-unpublished n2| n2: it has published no key'],
  ],
  ['peer-missing', { nodes: [node(2), node(3)] }, ['peer-missing n3| n3: cilium_wg0 has no peer with its key']],
  [
    'key-differs',
    { peers: [wgPeer(2, { publicKey: 'old' })] },
    ['key-differs n2| n2: the device has the key old, and it has published key-2'],
  ],
  [
    'unknown-peer',
    { peers: [wgPeer(2), wgPeer(9)] },
    ['unknown-peer | no node has published the key key-9 (192.0.2.9)'],
  ],
  [
    'peer-missing',
    // What is at its address is another node, by key.
    { peers: [wgPeer(2, { endpoint: wgPeer(3).endpoint })], nodes: [node(2), node(3)] },
    [
      'endpoint-differs n2| n2: the device has 192.0.2.3, and it publishes 192.0.2.2',
      'peer-missing n3| n3: cilium_wg0 has no peer with its key',
    ],
  ],
  [
    'endpoint-differs',
    { peers: [wgPeer(2, { endpoint: { ip: parseIp('192.0.2.77'), port: 51_871 } })] },
    ['endpoint-differs n2| n2: the device has 192.0.2.77, and it publishes 192.0.2.2'],
  ],
  [
    'endpoint-differs',
    { peers: [wgPeer(2, { endpoint: undefined })] },
    ['endpoint-differs n2| n2: the device has no endpoint, and it publishes 192.0.2.2'],
  ],
  [
    'endpoint-shared',
    { peers: [wgPeer(2), wgPeer(9, { endpoint: wgPeer(2).endpoint })] },
    [
      'unknown-peer | no node has published the key key-9 (192.0.2.2)',
      'endpoint-shared n2| 192.0.2.2 port 51871 is the endpoint of n2 and key-9',
    ],
  ],
  [
    'never-handshaken',
    { peers: [wgPeer(2, { ...IDLE, txBytes: 2960 })] },
    ['never-handshaken n2| n2: never a handshake; 2960 octets were sent, nothing arrived'],
  ],
  [
    'never-handshaken',
    { peers: [wgPeer(2, { ...IDLE, keepalive: 25, rxBytes: 148 })] },
    ['never-handshaken n2| n2: never a handshake; 0 octets were sent, 148 octets arrived: our answers do not reach it'],
  ],
  [
    'handshake-stale',
    { peers: [wgPeer(2, { lastHandshakeNs: ago(181) })], sending: ['key-2'] },
    ['handshake-stale n2| n2: the last handshake is 181 s ago, and packets are sent: they are lost'],
  ],
  [
    'allowed-ips-missing',
    { peers: [wgPeer(2, { allowedIps: [parseCidr('10.1.2.7/32')] })] },
    ['allowed-ips-missing n2| n2: nothing of fd00:2::/64 is in its allowed IPs'],
  ],
  [
    'allowed-ips-extra',
    {
      peers: [wgPeer(2, { allowedIps: [...wgPeer(2).allowedIps, parseCidr('10.1.3.9/32')] }), wgPeer(3)],
      nodes: [node(2), node(3)],
    },
    ['allowed-ips-extra n2| n2: its allowed IPs hold 10.1.3.9/32, of n3'],
  ],
  [
    'allowed-ips-extra',
    { peers: [wgPeer(2, { allowedIps: [...wgPeer(2).allowedIps, parseCidr('0.0.0.0/0')] })] },
    ['allowed-ips-extra n2| n2: its allowed IPs hold 0.0.0.0/0, of no node'],
  ],
  [
    'allowed-ips-extra',
    {
      peers: [2, 3, 4, 5, 6, 7, 8].map((n) =>
        wgPeer(n, n === 2 ? { allowedIps: [...wgPeer(2).allowedIps, parseCidr('10.0.0.0/8')] } : {}),
      ),
      nodes: [2, 3, 4, 5, 6, 7, 8].map((n) => node(n)),
    },
    ['allowed-ips-extra n2| n2: its allowed IPs hold 10.0.0.0/8, of n3, n4, n5, n6, n7 and 1 more'],
  ],
]

test.each(CASES)('%s', (_code, one, expected) => {
  expect(found(one)).toEqual(expected)
})

test('every code has a case here, or in the test of the observer', () => {
  const elsewhere = ['no-device', 'unreadable']
  expect(FINDING_CODES.filter((code) => !elsewhere.includes(code) && !CASES.some(([one]) => one === code))).toEqual([])
})

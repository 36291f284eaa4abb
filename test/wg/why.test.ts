import { expect, test } from 'vitest'
import type { WgPeerReport, WgReport, WgTunnelReport } from '../../src/wg/report.ts'
import { REFUSAL_REMEDY } from '../../src/wg/why-refused.ts'
import { WHY_CODES, whyPeer, type WgWhy } from '../../src/wg/why.ts'
import { peer, report, tunnel } from '../support/wg/fake-view.ts'

const FRESH = { handshakeAgeSeconds: undefined, rttMs: undefined, state: 'installed' } as const
const both = (over: Partial<WgTunnelReport>): WgTunnelReport[] => [tunnel(0, over), tunnel(1, over)]
const unproven = (over: Partial<WgTunnelReport>): Partial<WgPeerReport> => ({
  mode: 'off',
  announced: undefined,
  tunnels: both({ ...FRESH, ...over }),
})
const directory = (over: Partial<WgReport['directory']>): Partial<WgReport> => ({
  directory: { ...report().directory, ...over },
})

const WHOLE = 'allow UDP 51871-51872 from 192.0.2.1 to 192.0.2.2 and back'

interface Case {
  readonly what: string
  readonly report?: Partial<WgReport>
  readonly peer?: Partial<WgPeerReport> | null
  readonly name?: string
  readonly verdict: WgWhy['verdict']
  readonly codes: readonly string[]
  /** Of the text of the line with the first of the codes. */
  readonly says?: RegExp
  readonly remedy?: string | RegExp
}

const CASES: readonly Case[] = [
  { what: 'all is well', verdict: 'encrypted', codes: ['encrypted', 'proven'], says: /go through slot 0$/ },
  {
    what: 'strict',
    peer: { mode: 'strict' },
    verdict: 'encrypted',
    codes: ['encrypted'],
    says: /clear text from it is dropped/,
  },
  { what: 'ourselves', peer: null, name: 'n1', verdict: 'unknown', codes: ['self'] },
  {
    what: 'nobody',
    peer: null,
    name: 'n7',
    verdict: 'unknown',
    codes: ['unknown'],
    says: /no node n7 .* domain prod/,
    remedy: /look on n7/,
  },
  {
    what: 'nobody, and no directory',
    report: directory({ lost: 'EIO' }),
    peer: null,
    verdict: 'unknown',
    codes: ['directory-lost', 'unknown'],
    says: /EIO/,
  },
  {
    what: 'nobody yet',
    report: directory({ complete: false }),
    peer: null,
    verdict: 'unknown',
    codes: ['directory-incomplete', 'unknown'],
  },
  {
    what: 'a refused record',
    report: directory({ refused: [{ name: 'n2', reason: 'key-taken', detail: 'n5 has it' }] }),
    peer: null,
    verdict: 'unknown',
    codes: ['refused'],
    says: /the record of n2 is refused: key-taken \(n5 has it\)/,
    remedy: REFUSAL_REMEDY['key-taken'],
  },
  {
    what: 'a newer record that is refused',
    report: directory({ refused: [{ name: 'n2', reason: 'domain', detail: 'test' }] }),
    verdict: 'encrypted',
    codes: ['refused', 'encrypted'],
    says: /what it said before stays/,
    remedy: REFUSAL_REMEDY.domain,
  },
  {
    what: 'no device',
    report: { slots: report().slots.map((slot) => (slot.slot === 1 ? { ...slot, publicKey: undefined } : slot)) },
    peer: { tunnels: [tunnel(0), tunnel(1, { state: 'absent', publicKey: undefined })] },
    verdict: 'encrypted',
    codes: ['no-device'],
    says: /slot 1: kwg1 is missing/,
  },
  {
    what: 'not programmed',
    peer: { mode: 'off', tunnels: both({ state: 'absent', publicKey: undefined, allowedIps: [] }) },
    verdict: 'clear',
    codes: ['absent', 'clear-unproven'],
    says: /slot 0: not in kwg0/,
  },
  {
    what: 'nothing leaves',
    peer: unproven({ txBytes: 0, rxBytes: 0 }),
    verdict: 'clear',
    codes: ['nothing-sent'],
    says: /not one octet has left for 192\.0\.2\.2:51871/,
    remedy: /ip route get 192\.0\.2\.2/,
  },
  {
    what: 'nothing comes back',
    peer: unproven({ txBytes: 2960, rxBytes: 0 }),
    verdict: 'clear',
    codes: ['no-answer'],
    says: /2960 octets went to 192\.0\.2\.2:51871, none came back.*inbound to port 51871.*outbound to port 51871/,
    remedy: WHOLE,
  },
  {
    what: 'we are not heard',
    peer: unproven({ txBytes: 2960, rxBytes: 1480 }),
    verdict: 'clear',
    codes: ['not-heard'],
    says: /arrive \(1480 octets\).*blocked outbound from 192\.0\.2\.1 to 192\.0\.2\.2 port 51871/,
    remedy: 'allow UDP from 192.0.2.1 to 192.0.2.2 port 51871',
  },
  {
    what: 'an old handshake',
    peer: unproven({ handshakeAgeSeconds: 500 }),
    verdict: 'clear',
    codes: ['old-handshake', 'silent'],
    says: /since a key changed; the last one is 500 s ago/,
    remedy: WHOLE,
  },
  {
    what: 'a handshake of the key before',
    report: { slots: report().slots.map((slot) => ({ ...slot, keyAgeSeconds: 5 })) },
    peer: unproven({ handshakeAgeSeconds: 8 }),
    verdict: 'clear',
    codes: ['old-handshake'],
  },
  {
    what: 'handshakes without probes',
    peer: unproven({ handshakeAgeSeconds: 8 }),
    verdict: 'clear',
    codes: ['unprobed', 'silent'],
    says: /handshakes work \(8 s ago\), but no probe/,
    remedy: /rp_filter must be 0 or 2/,
  },
  {
    what: 'probes that are lost since a handshake',
    peer: { tunnels: [tunnel(0, { state: 'suspect', probesLost: 9, handshakeAgeSeconds: 4 }), tunnel(1)] },
    verdict: 'encrypted',
    codes: ['probes-lost'],
    says: /handshakes work \(4 s ago\), but the last 9 probes were lost: UDP passes/,
    remedy: /the path must carry UDP of 1488 octets/,
  },
  {
    what: 'probes that are lost, and no handshake was needed since',
    peer: { tunnels: [tunnel(0, { state: 'suspect', probesLost: 3, handshakeAgeSeconds: 42 }), tunnel(1)] },
    verdict: 'encrypted',
    codes: ['probes-lost'],
    says: /the last 3 probes were lost, and since then no handshake was needed .*42 s ago\): UDP is blocked, or/,
    remedy: WHOLE,
  },
  {
    what: 'a stale handshake',
    peer: { tunnels: [tunnel(0), tunnel(1, { state: 'suspect', handshakeAgeSeconds: 160 })] },
    verdict: 'encrypted',
    codes: ['stale'],
    says: /slot 1: the last handshake is 160 s ago/,
  },
  {
    what: 'a dead tunnel',
    peer: { tunnels: both({ state: 'dead', handshakeAgeSeconds: 900 }) },
    verdict: 'dropped',
    codes: ['fails-closed', 'dead'],
    says: /slot 0, which does not work; none goes in the clear/,
    remedy: `is n2 up? If it is: ${WHOLE}`,
  },
  {
    what: 'one port that is shut',
    peer: { tunnels: [tunnel(0), tunnel(1, { ...FRESH, rxBytes: 0 })] },
    verdict: 'encrypted',
    codes: ['one-port', 'no-answer'],
    says: /port 51871 works and 51872 does not/,
    remedy: WHOLE,
  },
  { what: 'one slot', peer: { tunnels: [tunnel(0)] }, verdict: 'encrypted', codes: ['one-slot'] },
  {
    what: 'allowed IPs that lack',
    peer: { tunnels: [tunnel(0, { allowedIps: ['10.1.2.0/24'] }), tunnel(1)] },
    verdict: 'encrypted',
    codes: ['allowed-ips'],
    says: /slot 0: allowed IPs lack fd00:2::\/64/,
  },
  {
    what: 'a peer behind NAT',
    peer: { tunnels: [tunnel(0, { endpoint: '203.0.113.9:40000' }), tunnel(1)] },
    verdict: 'encrypted',
    codes: ['moved'],
    says: /sends from 203\.0\.113\.9, and publishes 192\.0\.2\.2/,
  },
  {
    what: 'an agent that fell silent',
    peer: { announced: { egress: 0, mode: 'active', ageSeconds: 31 } },
    verdict: 'encrypted',
    codes: ['silent'],
  },
  {
    what: 'a rotation that waits for it',
    report: {
      rotation: {
        ...report().rotation,
        phase: 'draining',
        slot: 1,
        awaited: [
          { why: 'unheard', count: 1, names: ['n2'] },
          { why: 'on-slot', count: 1, names: ['n3'] },
        ],
      },
    },
    verdict: 'encrypted',
    codes: ['awaited', 'rotating'],
    says: /waits for it: it has not said that it left the slot/,
  },
  { what: 'an excused peer', peer: { excused: true }, verdict: 'encrypted', codes: ['excused'] },
  {
    what: 'clear text by choice',
    report: { target: 'off' },
    peer: { mode: 'proven' },
    verdict: 'clear',
    codes: ['clear-wanted', 'proven'],
  },
  {
    what: 'not strict yet',
    report: { target: 'strict' },
    peer: { announced: { egress: 0, mode: 'proven', ageSeconds: 1 } },
    verdict: 'encrypted',
    codes: ['not-strict'],
    says: /n2 says that it is proven/,
  },
  {
    what: 'settings of the host',
    report: { warnings: ['net.ipv4.conf.all.rp_filter is 1'] },
    peer: unproven({ handshakeAgeSeconds: 8 }),
    verdict: 'clear',
    codes: ['host'],
    says: /on this node: net\.ipv4\.conf\.all\.rp_filter is 1/,
  },
]

test.each(CASES)('$what', (one) => {
  const name = one.name ?? 'n2'
  const why = whyPeer(report(one.report), one.peer === null ? undefined : peer(one.peer), name)
  expect(why.verdict).toBe(one.verdict)
  expect(why.lines.map(({ code }) => code)).toEqual(expect.arrayContaining([...one.codes]))
  if (one.says !== undefined) expect(why.lines.find(({ code }) => code === one.codes[0])?.text).toMatch(one.says)
  if (one.remedy !== undefined)
    expect(why.remedies).toContainEqual(typeof one.remedy === 'string' ? one.remedy : expect.stringMatching(one.remedy))
})

test('every code has a case', () => {
  expect(WHY_CODES.filter((code) => !CASES.some(({ codes }) => codes.includes(code)))).toEqual([])
})

test('when all is well nothing is to be done, and nothing is a fault', () => {
  const why = whyPeer(report({ warnings: ['x'] }), peer(), 'n2')
  expect(why.remedies).toEqual([])
  expect(why.lines.map(({ level }) => level)).toEqual(['good', 'good', 'good'])
})

test('the rule names the family, the address and the ports of the pair', () => {
  const over = { ...FRESH, rxBytes: 0 }
  const tunnels = [
    tunnel(0, { ...over, endpoint: '[2001:db8::2]:5000' }),
    tunnel(1, { ...over, endpoint: '[2001:db8::2]:6000' }),
  ]
  const far = peer({ mode: 'off', endpoints: ['2001:db8::2'], tunnels })
  const { remedies } = whyPeer(report({ endpoints: ['192.0.2.1', '2001:db8::1'] }), far, 'n2')
  expect(remedies[0]).toBe(
    'allow UDP from 2001:db8::1 to 2001:db8::2 port 5000,6000, and from 2001:db8::2 to 2001:db8::1 port 51871-51872',
  )
})

test('before the device knows an endpoint, the published address and our ports are named', () => {
  const far = peer(unproven({ txBytes: 0, rxBytes: 0, endpoint: undefined }))
  expect(whyPeer(report(), far, 'n2').remedies).toContain(WHOLE)
})

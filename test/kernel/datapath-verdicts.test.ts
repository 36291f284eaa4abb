import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { CT_IN, CT_OUT, CT_PROXY_REDIRECT, CT_SEEN_NON_SYN, type CtKey, type KernelRow } from '../../src/bpf/layouts.ts'
import { parseIp } from '../../src/core/ip.ts'
import { DatapathBed, DEFAULTS, ENDPOINT, IFINDEX, nowSeconds } from '../support/datapath-bed.ts'
import {
  ACK,
  echo,
  ETH_ARP,
  ETH_IPV4,
  ETH_IPV6,
  ethernet,
  FIN,
  icmp,
  ipv4,
  ipv6,
  packet,
  RST,
  sctp,
  SYN,
  tagged,
  tcp,
  udp,
} from '../support/frames.ts'

const POD = { 4: '10.1.0.5', 6: 'fd00::5' } as const
const FAR = { 4: '198.18.0.7', 6: '2001:db8::7' } as const
const FAMILIES = [4, 6] as const
const FQDN = 0x01000001
const ICMP = { 4: 1, 6: 58 } as const
const ECHO_REQUEST = { 4: 8, 6: 128 } as const
const ECHO_REPLY = { 4: 0, 6: 129 } as const

const row = (
  label: number,
  protocol: number,
  port: number,
  verdict: KernelRow['verdict'] = 'allow',
  portBits?: number,
): KernelRow => ({
  label,
  protocol,
  port,
  portBits: portBits ?? (port === 0 ? 0 : 16),
  verdict,
})
const connection = (family: 4 | 6, sourcePort: number, destinationPort: number, protocol = 6): CtKey => ({
  source: parseIp(POD[family]),
  destination: parseIp(FAR[family]),
  sourcePort,
  destinationPort,
  protocol,
  direction: CT_OUT,
})
const inbound = (family: 4 | 6, sourcePort: number, destinationPort: number, protocol = 6): CtKey => ({
  source: parseIp(FAR[family]),
  destination: parseIp(POD[family]),
  sourcePort,
  destinationPort,
  protocol,
  direction: CT_IN,
})
const out = (family: 4 | 6, protocol: number, payload: Uint8Array): Uint8Array =>
  packet(POD[family], FAR[family], protocol, payload)
const into = (family: 4 | 6, protocol: number, payload: Uint8Array): Uint8Array =>
  packet(FAR[family], POD[family], protocol, payload)

let bed: DatapathBed
beforeAll(() => {
  bed = new DatapathBed()
})
beforeEach(() => {
  bed.reset()
  bed.endpoint([POD[4], POD[6]])
})
afterAll(() => {
  bed.close()
})

describe.each(FAMILIES)('IPv%i: policy', (family) => {
  beforeEach(() => {
    bed.identity(family === 4 ? `${FAR[4]}/32` : `${FAR[6]}/128`, FQDN)
  })

  it('lets through what a row allows and remembers the connection in the layout of Cilium', () => {
    bed.rows(row(FQDN, 6, 443))
    expect(bed.fromPod(out(family, 6, tcp(40000, 443, SYN))).verdict).toBe('next')
    const value = bed.connection(connection(family, 40000, 443))
    expect(value?.bits).toBe(0)
    expect(Math.abs((value?.lifetime ?? 0) - nowSeconds() - DEFAULTS.synSeconds)).toBeLessThanOrEqual(1)
  })

  it('drops, counts and reports what no row allows', () => {
    bed.rows(row(FQDN, 6, 443))
    const frame = out(family, 6, tcp(40000, 80, SYN))
    const run = bed.fromPod(frame)
    expect(run).toMatchObject({ verdict: 'drop', reason: 'policy' })
    expect(run.event).toMatchObject({
      endpointId: ENDPOINT,
      direction: 2,
      family,
      protocol: 6,
      source: parseIp(POD[family]),
      destination: parseIp(FAR[family]),
      sourcePort: 40000,
      destinationPort: 80,
      identity: FQDN,
      length: frame.length,
      ifindex: IFINDEX,
    })
    expect(bed.counters.drops()).toEqual([
      { endpointId: ENDPOINT, reason: 133, direction: 2, packets: 1, bytes: frame.length },
    ])
    expect(bed.connection(connection(family, 40000, 80))).toBeUndefined()
  })

  it('asks policy again for an established connection', () => {
    bed.rows(row(FQDN, 6, 443))
    expect(bed.fromPod(out(family, 6, tcp(40000, 443, SYN))).verdict).toBe('next')
    expect(bed.fromPod(out(family, 6, tcp(40000, 443, ACK))).verdict).toBe('next')
    bed.rows()
    expect(bed.fromPod(out(family, 6, tcp(40000, 443, ACK)))).toMatchObject({ verdict: 'drop', reason: 'policy' })
  })

  it.each([
    ['a deny of the identity', [row(FQDN, 6, 443), row(FQDN, 0, 0, 'deny')], 'next'],
    ['a deny of any identity', [row(FQDN, 6, 443), row(0, 6, 443, 'deny')], 'drop'],
    ['a broader deny of any identity', [row(FQDN, 6, 443), row(0, 0, 0, 'deny')], 'drop'],
    ['a deny of the world', [row(FQDN, 6, 443), row(13, 6, 0, 'deny')], 'drop'],
    ['a deny of the same port', [row(0, 0, 0), row(FQDN, 6, 443, 'deny')], 'drop'],
    ['a deny of another port', [row(0, 0, 0), row(FQDN, 6, 444, 'deny')], 'next'],
    ['a redirect over an allow of any', [row(0, 0, 0), row(FQDN, 6, 443, 'redirect')], 'drop'],
  ] as const)('precedence: %s', (_name, rows, verdict) => {
    // Within one label the longest prefix is found: keeping narrower allows out is the compiler's part.
    bed.rows(...rows)
    expect(bed.fromPod(out(family, 6, tcp(40000, 443, SYN))).verdict).toBe(verdict)
  })

  it.each([
    ['the longer prefix', row(FQDN, 6, 0), row(0, 6, 443, 'deny'), 'drop'],
    ['the longer prefix, though of any identity', row(FQDN, 6, 0, 'deny'), row(0, 6, 443), 'next'],
    ['of equal prefixes the exact identity', row(FQDN, 6, 443), row(0, 6, 443, 'deny'), 'next'],
    ['of equal prefixes the exact identity over its aggregate', row(FQDN, 6, 443, 'deny'), row(13, 6, 443), 'drop'],
    ['of equal prefixes the aggregate over any', row(13, 6, 443, 'deny'), row(0, 6, 443), 'drop'],
  ] as const)('equal precedence: %s decides', (_name, first, second, verdict) => {
    bed.rankedRows({ row: first, precedence: 77 }, { row: second, precedence: 77 })
    expect(bed.fromPod(out(family, 6, tcp(40000, 443, SYN))).verdict).toBe(verdict)
  })

  it('tells a deny from a missing allow', () => {
    bed.rows(row(0, 0, 0, 'deny'))
    expect(bed.fromPod(out(family, 17, udp(1, 2)))).toMatchObject({ verdict: 'drop', reason: 'policy_deny' })
  })

  it.each([
    [FQDN, 13],
    [0x01ffffff, 13],
    [2, 13],
    [9, 13],
    [10, 13],
    [256, 11],
    [65535, 11],
  ])('identity %i is of aggregate %i', (identity, aggregate) => {
    bed.identity(family === 4 ? `${FAR[4]}/32` : `${FAR[6]}/128`, identity)
    bed.rows(row(aggregate, 6, 443))
    expect(bed.fromPod(out(family, 6, tcp(1, 443, SYN))).verdict).toBe('next')
    bed.rows(row(aggregate === 13 ? 11 : 13, 6, 443))
    expect(bed.fromPod(out(family, 6, tcp(1, 443, SYN))).verdict).toBe('drop')
  })

  it.each([1, 3, 4, 6, 8, 255, 65536, 0x02000001])('identity %i is of no aggregate', (identity) => {
    bed.identity(family === 4 ? `${FAR[4]}/32` : `${FAR[6]}/128`, identity)
    bed.rows(row(11, 0, 0), row(13, 0, 0))
    expect(bed.fromPod(out(family, 6, tcp(1, 443, SYN))).verdict).toBe('drop')
    bed.rows(row(identity, 0, 0))
    expect(bed.fromPod(out(family, 6, tcp(1, 443, SYN))).verdict).toBe('next')
  })

  it('takes an address nobody knows for the world of its family', () => {
    const other = family === 4 ? '203.0.113.9' : '2001:db8:1::9'
    bed.rows(row(family === 4 ? 9 : 10, 17, 53))
    expect(bed.fromPod(packet(POD[family], other, 17, udp(1, 53))).verdict).toBe('next')
    bed.rows(row(family === 4 ? 10 : 9, 17, 53))
    expect(bed.fromPod(packet(POD[family], other, 17, udp(1, 53))).verdict).toBe('drop')
  })

  it('takes the identity of the longest prefix', () => {
    bed.identity(family === 4 ? '198.18.0.0/15' : '2001:db8::/32', 0x01000002)
    bed.rows(row(0x01000002, 0, 0))
    expect(bed.fromPod(out(family, 6, tcp(1, 443, SYN))).verdict).toBe('drop')
    const beside = family === 4 ? '198.18.0.8' : '2001:db8::8'
    expect(bed.fromPod(packet(POD[family], beside, 6, tcp(1, 443, SYN))).verdict).toBe('next')
  })

  it('reads port ranges as prefixes', () => {
    bed.rows(row(FQDN, 6, 8192, 'allow', 3))
    for (const [port, verdict] of [
      [8191, 'drop'],
      [8192, 'next'],
      [16383, 'next'],
      [16384, 'drop'],
    ] as const) {
      expect(bed.fromPod(out(family, 6, tcp(1, port, SYN))).verdict).toBe(verdict)
    }
    expect(bed.fromPod(out(family, 17, udp(1, 8192))).verdict).toBe('drop')
  })

  it('knows SCTP, and protocols without ports by protocol alone', () => {
    bed.rows(row(FQDN, 132, 5000), row(FQDN, 47, 0))
    expect(bed.fromPod(out(family, 132, sctp(1, 5000))).verdict).toBe('next')
    expect(bed.fromPod(out(family, 132, sctp(1, 5001))).verdict).toBe('drop')
    expect(bed.fromPod(out(family, 47, new Uint8Array(4))).verdict).toBe('next')
    expect(bed.fromPod(out(family, 50, new Uint8Array(8))).verdict).toBe('drop')
  })

  it('has the type of an ICMP message for its port', () => {
    bed.rows(row(FQDN, ICMP[family], ECHO_REQUEST[family], 'allow', 16))
    expect(bed.fromPod(out(family, ICMP[family], echo(ECHO_REQUEST[family], 77))).verdict).toBe('next')
    expect(bed.connection(connection(family, 77, 0, ICMP[family]))).toBeDefined()
    expect(bed.fromPod(out(family, ICMP[family], echo(ECHO_REPLY[family], 77))).verdict).toBe('drop')
  })

  it('drops what is enforced and has no policy map', () => {
    expect(bed.fromPod(out(family, 6, tcp(1, 443, SYN)))).toMatchObject({ verdict: 'drop', reason: 'no_policy_map' })
  })

  it('drops a source that is not the endpoint, or is one on another interface', () => {
    bed.rows(row(0, 0, 0))
    const foreign = family === 4 ? '10.1.0.6' : 'fd00::6'
    const frame = packet(foreign, FAR[family], 17, udp(1, 53))
    expect(bed.fromPod(frame)).toMatchObject({ verdict: 'drop', reason: 'invalid_source' })
    bed.lxc.set(parseIp(foreign), { ifindex: IFINDEX + 1, endpointId: 301, flags: 0, identity: 1 })
    expect(bed.fromPod(frame)).toMatchObject({ verdict: 'drop', reason: 'invalid_source' })
    bed.lxc.set(parseIp(foreign), { ifindex: IFINDEX, endpointId: ENDPOINT, flags: 0, identity: 1 })
    expect(bed.fromPod(frame).verdict).toBe('next')
  })

  it('drops a redirect while the agent does not listen, and of what cannot be redirected', () => {
    bed.rows(row(0, 0, 0, 'redirect'))
    expect(bed.fromPod(out(family, 17, udp(1, 53)))).toMatchObject({ verdict: 'drop', reason: 'no_proxy', mark: 0 })
    expect(bed.fromPod(out(family, 6, tcp(1, 53, SYN)))).toMatchObject({ verdict: 'drop', reason: 'no_proxy' })
    expect(bed.fromPod(out(family, 6, tcp(1, 53, ACK)))).toMatchObject({ verdict: 'drop', reason: 'no_proxy' })
    expect(bed.fromPod(out(family, 132, sctp(1, 53)))).toMatchObject({ verdict: 'drop', reason: 'proxy_protocol' })
    expect(bed.connection(connection(family, 1, 53, 17))).toBeUndefined()
  })
})

describe.each(FAMILIES)('IPv%i: connections', (family) => {
  it('lets the answer to an inbound connection out, without any row', () => {
    bed.rows()
    const answer = out(family, 6, tcp(80, 40000, SYN | ACK))
    expect(bed.fromPod(answer)).toMatchObject({ verdict: 'drop', reason: 'policy' })
    expect(bed.toPod(into(family, 6, tcp(40000, 80, SYN))).verdict).toBe('next')
    expect(bed.connection(inbound(family, 40000, 80))).toBeDefined()
    expect(bed.fromPod(answer).verdict).toBe('next')
    expect(bed.fromPod(out(family, 6, tcp(81, 40000, SYN | ACK))).verdict).toBe('drop')
  })

  it('lets the answer to a datagram and to an echo request out', () => {
    bed.rows()
    bed.toPod(into(family, 17, udp(5000, 6000)))
    expect(bed.fromPod(out(family, 17, udp(6000, 5000))).verdict).toBe('next')
    expect(bed.fromPod(out(family, 17, udp(6000, 5001))).verdict).toBe('drop')
    bed.toPod(into(family, ICMP[family], echo(ECHO_REQUEST[family], 9)))
    expect(bed.fromPod(out(family, ICMP[family], echo(ECHO_REPLY[family], 9))).verdict).toBe('next')
    expect(bed.fromPod(out(family, ICMP[family], echo(ECHO_REPLY[family], 8))).verdict).toBe('drop')
  })

  it('hands what goes to a redirected port to the agent, whoever spoke first', () => {
    bed.identity(family === 4 ? `${FAR[4]}/32` : `${FAR[6]}/128`, FQDN)
    bed.rows(row(FQDN, 17, 53, 'redirect'))
    // The answer to a query whose own entry was crowded out of the map looks like the first datagram of a stranger.
    bed.toPod(into(family, 17, udp(53, 40000)))
    expect(bed.connection(inbound(family, 53, 40000, 17))).toBeDefined()
    expect(bed.fromPod(out(family, 17, udp(40000, 53)))).toMatchObject({ verdict: 'drop', reason: 'no_proxy' })
    // What no redirect covers is the answer to a datagram as before, without any row.
    bed.toPod(into(family, 17, udp(54, 40000)))
    expect(bed.fromPod(out(family, 17, udp(40000, 54))).verdict).toBe('next')
  })

  it('takes no SYN for an answer', () => {
    bed.rows()
    bed.toPod(into(family, 6, tcp(40000, 80, SYN)))
    expect(bed.fromPod(out(family, 6, tcp(80, 40000, SYN)))).toMatchObject({ verdict: 'drop', reason: 'policy' })
  })

  it('opens no inbound TCP connection by anything but a SYN', () => {
    bed.rows()
    for (const flags of [ACK, SYN | ACK, FIN | ACK, RST, 0]) {
      expect(bed.toPod(into(family, 6, tcp(40000, 80, flags))).verdict).toBe('next')
      expect(bed.connection(inbound(family, 40000, 80))).toBeUndefined()
    }
  })

  it('takes no answer to the pod for a connection to the pod', () => {
    bed.rows(row(0, 17, 53))
    bed.fromPod(out(family, 17, udp(5000, 53)))
    bed.toPod(into(family, 17, udp(53, 5000)))
    expect(bed.connection(inbound(family, 53, 5000, 17))).toBeUndefined()
    bed.rows()
    expect(bed.fromPod(out(family, 17, udp(5000, 53)))).toMatchObject({ verdict: 'drop', reason: 'policy' })
  })

  it('forgets a connection when its lifetime is over', () => {
    bed.rows()
    const key = inbound(family, 40000, 80)
    bed.setConnection(key, { lifetime: nowSeconds() + 100, bits: CT_SEEN_NON_SYN, sourceIdentity: 0 })
    expect(bed.fromPod(out(family, 6, tcp(80, 40000, ACK))).verdict).toBe('next')
    bed.setConnection(key, { lifetime: nowSeconds(), bits: CT_SEEN_NON_SYN, sourceIdentity: 0 })
    expect(bed.fromPod(out(family, 6, tcp(80, 40000, ACK))).verdict).toBe('drop')
  })

  it('remembers TCP longer once it is established, and briefly once both ends have closed', () => {
    bed.rows(row(0, 6, 443))
    const key = connection(family, 40000, 443)
    const left = (): number => (bed.connection(key)?.lifetime ?? 0) - nowSeconds()
    bed.fromPod(out(family, 6, tcp(40000, 443, SYN)))
    bed.toPod(into(family, 6, tcp(443, 40000, SYN | ACK)))
    expect(left()).toBeLessThanOrEqual(DEFAULTS.synSeconds)
    bed.fromPod(out(family, 6, tcp(40000, 443, ACK)))
    expect(left()).toBeGreaterThan(DEFAULTS.tcpSeconds - 3)
    bed.fromPod(out(family, 6, tcp(40000, 443, FIN | ACK)))
    expect(left()).toBeGreaterThan(DEFAULTS.tcpSeconds - 3)
    expect(bed.connection(key)?.bits).toBe(CT_SEEN_NON_SYN | 2)
    bed.toPod(into(family, 6, tcp(443, 40000, FIN | ACK)))
    expect(bed.connection(key)?.bits).toBe(CT_SEEN_NON_SYN | 3)
    expect(left()).toBeLessThanOrEqual(DEFAULTS.closeSeconds)
    bed.setConnection(key, { lifetime: nowSeconds() + 5, bits: CT_SEEN_NON_SYN | 3, sourceIdentity: 0 })
    bed.fromPod(out(family, 6, tcp(40000, 443, ACK)))
    expect(left()).toBeLessThanOrEqual(5)
    bed.fromPod(out(family, 6, tcp(40000, 443, SYN)))
    expect(bed.connection(key)?.bits).toBe(0)
  })

  it('closes at a reset', () => {
    bed.rows(row(0, 6, 443))
    bed.fromPod(out(family, 6, tcp(40000, 443, SYN)))
    bed.toPod(into(family, 6, tcp(443, 40000, RST | ACK)))
    expect(bed.connection(connection(family, 40000, 443))?.bits).toBe(CT_SEEN_NON_SYN | 3)
  })

  it('takes up a TCP connection it has not seen begin, when policy allows it', () => {
    bed.rows(row(0, 6, 443))
    expect(bed.fromPod(out(family, 6, tcp(40000, 443, ACK))).verdict).toBe('next')
    expect(bed.connection(connection(family, 40000, 443))?.bits).toBe(CT_SEEN_NON_SYN)
  })

  it('does not take a connection opened past the agent for one of the agent', () => {
    bed.rows(row(0, 6, 53))
    bed.fromPod(out(family, 6, tcp(40000, 53, SYN)))
    bed.rows(row(0, 6, 53, 'redirect'))
    expect(bed.fromPod(out(family, 6, tcp(40000, 53, ACK)))).toMatchObject({ verdict: 'drop', reason: 'no_proxy' })
    bed.setConnection(connection(family, 40000, 53), {
      lifetime: nowSeconds() + 50,
      bits: CT_PROXY_REDIRECT,
      sourceIdentity: 0,
    })
    expect(bed.fromPod(out(family, 6, tcp(40000, 53, ACK)))).toMatchObject({ verdict: 'drop', reason: 'no_proxy' })
  })
})

describe.each(FAMILIES)('IPv%i: ICMP errors', (family) => {
  const unreachable = (quoted: Uint8Array): Uint8Array =>
    icmp(family === 4 ? 3 : 1, family === 4 ? 3 : 4, [0, 0, 0, 0], quoted.slice(14))
  /** What came in: from FAR to the pod. */
  const quotedUdp = into(family, 17, udp(5000, 6000))

  it('lets out an error about a connection opened to the pod', () => {
    bed.rows()
    expect(bed.fromPod(out(family, ICMP[family], unreachable(quotedUdp)))).toMatchObject({ verdict: 'drop' })
    bed.toPod(quotedUdp)
    expect(bed.fromPod(out(family, ICMP[family], unreachable(quotedUdp))).verdict).toBe('next')
  })

  it('lets out an error about an answer, as long as policy allows the connection', () => {
    bed.rows(row(0, 17, 5000))
    bed.fromPod(out(family, 17, udp(6000, 5000)))
    expect(bed.fromPod(out(family, ICMP[family], unreachable(quotedUdp))).verdict).toBe('next')
    bed.rows()
    expect(bed.fromPod(out(family, ICMP[family], unreachable(quotedUdp))).verdict).toBe('drop')
  })

  it('does not let out an error that goes to somebody else, or quotes a packet to somebody else', () => {
    bed.rows()
    bed.toPod(quotedUdp)
    const elsewhere = family === 4 ? '203.0.113.9' : '2001:db8:1::9'
    expect(bed.fromPod(packet(POD[family], elsewhere, ICMP[family], unreachable(quotedUdp))).verdict).toBe('drop')
    const other = packet(FAR[family], elsewhere, 17, udp(5000, 6000))
    expect(bed.fromPod(out(family, ICMP[family], unreachable(other))).verdict).toBe('drop')
  })

  it('does not let out an error about a connection of another pod', () => {
    bed.rows()
    const other = family === 4 ? '10.1.0.6' : 'fd00::6'
    const about = packet(FAR[family], other, 17, udp(5000, 6000))
    const key = { ...inbound(family, 5000, 6000, 17), destination: parseIp(other) }
    bed.setConnection(key, { lifetime: nowSeconds() + 50, bits: 0, sourceIdentity: 0 })
    expect(bed.fromPod(out(family, ICMP[family], unreachable(about))).verdict).toBe('drop')
  })

  it('reads a quoted TCP header that is cut after 8 octets, as RFC 792 allows', () => {
    bed.rows()
    const syn = into(family, 6, tcp(40000, 80, SYN))
    bed.toPod(syn)
    const cut = syn.slice(0, syn.length - 12)
    expect(bed.fromPod(out(family, ICMP[family], unreachable(cut))).verdict).toBe('next')
    expect(bed.fromPod(out(family, ICMP[family], unreachable(syn.slice(0, syn.length - 13)))).verdict).toBe('drop')
  })

  it('opens no connection by an error', () => {
    bed.rows(row(0, ICMP[family], 0))
    bed.toPod(into(family, ICMP[family], unreachable(out(family, 17, udp(1, 2)))))
    bed.fromPod(out(family, ICMP[family], unreachable(quotedUdp)))
    const next = new Uint8Array(family === 4 ? 14 : 38)
    expect(bed.native.bpfMapNextKey(family === 4 ? bed.maps.ct_any4 : bed.maps.ct_any6, null, next)).toBe(false)
  })
})

describe('the link', () => {
  it('lets ARP through, and drops VLAN tags and other protocols of an enforced endpoint', () => {
    bed.rows(row(0, 0, 0))
    expect(bed.fromPod(ethernet(ETH_ARP, new Uint8Array(28))).verdict).toBe('next')
    const inner = ipv4({ from: POD[4], to: FAR[4], protocol: 17, payload: udp(1, 53) })
    expect(bed.fromPod(tagged(ETH_IPV4, inner))).toMatchObject({ verdict: 'drop', reason: 'vlan' })
    expect(bed.fromPod(ethernet(0x88cc, new Uint8Array(50)))).toMatchObject({
      verdict: 'drop',
      reason: 'unsupported_l2',
    })
    expect(bed.fromPod(ethernet(0x0010, new Uint8Array(50)))).toMatchObject({ verdict: 'drop' })
  })

  const nd = (type: number, from: string, to: string, hopLimit = 255, code = 0): Uint8Array =>
    ethernet(
      ETH_IPV6,
      ipv6({ from, to, protocol: 58, hopLimit, payload: icmp(type, code, [0, 0, 0, 0], new Uint8Array(24)) }),
    )

  it.each([
    ['solicitation to the solicited-node group', nd(135, POD[6], 'ff02::1:ff00:1')],
    ['solicitation from the unspecified address (DAD)', nd(135, '::', 'ff02::1:ff00:5')],
    ['solicitation from link-local to link-local', nd(135, 'fe80::5', 'fe80::1')],
    ['advertisement', nd(136, 'fe80::5', 'ff02::1')],
    ['router solicitation', nd(133, 'fe80::5', 'ff02::2')],
  ])('lets %s through without a row', (_name, frame) => {
    bed.rows()
    expect(bed.fromPod(frame).verdict).toBe('next')
  })

  it('lets neighbour discovery reach the node and pods beside it, nothing farther', () => {
    bed.rows()
    bed.identity('2001:db8::1/128', 1)
    bed.lxc.set(parseIp('fd00::6'), { ifindex: 99, endpointId: 301, flags: 0, identity: 0 })
    expect(bed.fromPod(nd(136, POD[6], '2001:db8::1')).verdict).toBe('next')
    expect(bed.fromPod(nd(136, POD[6], 'fd00::6')).verdict).toBe('next')
    expect(bed.fromPod(nd(136, POD[6], FAR[6])).verdict).toBe('drop')
  })

  it.each([
    ['a hop limit that could have crossed a router', nd(135, 'fe80::5', 'ff02::1:ff00:1', 254)],
    ['a code', nd(135, 'fe80::5', 'ff02::1:ff00:1', 255, 1)],
    ['a foreign source', nd(135, 'fd00::66', 'ff02::1:ff00:1')],
    ['a group beyond the link', nd(135, 'fe80::5', 'ff05::1')],
    ['a router advertisement', nd(134, 'fe80::5', 'ff02::1')],
    ['a redirect', nd(137, 'fe80::5', 'fe80::1')],
    ['an echo request to the link', nd(128, 'fe80::5', 'fe80::1')],
  ])('does not let through %s', (_name, frame) => {
    bed.rows()
    expect(bed.fromPod(frame).verdict).toBe('drop')
  })

  it('lets multicast listener reports stay on the link', () => {
    bed.rows()
    const report = (to: string, hopLimit: number): Uint8Array =>
      ethernet(
        ETH_IPV6,
        ipv6({
          from: 'fe80::5',
          to,
          protocol: 58,
          hopLimit,
          extensions: [{ type: 0, body: Uint8Array.of(0, 5, 2, 0, 0, 1, 0) }],
          payload: icmp(143, 0, [0, 0, 0, 1], new Uint8Array(20)),
        }),
      )
    expect(bed.fromPod(report('ff02::16', 1)).verdict).toBe('next')
    expect(bed.fromPod(report('ff02::16', 64)).verdict).toBe('drop')
    expect(bed.fromPod(report(FAR[6], 1)).verdict).toBe('drop')
  })
})

describe('who is judged', () => {
  it('leaves an interface alone that is no endpoint, and counts nothing', () => {
    bed.interfaces.delete(IFINDEX)
    for (const frame of [
      out(4, 6, tcp(1, 443, SYN)),
      ethernet(ETH_IPV4, new Uint8Array(30)),
      tagged(ETH_IPV6, new Uint8Array(60)),
    ]) {
      expect(bed.fromPod(frame, { mark: 0x1234 })).toMatchObject({ verdict: 'next', mark: 0x1234 })
      expect(bed.toPod(frame).verdict).toBe('next')
    }
    expect(bed.counters.reasons()).toEqual([])
  })

  it('drops nothing of an endpoint without policy and remembers its connections', () => {
    bed.endpoint([POD[4], POD[6]], false)
    expect(bed.fromPod(out(4, 6, tcp(40000, 443, SYN))).verdict).toBe('next')
    expect(bed.connection(connection(4, 40000, 443))).toBeDefined()
    bed.toPod(into(6, 6, tcp(40000, 80, ACK)))
    expect(bed.connection(inbound(6, 40000, 80))).toBeDefined()
    expect(bed.fromPod(ethernet(ETH_IPV4, new Uint8Array(30))).verdict).toBe('next')
    expect(bed.fromPod(packet('10.9.9.9', FAR[4], 17, udp(1, 53))).verdict).toBe('next')
    const spoofed = { ...connection(4, 1, 53, 17), source: parseIp('10.9.9.9') }
    expect(bed.connection(spoofed)).toBeUndefined()
    expect(bed.counters.drops()).toEqual([])
  })

  it('keeps answers of connections from before the policy', () => {
    bed.endpoint([POD[4], POD[6]], false)
    bed.toPod(into(4, 6, tcp(40000, 80, ACK)))
    bed.endpoint([POD[4], POD[6]], true)
    bed.rows()
    expect(bed.fromPod(out(4, 6, tcp(80, 40000, ACK))).verdict).toBe('next')
  })

  it('counts what goes through in both directions', () => {
    bed.rows(row(0, 0, 0))
    const frame = out(4, 17, udp(1, 53))
    bed.fromPod(frame)
    bed.toPod(into(4, 17, udp(53, 1)))
    expect(bed.counters.reasons().sort((a, b) => a.direction - b.direction)).toEqual([
      { reason: 0, direction: 1, packets: 1, bytes: frame.length },
      { reason: 0, direction: 2, packets: 1, bytes: frame.length },
    ])
  })

  it('reports no more events than allowed and counts every drop', () => {
    bed.rows()
    const before = bed.counters.suppressedEvents()
    bed.settings({ ...DEFAULTS, eventsPerSecond: 0 })
    const frame = out(4, 17, udp(1, 53))
    for (let i = 0; i < 50; i++) expect(bed.fromPod(frame).event).toBeUndefined()
    expect(bed.counters.drops()[0]?.packets).toBe(50)
    expect(bed.counters.suppressedEvents() - before).toBe(50)
  })
})

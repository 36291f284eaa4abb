import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { CT_IN, CT_OUT } from '../../src/bpf/layouts.ts'
import { parseIp } from '../../src/core/ip.ts'
import { DatapathBed } from '../support/datapath-bed.ts'
import {
  authHeader,
  destinationOptions,
  echo,
  ETH_IPV4,
  ETH_IPV6,
  ethernet,
  fragmentHeader,
  hopByHop,
  icmp,
  type Ipv4Fields,
  ipv4,
  type Ipv6Fields,
  ipv6,
  packet,
  routingHeader,
  sctp,
  SYN,
  tcp,
  udp,
} from '../support/frames.ts'

const POD4 = '10.1.0.5'
const POD6 = 'fd00::5'
const FAR4 = '198.18.0.7'
const FAR6 = '2001:db8::7'

const frame4 = (fields: Partial<Ipv4Fields> & Pick<Ipv4Fields, 'protocol' | 'payload'>): Uint8Array =>
  ethernet(ETH_IPV4, ipv4({ from: POD4, to: FAR4, ...fields }))
const frame6 = (fields: Partial<Ipv6Fields> & Pick<Ipv6Fields, 'protocol' | 'payload'>): Uint8Array =>
  ethernet(ETH_IPV6, ipv6({ from: POD6, to: FAR6, ...fields }))

let bed: DatapathBed
beforeAll(() => {
  bed = new DatapathBed()
})
beforeEach(() => {
  bed.reset()
  bed.endpoint([POD4, POD6])
  // One port is open; every other verdict is a drop.
  bed.rows(
    { label: 0, protocol: 17, port: 53, portBits: 16, verdict: 'allow' },
    { label: 0, protocol: 6, port: 443, portBits: 16, verdict: 'allow' },
  )
})
afterAll(() => {
  bed.close()
})

describe('IPv6 extension headers', () => {
  it.each([
    ['hop-by-hop options', [hopByHop]],
    ['destination options', [destinationOptions]],
    ['a routing header that is done', [routingHeader(0)]],
    ['an authentication header', [authHeader]],
    ['an atomic fragment', [fragmentHeader(1, 0, false)]],
    ['several', [hopByHop, destinationOptions, routingHeader(0), fragmentHeader(2, 0, false), destinationOptions]],
    ['eight', [hopByHop, ...Array.from({ length: 7 }, () => destinationOptions)]],
  ])('finds the ports behind %s', (_name, extensions) => {
    expect(bed.fromPod(frame6({ protocol: 17, payload: udp(1, 53), extensions })).verdict).toBe('next')
    expect(bed.fromPod(frame6({ protocol: 17, payload: udp(1, 54), extensions }))).toMatchObject({
      verdict: 'drop',
      reason: 'policy',
      event: { destinationPort: 54, protocol: 17 },
    })
  })

  it.each([
    ['nine of them', Array.from({ length: 9 }, () => destinationOptions)],
    ['hop-by-hop options that are not the first', [destinationOptions, hopByHop]],
    ['a routing header with segments left', [routingHeader(1)]],
    ['options in a first fragment', [fragmentHeader(1, 0, true), destinationOptions]],
    ['options in a later fragment', [fragmentHeader(1, 8, false), destinationOptions]],
    ['two fragment headers of first fragments', [fragmentHeader(1, 0, true), fragmentHeader(2, 0, true)]],
    ['one longer than the packet', [{ type: 60, body: Uint8Array.of(200, 1, 4, 0, 0, 0, 0) }]],
  ])('drops %s', (_name, extensions) => {
    expect(bed.fromPod(frame6({ protocol: 17, payload: udp(1, 53), extensions }))).toMatchObject({
      verdict: 'drop',
      reason: 'extension_header',
    })
  })

  it('drops when the payload length leaves no room for what is announced', () => {
    for (const payloadLength of [0, 4, 8, 15]) {
      const short = frame6({ protocol: 17, payload: udp(1, 53), extensions: [destinationOptions], payloadLength })
      expect(bed.fromPod(short).verdict).toBe('drop')
    }
  })
})

describe('IPv4 options', () => {
  it.each([
    ['no-operations', [1, 1, 1, 1], 'next'],
    ['router alert', [148, 4, 0, 0], 'next'],
    ['end of list before nonsense', [0, 131, 255, 0], 'next'],
    ['loose source route', [131, 3, 4, 0], 'drop'],
    ['strict source route', [1, 137, 3, 4], 'drop'],
    ['a length below 2', [7, 1, 0, 0], 'drop'],
    ['a length beyond the header', [7, 5, 0, 0], 'drop'],
    ['an option without its length', [1, 1, 1, 7], 'drop'],
  ])('%s: %j is %s', (_name, options, verdict) => {
    const frame = frame4({ protocol: 17, payload: udp(1, 53), options: Uint8Array.from(options) })
    expect(bed.fromPod(frame).verdict).toBe(verdict)
    expect(bed.fromPod(frame4({ protocol: 17, payload: udp(1, 54), options: Uint8Array.from(options) })).verdict).toBe(
      'drop',
    )
  })
})

describe('fragments', () => {
  const pieces = (
    port: number,
    id: number,
  ): { first4: Uint8Array; later4: Uint8Array; first6: Uint8Array; later6: Uint8Array } => {
    const payload = udp(7, port, new Uint8Array(32))
    return {
      first4: frame4({ protocol: 17, payload: payload.slice(0, 24), id, moreFragments: true }),
      later4: frame4({ protocol: 17, payload: payload.slice(24), id, fragmentOffset: 24 }),
      first6: frame6({ protocol: 17, payload: payload.slice(0, 24), extensions: [fragmentHeader(id, 0, true)] }),
      later6: frame6({ protocol: 17, payload: payload.slice(24), extensions: [fragmentHeader(id, 24, false)] }),
    }
  }

  it('gives later fragments the verdict of the first', () => {
    const open = pieces(53, 1)
    for (const frame of [open.first4, open.later4, open.first6, open.later6]) {
      expect(bed.fromPod(frame).verdict).toBe('next')
    }
    const shut = pieces(54, 2)
    for (const frame of [shut.first4, shut.later4, shut.first6, shut.later6]) {
      expect(bed.fromPod(frame)).toMatchObject({ verdict: 'drop', reason: 'policy' })
    }
  })

  it('drops a later fragment whose first was not seen', () => {
    const { later4, later6 } = pieces(53, 3)
    expect(bed.fromPod(later4)).toMatchObject({ verdict: 'drop', reason: 'fragment' })
    expect(bed.fromPod(later6)).toMatchObject({ verdict: 'drop', reason: 'fragment' })
  })

  it('takes no fragment of another packet for the same', () => {
    bed.fromPod(pieces(53, 4).first4)
    bed.fromPod(pieces(53, 4).first6)
    expect(bed.fromPod(pieces(53, 5).later4).verdict).toBe('drop')
    expect(bed.fromPod(pieces(53, 5).later6).verdict).toBe('drop')
    const other = frame4({ to: '198.18.0.8', protocol: 17, payload: new Uint8Array(8), id: 4, fragmentOffset: 24 })
    expect(bed.fromPod(other).verdict).toBe('drop')
  })

  it('drops a first fragment without the whole transport header', () => {
    for (const [protocol, payload] of [
      [6, tcp(1, 443, SYN).slice(0, 16)],
      [17, udp(1, 53).slice(0, 0)],
    ] as const) {
      expect(bed.fromPod(frame4({ protocol, payload, id: 6, moreFragments: true }))).toMatchObject({
        verdict: 'drop',
        reason: 'invalid_packet',
      })
      const extensions = [fragmentHeader(6, 0, true)]
      expect(bed.fromPod(frame6({ protocol, payload, extensions })).verdict).toBe('drop')
    }
  })

  it('drops a fragment that would write over the transport header', () => {
    const head = tcp(1, 443, SYN, new Uint8Array(12))
    expect(bed.fromPod(frame4({ protocol: 6, payload: head, id: 7, moreFragments: true })).verdict).toBe('next')
    for (const [fragmentOffset, verdict] of [
      [8, 'drop'],
      [16, 'drop'],
      [24, 'next'],
    ] as const) {
      const later = frame4({ protocol: 6, payload: new Uint8Array(16), id: 7, fragmentOffset, moreFragments: true })
      expect(bed.fromPod(later).verdict).toBe(verdict)
    }
  })

  it('drops fragments of what is redirected: a socket cannot be given to them', () => {
    bed.rows({ label: 0, protocol: 17, port: 53, portBits: 16, verdict: 'redirect' })
    const { first4, later4, first6 } = pieces(53, 8)
    for (const frame of [first4, later4, first6]) {
      expect(bed.fromPod(frame)).toMatchObject({ verdict: 'drop', reason: 'fragment' })
    }
  })

  it('lets the fragments of an answer out', () => {
    bed.rows()
    bed.toPod(packet(FAR4, POD4, 17, udp(5000, 6000)))
    const payload = udp(6000, 5000, new Uint8Array(32))
    const first = frame4({ protocol: 17, payload: payload.slice(0, 24), id: 9, moreFragments: true })
    const later = frame4({ protocol: 17, payload: payload.slice(24), id: 9, fragmentOffset: 24 })
    expect(bed.fromPod(first).verdict).toBe('next')
    expect(bed.fromPod(later).verdict).toBe('next')
  })
})

describe('lengths that lie', () => {
  it('drops a total length beyond the frame, or within the header', () => {
    const whole = 20 + udp(1, 53).length
    for (const totalLength of [0, 19, 20, 27, whole + 1, 65535]) {
      expect(bed.fromPod(frame4({ protocol: 17, payload: udp(1, 53), totalLength })).verdict).toBe('drop')
    }
    expect(bed.fromPod(frame4({ protocol: 17, payload: udp(1, 53), totalLength: whole })).verdict).toBe('next')
  })

  it('does not read ports from the padding behind the packet', () => {
    const padded = frame4({ protocol: 17, payload: udp(1, 53), totalLength: 24 })
    expect(bed.fromPod(padded)).toMatchObject({ verdict: 'drop', reason: 'invalid_packet' })
  })

  it('takes the length of a GSO packet over 64 KiB from the frame', () => {
    const big4 = frame4({ protocol: 6, payload: tcp(1, 443, SYN, new Uint8Array(200)), totalLength: 0 })
    expect(bed.fromPod(big4, { gsoSize: 100 }).verdict).toBe('next')
    expect(bed.fromPod(big4).verdict).toBe('drop')
    const big6 = frame6({ protocol: 6, payload: tcp(1, 443, SYN, new Uint8Array(200)), payloadLength: 0 })
    expect(bed.fromPod(big6, { gsoSize: 100 }).verdict).toBe('next')
    expect(bed.fromPod(big6).verdict).toBe('drop')
    const shut = frame4({ protocol: 6, payload: tcp(1, 444, SYN, new Uint8Array(200)), totalLength: 0 })
    expect(bed.fromPod(shut, { gsoSize: 100 }).verdict).toBe('drop')
  })

  it('drops a TCP header shorter than 20 octets or longer than the packet', () => {
    for (const [offset, verdict] of [
      [0x40, 'drop'],
      [0x50, 'next'],
      [0x60, 'drop'],
      [0xf0, 'drop'],
    ] as const) {
      const segment = tcp(1, 443, SYN)
      segment[12] = offset
      expect(bed.fromPod(frame4({ protocol: 6, payload: segment })).verdict).toBe(verdict)
    }
  })

  it('drops ICMP of the other family, and other versions', () => {
    bed.rows({ label: 0, protocol: 0, port: 0, portBits: 0, verdict: 'allow' })
    expect(bed.fromPod(frame4({ protocol: 58, payload: echo(128, 1) })).verdict).toBe('drop')
    expect(bed.fromPod(frame6({ protocol: 1, payload: echo(8, 1) })).verdict).toBe('drop')
    const five = frame4({ protocol: 17, payload: udp(1, 53) })
    five[14] = 0x55
    expect(bed.fromPod(five)).toMatchObject({ verdict: 'drop', reason: 'invalid_packet' })
    const four = frame6({ protocol: 17, payload: udp(1, 53) })
    four[14] = 0x40
    expect(bed.fromPod(four)).toMatchObject({ verdict: 'drop', reason: 'invalid_packet' })
  })
})

/** BPF_PROG_TEST_RUN takes no frame with less than a whole IP header; those are sent in datapath-netns.test.ts. */
const SMALLEST = { [ETH_IPV4]: 34, [ETH_IPV6]: 54 } as const

const SAMPLES: readonly (readonly [string, Uint8Array])[] = [
  ['TCP over IPv4', frame4({ protocol: 6, payload: tcp(1, 443, SYN) })],
  ['UDP over IPv4', frame4({ protocol: 17, payload: udp(1, 53) })],
  ['SCTP over IPv4', frame4({ protocol: 132, payload: sctp(1, 443) })],
  ['options over IPv4', frame4({ protocol: 17, payload: udp(1, 53), options: Uint8Array.of(148, 4, 0, 0) })],
  [
    'an ICMP error over IPv4',
    frame4({ protocol: 1, payload: icmp(3, 3, [0, 0, 0, 0], frame4({ protocol: 17, payload: udp(1, 2) }).slice(14)) }),
  ],
  ['TCP over IPv6', frame6({ protocol: 6, payload: tcp(1, 443, SYN) })],
  [
    'extension headers',
    frame6({
      protocol: 17,
      payload: udp(1, 53),
      extensions: [hopByHop, authHeader, routingHeader(0), destinationOptions],
    }),
  ],
  [
    'a first fragment over IPv6',
    frame6({ protocol: 17, payload: udp(1, 53), extensions: [fragmentHeader(1, 0, true)] }),
  ],
  [
    'an ICMP error over IPv6',
    frame6({
      protocol: 58,
      payload: icmp(1, 4, [0, 0, 0, 0], frame6({ protocol: 6, payload: tcp(1, 2, SYN) }).slice(14)),
    }),
  ],
]

describe('frames cut short', () => {
  it.each(SAMPLES)('%s: at every length, whatever policy allows', (_name, frame) => {
    bed.rows({ label: 0, protocol: 0, port: 0, portBits: 0, verdict: 'allow' })
    expect(bed.fromPod(frame).verdict).toBe('next')
    const type = ((frame[12] ?? 0) << 8) | (frame[13] ?? 0)
    const smallest = SMALLEST[type as keyof typeof SMALLEST]
    for (let length = smallest; length < frame.length; length++) {
      expect([length, bed.fromPod(frame.slice(0, length)).verdict]).toEqual([length, 'drop'])
      expect(bed.toPod(frame.slice(0, length)).verdict).toBe('next')
    }
  })
})

/** What may pass whatever policy says: it stays on the link. */
function staysOnLink(frame: Uint8Array): boolean {
  const destination = frame.slice(38, 54)
  const linkLocal = destination[0] === 0xfe && ((destination[1] ?? 0) & 0xc0) === 0x80
  const linkGroup = destination[0] === 0xff && destination[1] === 2
  return frame[12] === 0x86 && (linkLocal || linkGroup)
}

describe('random frames', () => {
  const mutation = fc.record({
    sample: fc.nat({ max: SAMPLES.length - 1 }),
    edits: fc.array(fc.tuple(fc.integer({ min: 14, max: 120 }), fc.nat({ max: 255 })), { maxLength: 6 }),
    cut: fc.integer({ min: 0, max: 60 }),
    tail: fc.uint8Array({ maxLength: 40 }),
  })
  const mutate = ({
    sample,
    edits,
    cut,
    tail,
  }: typeof mutation extends fc.Arbitrary<infer T> ? T : never): Uint8Array => {
    const base = SAMPLES[sample]?.[1] ?? new Uint8Array(60)
    const type = ((base[12] ?? 0) << 8) | (base[13] ?? 0)
    const length = Math.max(SMALLEST[type as keyof typeof SMALLEST], base.length - cut)
    const frame = Uint8Array.from([...base.slice(0, length), ...tail])
    for (const [at, value] of edits) if (at < frame.length) frame[at] = value
    return frame
  }

  it('never pass an endpoint whose policy allows nothing', () => {
    bed.rows()
    fc.assert(
      fc.property(mutation, (change) => {
        const frame = mutate(change)
        const { verdict } = bed.fromPod(frame)
        if (verdict !== 'drop') expect(staysOnLink(frame)).toBe(true)
      }),
      { numRuns: 20_000, seed: 1 },
    )
  })

  it('never pass to a port that is not open', () => {
    bed.rows({ label: 0, protocol: 17, port: 53, portBits: 16, verdict: 'allow' })
    fc.assert(
      fc.property(mutation, (change) => {
        const frame = mutate(change)
        const { verdict } = bed.fromPod(frame)
        if (verdict === 'drop' || staysOnLink(frame)) return
        // Whatever else was changed, an entry for port 53 must have come of it, or a fragment of one.
        const keys = [bed.maps.ct_any4, bed.maps.ct_any6].flatMap((map, i) => {
          const next = new Uint8Array(i === 0 ? 14 : 38)
          return bed.native.bpfMapNextKey(map, null, next) ? [next] : []
        })
        expect(keys.length).toBeGreaterThan(0)
        for (const key of keys)
          expect([key[key.length - 6], key[key.length - 5], key[key.length - 2]]).toEqual([0, 53, 17])
      }),
      { numRuns: 5_000, seed: 2 },
    )
  })

  it('never harm to_pod', () => {
    fc.assert(
      fc.property(mutation, (change) => {
        expect(bed.toPod(mutate(change)).verdict).toBe('next')
      }),
      { numRuns: 5_000, seed: 3 },
    )
  })

  it('opens the connection the octets say', () => {
    fc.assert(
      fc.property(
        fc.nat({ max: 65535 }),
        fc.nat({ max: 65535 }),
        fc.constantFrom(4 as const, 6 as const),
        (a, b, family) => {
          bed.rows({ label: 0, protocol: 0, port: 0, portBits: 0, verdict: 'allow' })
          const [pod, far] = family === 4 ? [POD4, FAR4] : [POD6, FAR6]
          const key = {
            source: parseIp(pod),
            destination: parseIp(far),
            sourcePort: a,
            destinationPort: b,
            protocol: 17,
          }
          expect(bed.fromPod(packet(pod, far, 17, udp(a, b))).verdict).toBe('next')
          expect(bed.connection({ ...key, direction: CT_OUT })).toBeDefined()
          bed.toPod(packet(far, pod, 17, udp(b, a)))
          expect(
            bed.connection({
              ...key,
              source: key.destination,
              destination: key.source,
              sourcePort: b,
              destinationPort: a,
              direction: CT_IN,
            }),
          ).toBeUndefined()
        },
      ),
      { numRuns: 200, seed: 4 },
    )
  })
})

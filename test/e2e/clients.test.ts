import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { curl, dig } from '../../lab/ask.ts'
import { ROOT } from '../../lab/lab.ts'
import { dnsRule, dnsRuleAt, fqdnRule, podPolicy } from '../../lab/policy.ts'
import { DNS4, DNS6, ODD4, ODD6 } from '../../lab/topology.ts'
import { exchange, json, python, useSite } from '../support/lab.ts'
import { GOOD_QUERY } from '../support/malformed.ts'

const NAMES = [
  'www.shop.example',
  'app.shop.example',
  'six.shop.example',
  'four.shop.example',
  'empty.shop.example',
  'big.shop.example',
  '*.cdn.example',
  '*.broken.example',
]
const ODD = ['*.odd.example']
/** Nothing listens on port 53 there. */
const DEAF4 = '198.18.1.53'
const DEAF6 = '2001:db8:101::53'
const site = useSite({
  prefix: 'skc',
  // Below the two seconds of the pods' resolv.conf, so that SERVFAIL comes while the resolver still listens.
  settings: { dns: { upstreamTimeout: '500ms' } },
  policies: {
    'client-a.yaml': podPolicy('client-a', {
      egress: [
        dnsRule(NAMES),
        dnsRuleAt([ODD4, DEAF4].map((ip) => `${ip}/32`).concat([ODD6, DEAF6].map((ip) => `${ip}/128`)), ODD),
        fqdnRule([...NAMES, ...ODD]),
      ],
    }),
  },
})

interface Resolved {
  readonly code: string
  readonly addresses: readonly string[]
  readonly ms: number
}

/** getaddrinfo of a C library: `resolve` is linked to glibc, `resolve-musl` to musl. */
async function resolve(program: string, name: string, family: string): Promise<Resolved> {
  const done = await site().lab.inPod('client-a', [join(ROOT, 'build/lab', program), name, family])
  return JSON.parse(done.stdout) as Resolved
}

describe.each([
  ['IPv4', DNS4, ODD4, DEAF4],
  ['IPv6', DNS6, ODD6, DEAF6],
])('a pod whose resolver is reached over %s', (_, server, odd, deaf) => {
  beforeAll(() => {
    site().lab.setResolvers('client-a', [server])
  })

  describe('dig', () => {
    it.each([
      ['A', '198.18.1.10'],
      ['AAAA', '2001:db8:101::10'],
      ['HTTPS', 'alpn'],
    ])('gets %s by UDP and by TCP', async (type, data) => {
      for (const extra of [[type], [type, '+tcp'], [type, '+noedns']]) {
        const answer = await dig(site().lab, 'client-a', 'www.shop.example', extra, server)
        expect(answer.status).toBe('NOERROR')
        expect(answer.records.map((r) => r.data).join(' ')).toContain(data)
      }
    })

    it('sees the truncated answer as it is with +ignore, and the whole by TCP without', async () => {
      const cut = await dig(site().lab, 'client-a', 'many.cdn.example', ['+ignore'], server)
      expect([cut.status, cut.flags.includes('tc'), cut.records.length]).toEqual(['NOERROR', true, 0])
      const whole = await dig(site().lab, 'client-a', 'many.cdn.example', ['AAAA'], server)
      expect([whole.status, whole.flags.includes('tc'), whole.records.length]).toEqual(['NOERROR', false, 100])
    })

    it('has its buffer size respected from end to end', async () => {
      const small = await dig(site().lab, 'client-a', 'sixty.cdn.example', ['+bufsize=512', '+ignore'], server)
      expect(small.flags).toContain('tc')
      const large = await dig(site().lab, 'client-a', 'sixty.cdn.example', ['+bufsize=1232', '+ignore'], server)
      expect([large.flags.includes('tc'), large.records.length]).toEqual([false, 60])
    })

    it('gets REFUSED for a denied name by UDP and TCP, with an extended error only when it sent OPT', async () => {
      for (const transport of [[], ['+tcp']]) {
        const refused = await dig(site().lab, 'client-a', 'www.evil.example', transport, server)
        expect([refused.status, refused.ede === '']).toEqual(['REFUSED', false])
        const bare = await dig(site().lab, 'client-a', 'www.evil.example', [...transport, '+noedns'], server)
        expect([bare.status, bare.ede]).toEqual(['REFUSED', ''])
      }
    })

    it('gets SERVFAIL and NXDOMAIN of the server as they are', async () => {
      expect((await dig(site().lab, 'client-a', 'x.broken.example', [], server)).status).toBe('SERVFAIL')
      expect((await dig(site().lab, 'client-a', 'nothing.cdn.example', [], server)).status).toBe('NXDOMAIN')
    })

    it('keeps the case of its question', async () => {
      const answer = await dig(site().lab, 'client-a', 'wWw.ShOp.eXaMpLe', [], server)
      expect(answer.status).toBe('NOERROR')
      expect(answer.text).toContain(';wWw.ShOp.eXaMpLe.')
    })
  })

  it('curl fetches over IPv4 and IPv6 and through a chain of names', async () => {
    for (const [url, ...extra] of [
      ['http://www.shop.example/', '-4'],
      ['http://www.shop.example/', '-6'],
      ['http://app.shop.example/'],
      ['http://six.shop.example/'],
      ['http://four.shop.example:443/'],
    ] as const) {
      const page = await curl(site().lab, 'client-a', url, extra)
      expect([url, page.code]).toEqual([url, 0])
      expect(page.connectMs).toBeLessThan(500)
    }
    expect((await curl(site().lab, 'client-a', 'http://www.evil.example/')).code).toBe(6)
  })

  it('Python resolves, connects and learns that a name is denied', async () => {
    const source = (host: string): string =>
      `import socket\ntry:\n s = socket.create_connection(("${host}", 80), 2)\n print(s.getpeername()[0])\nexcept socket.gaierror as e:\n print("no name")`
    const { lab } = site()
    expect((await python(lab, 'client-a', source('www.shop.example'))).stdout.trim()).toMatch(
      /^(198\.18\.1\.10|2001:db8:101::10)$/,
    )
    expect((await python(lab, 'client-a', source('six.shop.example'))).stdout.trim()).toBe('2001:db8:101::66')
    expect((await python(lab, 'client-a', source('www.evil.example'))).stdout.trim()).toBe('no name')
  })

  describe.each([['resolve'], ['resolve-musl']])('%s (getaddrinfo with four search domains, ndots 5)', (program) => {
    it.each([
      ['www.shop.example', '4', ['198.18.1.10']],
      ['www.shop.example', '6', ['2001:db8:101::10']],
      ['www.shop.example', 'any', ['198.18.1.10', '2001:db8:101::10']],
      ['app.shop.example', 'any', ['198.18.3.1', '198.18.3.2', '2001:db8:103::1', '2001:db8:103::2']],
      // One family only: the other's empty answer must not spoil it.
      ['four.shop.example', 'any', ['198.18.1.44']],
      ['six.shop.example', 'any', ['2001:db8:101::66']],
    ])('resolves %s, family %s', async (name, family, addresses) => {
      const seen = await resolve(program, name, family)
      expect([seen.code, [...seen.addresses].sort()]).toEqual(['OK', addresses])
    })

    it('is told soon and for good that a denied name is not to be had', async () => {
      const started = performance.now()
      const seen = await resolve(program, 'www.evil.example', 'any')
      expect(seen.addresses).toEqual([])
      expect(seen.code).not.toBe('OK')
      // REFUSED is tried again by musl after its time-out of 2 s, twice at most.
      expect(performance.now() - started).toBeLessThan(5000)
    })
  })

  describe('when the server fails', () => {
    const GLIBC = 'resolve'
    const MUSL = 'resolve-musl'
    // A second for musl as a whole, two tries of a second for glibc.
    const useResolver = (at: string): void => {
      site().lab.setResolvers('client-a', [at], 'ndots:5 timeout:1 attempts:2')
    }
    const ownFailures = async (): Promise<number> =>
      (await site().agent.metrics()).sum('sekisho_dns_replies_total', { rcode: 'servfail', origin: 'gate' })

    afterAll(() => {
      site().lab.setResolvers('client-a', [server])
    })

    it('getaddrinfo has the right code in bounded time, and the next look-up works', async () => {
      const failed = ['EAI_AGAIN', []]
      // What the C library makes of SERVFAIL for AAAA beside a good A: glibc takes the A, musl fails the look-up.
      const half = ['OK', ['198.18.30.1']]
      useResolver(odd)
      const before = await ownFailures()
      const seen = await Promise.all(
        [
          [GLIBC, 'silent.odd.example', failed],
          [MUSL, 'silent.odd.example', failed],
          [GLIBC, 'servfail.odd.example', failed],
          [MUSL, 'servfail.odd.example', failed],
          [GLIBC, 'silent6.odd.example', half],
          [MUSL, 'silent6.odd.example', failed],
          [GLIBC, 'servfail6.odd.example', half],
          [MUSL, 'servfail6.odd.example', failed],
        ].map(async ([program, name, expected]) => {
          const { code, addresses, ms } = await resolve(String(program), String(name), 'any')
          return { program, name, expected, seen: [code, addresses], late: ms > 3000 }
        }),
      )
      for (const one of seen) expect(one).toEqual({ ...one, seen: one.expected, late: false })
      // A and AAAA of the silent names, and AAAA of the others, of both programs: each got a SERVFAIL of the gate's own.
      expect((await ownFailures()) - before).toBeGreaterThanOrEqual(6)
      for (const program of [GLIBC, MUSL]) {
        const next = await resolve(program, 'good.odd.example', 'any')
        expect([next.code, [...next.addresses].sort()]).toEqual(['OK', ['198.18.30.1', '2001:db8:130::1']])
        expect((await resolve(program, 'silent6.odd.example', '4')).code).toBe('OK')
      }
    })

    it('the same for a server without an open port, and the next one listed is asked', async () => {
      useResolver(deaf)
      const seen = await Promise.all([GLIBC, MUSL].map((program) => resolve(program, 'good.odd.example', 'any')))
      for (const { code, addresses, ms } of seen) {
        expect([code, addresses]).toEqual(['EAI_AGAIN', []])
        expect(ms).toBeLessThan(3000)
      }
      site().lab.setResolvers('client-a', [deaf, odd])
      for (const program of [GLIBC, MUSL]) {
        const next = await resolve(program, 'good.odd.example', 'any')
        expect([next.code, [...next.addresses].sort()]).toEqual(['OK', ['198.18.30.1', '2001:db8:130::1']])
      }
    })
  })

  it('a connected UDP socket takes the answer: it comes from the very address and port that was asked', async () => {
    const [reply = ''] = await exchange(site().lab, 'client-a', server, [GOOD_QUERY.toString('hex')])
    expect(reply.slice(0, 4)).toBe('4242')
    expect(reply.slice(-8)).toBe('c612010a')
  })

  it('TCP carries many queries on one connection', async () => {
    const source = [
      'import socket, struct',
      `s = socket.create_connection(("${server}", 53), 2)`,
      `q = bytes.fromhex("${GOOD_QUERY.toString('hex')}")`,
      's.sendall(b"".join(struct.pack("!HH", len(q), n) + q[2:] for n in range(50)))',
      'f = s.makefile("rb")',
      'ids = set()',
      'for _ in range(50):',
      ' size, = struct.unpack("!H", f.read(2))',
      ' ids.add(struct.unpack("!H", f.read(size)[:2])[0])',
      'print(len(ids))',
    ].join('\n')
    const done = await python(site().lab, 'client-a', source)
    expect([done.stdout.trim(), done.stderr]).toEqual(['50', ''])
  })

  it('answers a steady load without losing a query', async () => {
    const args = ['-r', '2000', '-l', '2', server, 'www.shop.example', 'app.shop.example:28', 'www.evil.example']
    const load = json<{ sent: number; lost: number; rcodes: Record<string, Record<string, number>> }>(
      await site().lab.program('client-a', 'dnsload', args),
    )
    expect(load.sent).toBeGreaterThan(3900)
    expect(load.lost).toBe(0)
    expect(Object.values(load.rcodes).map((codes) => Object.keys(codes))).toEqual([['0'], ['0'], ['5']])
  })
  it('dnsperf, a load generator that is not ours, misses no answer', async () => {
    const { lab } = site()
    const names = ['www.shop.example A', 'app.shop.example AAAA', 'six.shop.example AAAA', 'www.evil.example A']
    const file = join(lab.directory, 'dnsperf.txt')
    writeFileSync(file, names.join('\n') + '\n')
    for (const mode of ['udp', 'tcp']) {
      // Clients have a socket each.
      const pace = ['-c', '10', '-T', '1', '-Q', '1000', '-l', '1', '-t', '2', '-m', mode]
      const done = await lab.inPod('client-a', ['dnsperf', '-s', server, '-d', file, ...pace])
      const figure = (name: string): number => Number(new RegExp(`${name}: +(\\d+)`).exec(done.stdout)?.[1])
      expect([done.code, done.stderr]).toEqual([0, ''])
      expect(figure('Queries sent')).toBeGreaterThan(900)
      expect([figure('Queries completed'), figure('Queries lost')]).toEqual([figure('Queries sent'), 0])
      expect(done.stdout).toMatch(/Response codes: +NOERROR \d+ \(75\.\d+%\), REFUSED \d+ \(2[45]\.\d+%\)/)
    }
  })
})

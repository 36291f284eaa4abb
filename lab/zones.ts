import { fresh4, fresh6, freshName } from './topology.ts'

/** Zone texts (RFC 1035 section 5) by zone name: small pictures of what names do in real life. */
export function zones(freshCount: number): Map<string, string> {
  const out = new Map<string, string>()
  const add = (zone: string, lines: readonly string[], ttl = 300): void => {
    const head = [
      `$ORIGIN ${zone === '.' ? '.' : `${zone}.`}`,
      `$TTL ${ttl}`,
      '@ SOA ns.lab.test. admin.lab.test. 1 3600 600 86400 30',
      '@ NS ns.lab.test.',
    ]
    out.set(zone, [...head, ...lines].join('\n') + '\n')
  }
  // Unknown names are NXDOMAIN from here, as from the real root.
  add('.', [])
  add('lab.test', ['ns A 127.0.0.1'])
  add('shop.example', shop())
  // A chain over four zones, as a shop behind a content network has it.
  add('front.example', ['shop CNAME eu-west.edge.example.', 'dead CNAME nowhere.edge.example.'])
  add('edge.example', ['eu-west CNAME n1.pop.example.'], 20)
  add(
    'pop.example',
    [...both('n1', '198.18.3.1', '2001:db8:103::1'), ...both('n1', '198.18.3.2', '2001:db8:103::2')],
    20,
  )
  add('cdn.example', cdn(), 60)
  add('wild.example', both('*', '198.18.5.1', '2001:db8:105::1'))
  // As many answers have it whose authors want to move addresses at once.
  add('short.example', [
    ...both('one', '198.18.6.1', '2001:db8:106::1', 1),
    ...both('two', '198.18.6.2', '2001:db8:106::2', 2),
    ...both('held', '198.18.6.3', '2001:db8:106::3', 2),
    ...both('lone', '198.18.6.4', '2001:db8:106::4', 1),
  ])
  add('evil.example', [
    ...both('@', '198.18.66.6', '2001:db8:166::6'),
    ...both('www', '198.18.66.7', '2001:db8:166::7'),
  ])
  add('fresh.test', fresh(freshCount), 3600)
  add('cluster.local', cluster(), 30)
  return out
}

const both = (name: string, v4: string, v6: string, ttl: number | '' = ''): string[] => [
  `${name} ${ttl} A ${v4}`,
  `${name} ${ttl} AAAA ${v6}`,
]

function shop(): string[] {
  return [
    ...both('@', '198.18.1.1', '2001:db8:101::1'),
    ...both('www', '198.18.1.10', '2001:db8:101::10'),
    ...both('api', '198.18.1.20', '2001:db8:101::20'),
    ...both('other', '198.18.1.30', '2001:db8:101::30'),
    ...both('deny', '198.18.1.40', '2001:db8:101::40'),
    ...both('narrow', '198.18.40.1', '2001:db8:140::1'),
    'four A 198.18.1.44',
    'six AAAA 2001:db8:101::66',
    'app CNAME shop.front.example.',
    'dead CNAME dead.front.example.',
    'www HTTPS 1 . alpn="h2,h3" ipv4hint=198.18.1.10 ipv6hint=2001:db8:101::10',
    'empty TXT "a name without an address"',
    `big TXT ${Array.from({ length: 14 }, (_, i) => `"${String(i).padStart(2, '0')}${'x'.repeat(240)}"`).join(' ')}`,
  ]
}

/** `assets` rotates among 8, `sixty` still fits into 1232 octets, `many` (100 + 100) does not and sets TC. */
function cdn(): string[] {
  const series = (name: string, count: number, third: number): string[] =>
    Array.from({ length: count }, (_, i) =>
      both(name, `198.18.${third}.${i + 1}`, `2001:db8:1${third}::${(i + 1).toString(16)}`),
    ).flat()
  return [...series('assets', 8, 10), ...series('sixty', 60, 11), ...series('many', 100, 12)]
}

function fresh(count: number): string[] {
  return Array.from({ length: count }, (_, n) => both(`${freshName(n)}.`, fresh4(n), fresh6(n))).flat()
}

function cluster(): string[] {
  return [
    'kubernetes.default.svc A 10.96.0.1',
    'kube-dns.kube-system.svc A 10.96.0.10',
    ...both('web.default.svc', '198.18.20.1', '2001:db8:120::1'),
  ]
}

/** In nsd's configuration without a file behind it: nsd answers SERVFAIL. */
export const BROKEN_ZONE = 'broken.example'
/** Answered by the odd server. */
export const ODD_ZONE = 'odd.example'

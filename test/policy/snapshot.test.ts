import { describe, expect, test } from 'vitest'
import { formatCidr, formatIp } from '../../src/core/ip.ts'
import { compilePolicy } from '../../src/policy/compile.ts'
import { openSnapshot } from '../../src/policy/snapshot.ts'
import type { PolicyRow } from '../../src/policy/snapshot.ts'
import {
  addr16,
  ask,
  cidr,
  deny,
  dns,
  endpoint,
  entity,
  fqdn,
  pods,
  policy,
  rule,
  selected,
  snapshot,
  wire,
} from './support/build.ts'

const ENDPOINTS = [endpoint(7, 'a', '10.0.0.1', 'fd00::1'), endpoint(9, 'b', '10.0.0.2'), endpoint(12, 'c', '10.0.0.3')]

describe('endpoints', () => {
  const snap = snapshot({
    generation: 2 ** 40 + 5,
    endpoints: ENDPOINTS,
    policies: [policy('a', [rule([entity('world')])]), policy('b', [rule([entity('world')])])],
  })

  test('are found by either address', () => {
    expect(snap.endpointByAddress(addr16('10.0.0.1'), 0)).toBe(0)
    expect(snap.endpointByAddress(addr16('fd00::1'), 0)).toBe(0)
    expect(snap.endpointByAddress(addr16('10.0.0.2'), 0)).toBe(1)
    expect(snap.endpointByAddress(addr16('10.0.0.4'), 0)).toBe(-1)
    expect(snap.endpointId(1)).toBe(9)
    expect(snap.endpointByAddress(Uint8Array.from([9, 9, ...addr16('10.0.0.2')]), 2)).toBe(1)
  })

  test('are listed whole; only those that a policy selects are enforced', () => {
    expect(
      snap.endpoints.map(({ id, enforced, shape, labelsKey, addresses }) => [
        id,
        enforced,
        shape,
        labelsKey,
        addresses.map(formatIp),
      ]),
    ).toEqual([
      [7, true, 0, 'k8s:app=a;k8s:io.kubernetes.pod.namespace=default', ['10.0.0.1', 'fd00::1']],
      [9, true, 0, 'k8s:app=b;k8s:io.kubernetes.pod.namespace=default', ['10.0.0.2']],
      [12, false, -1, 'k8s:app=c;k8s:io.kubernetes.pod.namespace=default', ['10.0.0.3']],
    ])
    expect(snap.generation).toBe(2 ** 40 + 5)
  })

  test.each([
    ['the same address twice', [endpoint(1, 'a', '10.0.0.1'), endpoint(2, 'b', '10.0.0.1')], 'same address'],
    ['the same id twice', [endpoint(1, 'a', '10.0.0.1'), endpoint(1, 'b', '10.0.0.2')], 'same id'],
    ['an id that does not fit', [endpoint(65536, 'a', '10.0.0.1')], '1 to 65535'],
  ])('%s is a problem', (_name, endpoints, text) => {
    expect(compilePolicy({ generation: 1, policies: [], endpoints }).problems?.[0]?.message).toContain(text)
  })
})

describe('shapes', () => {
  test('differ by what rows depend on, not by names of DNS rules, and keep their key over generations', () => {
    const build = (name: string, generation: number) =>
      snapshot({
        generation,
        endpoints: ENDPOINTS,
        policies: [
          policy('a', [rule([entity('all')], ['UDP/53'], dns(name)), rule([fqdn('x.io')])]),
          policy('b', [rule([fqdn('y.io')])]),
        ],
      })
    const [one, two] = [build('a.io', 1), build('b.io', 2)]
    expect(one.shapeKey(0)).toBe(two.shapeKey(0))
    expect(one.shapeKey(0)).not.toBe(one.shapeKey(1))
    expect(ask(one, '10.0.0.1', '9.9.9.9', 'UDP/53', 'b.io')).toBe(1)
    expect(ask(two, '10.0.0.1', '9.9.9.9', 'UDP/53', 'b.io')).toBe(2)
  })

  test('only policies that select an endpoint count', () => {
    const snap = snapshot({
      endpoints: ENDPOINTS,
      policies: [policy('nobody', [rule([fqdn('x.io')]), rule([cidr('10.0.0.0/8')])])],
    })
    expect([snap.shapeCount, snap.selectorCount, snap.prefixes.length]).toEqual([0, 0, 0])
  })
})

const short = (rows: readonly PolicyRow[]): string[] =>
  rows.map(({ label, protocol, port, portBits, verdict }) => `${label} ${protocol}/${port}/${portBits} ${verdict}`)

describe('rows', () => {
  const rowsOf = (rules: Parameters<typeof policy>[1], defaultDeny = true) => {
    const snap = snapshot({ endpoints: ENDPOINTS, policies: [policy('a', rules, defaultDeny)] })
    return {
      snap,
      fixed: short(snap.staticRows(0)),
      outside: (prefixes: string[], selectors: number[] = [], family: 4 | 6 = 4) =>
        short(
          snap.rowsFor(0, {
            selectors,
            prefixes: prefixes.map((text) => snap.prefixes.findIndex((one) => formatCidr(one) === text)),
            endpoint: null,
            family,
          }),
        ),
    }
  }

  test('a rule for any port and one for a name', () => {
    const { fixed, outside } = rowsOf([rule([fqdn('x.io')], ['TCP/443', 'UDP/443'])])
    expect(fixed).toEqual([])
    expect(outside([], [0])).toEqual(['0 6/443/16 allow', '0 17/443/16 allow'])
    expect(outside([], [])).toEqual([])
  })

  test('any protocol with a port becomes one row for each protocol that has ports', () => {
    const { fixed } = rowsOf([rule([entity('host')], ['ANY/443'])])
    expect(fixed).toEqual(['1 6/443/16 allow', '1 17/443/16 allow', '1 132/443/16 allow'])
  })

  test('a range becomes prefix blocks', () => {
    const { fixed } = rowsOf([rule([entity('host')], ['TCP/80-95', 'UDP/1-3'])])
    expect(fixed).toEqual(['1 6/80/12 allow', '1 17/1/16 allow', '1 17/2/15 allow'])
  })

  test('the whole range is one bit short of everything', () => {
    const { fixed } = rowsOf([rule([entity('host')], ['TCP/1-65535'])])
    expect(fixed).toHaveLength(16)
    expect(fixed.at(-1)).toBe('1 6/32768/1 allow')
  })

  test('entities', () => {
    expect(rowsOf([rule([entity('world')])]).fixed).toEqual([
      '2 0/0/0 allow',
      '9 0/0/0 allow',
      '10 0/0/0 allow',
      '13 0/0/0 allow',
    ])
    expect(rowsOf([rule([entity('cluster')])]).fixed).toEqual(['1 0/0/0 allow', '11 0/0/0 allow'])
    expect(rowsOf([rule([entity('all')])]).fixed).toEqual(['0 0/0/0 allow'])
    expect(rowsOf([rule([entity('none')])]).fixed).toEqual([])
  })

  test('one family of the world is given to learned addresses one by one', () => {
    const { fixed, outside } = rowsOf([rule([entity('world-ipv6')], ['TCP/80'])])
    expect(fixed).toEqual(['10 6/80/16 allow'])
    expect(outside([], [], 6)).toEqual(['0 6/80/16 allow'])
    expect(outside([], [], 4)).toEqual([])
  })

  test('exceptions take their addresses out of that peer only', () => {
    const { outside, snap } = rowsOf([
      rule([cidr('10.0.0.0/8', '10.96.0.0/12')], ['TCP/80']),
      rule([cidr('10.97.0.0/16')], ['TCP/443']),
    ])
    expect(snap.prefixes.map(formatCidr).sort()).toEqual(['10.0.0.0/8', '10.96.0.0/12', '10.97.0.0/16'])
    expect(outside(['10.0.0.0/8'])).toEqual(['0 6/80/16 allow'])
    expect(outside(['10.0.0.0/8', '10.96.0.0/12'])).toEqual([])
    expect(outside(['10.0.0.0/8', '10.96.0.0/12', '10.97.0.0/16'])).toEqual(['0 6/443/16 allow'])
  })

  test('everything but an exception', () => {
    const { fixed, outside, snap } = rowsOf([rule([cidr('0.0.0.0/0', '169.254.0.0/16')])])
    expect(snap.prefixes.map(formatCidr)).toEqual(['169.254.0.0/16'])
    expect(fixed).toEqual(['9 0/0/0 allow'])
    expect(outside(['169.254.0.0/16'])).toEqual([])
    expect(outside([])).toEqual(['0 0/0/0 allow'])
    expect(outside([], [], 6)).toEqual([])
  })

  test('deny beats allow, whichever is broader', () => {
    expect(rowsOf([rule([entity('host')], ['TCP/443']), deny([entity('host')])]).fixed).toEqual(['1 0/0/0 deny'])
    expect(rowsOf([rule([entity('host')]), deny([entity('host')], ['TCP/440-447'])]).fixed).toEqual([
      '1 0/0/0 allow',
      '1 6/440/13 deny',
    ])
    expect(rowsOf([rule([entity('host')], ['TCP/443']), deny([entity('host')], ['TCP/440-447'])]).fixed).toEqual([
      '1 6/440/13 deny',
    ])
    expect(rowsOf([rule([entity('host')], ['UDP/53'], dns('*')), deny([entity('host')], ['UDP/53'])]).fixed).toEqual([
      '1 17/53/16 deny',
    ])
  })

  test('an address learned by name stays denied when a prefix denies it', () => {
    const { outside } = rowsOf([rule([fqdn('x.io')], ['TCP/443']), deny([cidr('203.0.113.0/24')])])
    expect(outside([], [0])).toEqual(['0 6/443/16 allow'])
    expect(outside(['203.0.113.0/24'], [0])).toEqual(['0 0/0/0 deny'])
  })

  test('a DNS rule redirects its ports, over UDP and TCP only', () => {
    expect(rowsOf([rule([entity('host')], ['ANY/53'], dns('*'))]).fixed).toEqual([
      '1 6/53/16 redirect',
      '1 17/53/16 redirect',
    ])
    expect(rowsOf([rule([entity('host')], ['UDP/53'], dns('*')), rule([entity('host')], ['UDP/53'])]).fixed).toEqual([
      '1 17/53/16 redirect',
    ])
  })

  test('without default deny what no rule covers is open', () => {
    expect(rowsOf([deny([cidr('169.254.169.254/32')])], false).fixed).toEqual(['0 0/0/0 allow'])
    expect(rowsOf([deny([cidr('169.254.169.254/32')])], true).fixed).toEqual([])
  })

  test('one policy that denies by default is enough', () => {
    const snap = snapshot({ endpoints: ENDPOINTS, policies: [policy('a', [], false), policy(undefined, [])] })
    expect(snap.staticRows(snap.endpoints[0]?.shape ?? -1)).toEqual([])
  })

  test('peers by label select endpoints and nothing else', () => {
    const { snap, outside } = rowsOf([rule([pods({ app: 'b' })], ['TCP/80'])])
    const rows = (i: number) =>
      short(snap.rowsFor(0, { selectors: [], prefixes: [], endpoint: snap.endpoints[i]?.labelsKey ?? '', family: 4 }))
    expect(rows(1)).toEqual(['0 6/80/16 allow'])
    expect(rows(2)).toEqual([])
    expect(outside([])).toEqual([])
  })

  test('prefixes and names never select an endpoint', () => {
    const { snap } = rowsOf([rule([cidr('10.0.0.0/8'), fqdn('x.io')])])
    expect(
      snap.rowsFor(0, { selectors: [0], prefixes: [0], endpoint: snap.endpoints[1]?.labelsKey ?? '', family: 4 }),
    ).toEqual([])
  })
})

describe('DNS servers', () => {
  test('a server inside a prefix, an exception and a known endpoint', () => {
    const rules = [rule([cidr('10.0.0.0/8', '10.96.0.0/16')], ['UDP/53'], dns('a.io'))]
    const snap = snapshot({ endpoints: ENDPOINTS, policies: [policy('a', rules)], hostAddresses: [] })
    expect(ask(snap, '10.0.0.1', '10.5.0.1', 'UDP/53', 'a.io')).toBe(2)
    expect(ask(snap, '10.0.0.1', '10.5.0.1', 'UDP/53', 'b.io')).toBe(1)
    expect(ask(snap, '10.0.0.1', '10.96.0.1', 'UDP/53', 'a.io')).toBe(0)
    expect(ask(snap, '10.0.0.1', '10.0.0.2', 'UDP/53', 'a.io')).toBe(0)
    expect(ask(snap, '10.0.0.1', '10.5.0.1', 'TCP/53', 'a.io')).toBe(0)
  })

  test('an IPv6 prefix that is short enough to hold mapped addresses holds no IPv4 server', () => {
    const snap = snapshot({
      endpoints: ENDPOINTS,
      policies: [policy('a', [rule([cidr('::/8')], ['UDP/53'], dns('*'))])],
    })
    expect(ask(snap, '10.0.0.1', '::7', 'UDP/53', 'a.io')).toBe(2)
    expect(ask(snap, '10.0.0.1', '8.8.8.8', 'UDP/53', 'a.io')).toBe(0)
  })

  test('a list without patterns covers the server and allows no name', () => {
    const snap = snapshot({ endpoints: ENDPOINTS, policies: [policy('a', [rule([entity('world')], ['UDP/53'], [])])] })
    expect(ask(snap, '10.0.0.1', '8.8.8.8', 'UDP/53', 'a.io')).toBe(1)
  })

  test('a name that is not well formed is not allowed', () => {
    const snap = snapshot({
      endpoints: ENDPOINTS,
      policies: [policy('a', [rule([entity('world')], ['UDP/53'], dns('**.io'))])],
    })
    const verdict = (bytes: number[]) => snap.verdict(0, addr16('8.8.8.8'), 0, 17, 53, Uint8Array.from(bytes), 0)
    expect(verdict([1, 97, 2, 105, 111, 0])).toBe(2)
    expect(verdict([1, 97, 2, 105, 111])).toBe(1)
    expect(verdict([64, 97, 2, 105, 111, 0])).toBe(1)
    expect(verdict([0xc0, 0])).toBe(1)
    expect(verdict([])).toBe(1)
    expect(verdict([...new Array<number[]>(130).fill([1, 97]).flat(), 2, 105, 111, 0])).toBe(1)
  })

  test('longest names are answered', () => {
    const snap = snapshot({
      endpoints: ENDPOINTS,
      policies: [policy('a', [rule([entity('world')], ['UDP/53'], dns('**.a'))])],
    })
    expect(ask(snap, '10.0.0.1', '8.8.8.8', 'UDP/53', `${'a.'.repeat(126)}a`)).toBe(2)
  })
})

describe('selectors', () => {
  test('are told by canonical text, each once', () => {
    const snap = snapshot({
      endpoints: ENDPOINTS,
      policies: [policy('a', [rule([fqdn('*.A.io'), fqdn('*.a.io.'), fqdn('**.a.io'), fqdn('x.a.io')])])],
    })
    expect(selected(snap, 'x.a.io')).toEqual(['fqdn:*.a.io', 'fqdn:**.a.io', 'fqdn:x.a.io'])
    expect(selected(snap, 'y.x.a.io')).toEqual(['fqdn:**.a.io'])
    expect(snap.selectorCount).toBe(3)
  })

  test('a name at an offset', () => {
    const snap = snapshot({ endpoints: ENDPOINTS, policies: [policy('a', [rule([fqdn('a.io')])])] })
    const out = new Uint32Array(1)
    expect(snap.matchSelectors(Uint8Array.from([1, 2, 3, ...wire('a.io')]), 3, out)).toBe(1)
  })
})

describe('a damaged buffer is an error', () => {
  const good = compilePolicy({
    generation: 1,
    endpoints: ENDPOINTS,
    policies: [policy('a', [rule([entity('all')], ['UDP/53'], dns('a*b.io'))])],
  }).buffer
  const copy = (length = good?.byteLength ?? 0): SharedArrayBuffer => {
    const other = new SharedArrayBuffer(length)
    new Uint8Array(other).set(new Uint8Array(good ?? new SharedArrayBuffer(0)).subarray(0, length))
    return other
  }
  test('an intact copy opens', () => expect(openSnapshot(copy()).generation).toBe(1))
  test.each([
    ['magic', 0, 1],
    ['version', 1, 99],
    ['length', 2, 8],
    ['sections', 3, 2],
    ['selector set', 6, 1000],
    ['an offset outside', 16, 0x7ffffff8],
    ['an offset that is not aligned', 16, 3],
    ['a length that is not whole records', 17, 7],
    ['a table that is no power of two', 19, 16 * 3],
    ['a table of nothing', 19, 0],
  ])('%s', (_name, word, value) => {
    const other = copy()
    new Uint32Array(other)[word] = value
    expect(() => openSnapshot(other)).toThrow(expect.objectContaining({ code: 'SEKISHO_POLICY_SNAPSHOT' }))
  })
  test('cut short', () => {
    expect(() => openSnapshot(copy(64))).toThrow('damaged')
    expect(() => openSnapshot(copy(8))).toThrow('damaged')
  })
})

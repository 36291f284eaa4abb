import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatIp } from '../../src/core/ip.ts'
import { endpointKey, parseEndpoints } from '../../src/datapath/endpoints.ts'

const problems = (text: string): string[] => {
  const parsed = parseEndpoints(text, 'endpoints.yaml')
  if (!('problems' in parsed)) throw new Error('it was read')
  return parsed.problems.map((one) => `${one.line}:${one.column} ${one.message}`)
}
const endpoints = (text: string): ReturnType<typeof read> => read(text)
function read(text: string) {
  const parsed = parseEndpoints(text, 'endpoints.yaml')
  if ('problems' in parsed) throw new Error(JSON.stringify(parsed.problems))
  return parsed.endpoints
}

const GOOD = `endpoints:
  - name: web-1
    namespace: shop
    labels: { app: web, "example.com/tier": "1", empty: "" }
    addresses: [10.0.0.1, "fd00::1"]
    interface: lxc1
  - name: db-0
    addresses: [10.0.0.2]
    interface: lxc2
`

describe('an endpoints file', () => {
  it('is read: labels, both families, the namespace default', () => {
    const [web, db] = endpoints(GOOD)
    expect(web && endpointKey(web)).toBe('shop/web-1')
    expect(web?.labels).toEqual({ app: 'web', 'example.com/tier': '1', empty: '' })
    expect(web?.addresses.map(formatIp)).toEqual(['10.0.0.1', 'fd00::1'])
    expect(db && endpointKey(db)).toBe('default/db-0')
    expect(endpoints('endpoints: []')).toEqual([])
  })

  it('may be JSON', () => {
    expect(endpoints('{"endpoints":[{"name":"a","addresses":["10.0.0.1"],"interface":"x"}]}')).toHaveLength(1)
  })

  it('gives every problem with its place', () => {
    expect(
      problems(`endpoints:
  - name: Web
    namspace: shop
    labels: { app: 1, "bad key": x }
    addresses: [10.0.0.256, 127.0.0.1]
    interface: an-interface-too-long
  - addresses: []
  - text
more: 1
`),
    ).toEqual([
      '9:1 unknown key "more"',
      '3:5 unknown key "namspace"; did you mean namespace?',
      '2:11 name: "Web" is not a name (lower-case letters, digits, "-" and ".")',
      '6:16 interface: "an-interface-too-long" is not the name of an interface',
      '4:20 label app must be text; put it in quotes',
      '4:23 "bad key" is not a label key',
      '5:17 "10.0.0.256": not an IP address',
      '5:29 "127.0.0.1": a loopback address',
      '7:5 name is missing',
      '7:5 interface is missing',
      '7:16 addresses must be a list of at least one address',
      '8:5 an endpoint must be a mapping',
    ])
  })

  it('has no name, interface or address twice', () => {
    const twice = `endpoints:
  - { name: a, addresses: [10.0.0.1, "fd00::1"], interface: x }
  - { name: a, addresses: [10.0.0.1], interface: x }
  - { name: a, namespace: other, addresses: ["fd00:0::1"], interface: y }
`
    expect(problems(twice)).toEqual([
      '3:13 default/a is there twice',
      '3:50 interface x belongs to default/a already',
      '3:28 address 10.0.0.1 belongs to default/a already',
      '4:46 address fd00::1 belongs to default/a already',
    ])
  })

  it.each([
    ['0.0.0.0', 'the unspecified address'],
    ['::', 'the unspecified address'],
    ['::1', 'a loopback address'],
    ['169.254.1.1', 'a link-local address'],
    ['fe80::1', 'a link-local address'],
    ['224.0.0.1', 'not a unicast address'],
    ['255.255.255.255', 'not a unicast address'],
    ['ff02::1', 'not a unicast address'],
    ['0.1.2.3', 'an address of "this network"'],
    ['::ffff:10.0.0.1', 'not an IP address'],
    ['010.0.0.1', 'not an IP address'],
    ['fe80::1%eth0', 'not an IP address'],
  ])('refuses the address %s', (address, why) => {
    const text = `endpoints: [{ name: a, interface: x, addresses: ["${address}"] }]`
    expect(problems(text)).toEqual([`1:50 "${address}": ${why}`])
  })

  it.each(['lo', '.', '..', 'a/b', 'a b', 'a:b', '""'])('refuses the interface %s', (name) => {
    expect(
      problems(`endpoints: [{ name: a, interface: "${name.replaceAll('"', '')}", addresses: [10.0.0.1] }]`),
    ).toHaveLength(1)
  })

  it.each(['', 'endpoints:', 'endpoints: {}', '[]', 'text', 'endpoint: []'])('must have the list: %j', (text) => {
    expect(problems(text).at(-1)).toContain('the file must have a list "endpoints"')
  })

  it('is refused when it is no YAML, or has a key twice', () => {
    expect(problems('endpoints: [')).not.toEqual([])
    expect(problems('endpoints: []\nendpoints: []')).not.toEqual([])
    expect(problems('endpoints: [{ name: a, name: b, interface: x, addresses: [10.0.0.1] }]')).not.toEqual([])
  })

  it('follows aliases to nothing it does not check', () => {
    const text = 'endpoints:\n  - &a { name: a, interface: x, addresses: [10.0.0.1] }\n  - *a\n'
    expect(problems(text)).toContain('2:16 default/a is there twice')
  })

  it('never throws', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 200 }), fc.nat({ max: GOOD.length }), fc.nat({ max: 20 }), (junk, at, cut) => {
        parseEndpoints(junk, 'f')
        parseEndpoints(GOOD.slice(0, at) + junk + GOOD.slice(at + cut), 'f')
      }),
      { numRuns: 1000 },
    )
  })
})

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { formatCidr } from '../../src/core/ip.ts'
import { parseCilium } from '../../src/policy/dialects/cilium.ts'
import type { ParsedPolicies } from '../../src/policy/dialects/cilium.ts'
import { formatProblem } from '../../src/policy/problem.ts'

const good = readFileSync(new URL('fixtures/cilium/bing.yaml', import.meta.url), 'utf8')

/** A namespaced policy around the lines of `spec`, which start at line 4 with two blanks in front. */
const inSpec = (...lines: string[]): string =>
  [
    'apiVersion: cilium.io/v2',
    'kind: CiliumNetworkPolicy',
    'metadata: { name: p, namespace: shop }',
    'spec:',
    ...lines.map((line) => `  ${line}`),
  ].join('\n')
const withEgress = (...lines: string[]): string => inSpec('endpointSelector: {}', 'egress:', ...lines)

const told = (parsed: ParsedPolicies): string[] => parsed.problems.map(formatProblem)

describe('a good file', () => {
  const { policies, problems } = parseCilium(good, 'good.yaml')

  test('has no problems and every spec of every document', () => {
    expect(problems).toEqual([])
    expect(policies.map(({ name, namespace }) => [name, namespace])).toEqual([
      ['allow-bing-fqdn', 'default'],
      ['no-metadata-service', null],
      ['no-metadata-service', null],
    ])
  })

  test('subjects are held to the namespace of the policy', () => {
    expect(policies[0]?.subject).toEqual([
      { key: 'app', operator: 'In', values: ['client'] },
      { key: 'io.kubernetes.pod.namespace', operator: 'In', values: ['default'] },
    ])
    expect(policies[1]?.subject).toEqual([])
  })

  test('peers, ports and names of each rule', () => {
    const [first, second] = policies[0]?.rules ?? []
    expect(first?.ports).toEqual([{ protocol: 'ANY', port: 53, endPort: 53 }])
    expect(first?.dns?.map(({ pattern }) => pattern.text)).toEqual(['*.bing.com', '*.example.com.*.*.*.*'])
    expect(second?.peers.map((peer) => peer.kind === 'fqdn' && peer.pattern.text)).toEqual(['*.bing.com'])
    expect(second?.ports[1]).toEqual({ protocol: 'TCP', port: 8000, endPort: 8080 })
    expect(second?.dns).toBeNull()
  })

  test('origins point at the text', () => {
    const rule = policies[0]?.rules[0]
    expect(rule?.origin).toEqual({ file: 'good.yaml', line: 16, column: 11, path: 'spec.egress[0].toPorts[0]' })
    expect(rule?.dns?.[0]?.origin).toMatchObject({ line: 21, column: 31 })
    expect(policies[2]?.rules[0]?.peers[0]?.origin).toMatchObject({
      line: 44,
      column: 13,
      path: 'specs[1].egress[0].toCIDRSet[0]',
    })
  })

  test('default deny can be left off', () =>
    expect(policies.map(({ defaultDeny }) => defaultDeny)).toEqual([true, false, true]))

  test('exceptions stay with their prefix', () => {
    const peer = policies[2]?.rules[0]?.peers[0]
    expect(peer?.kind === 'cidr' && peer.except.map(formatCidr)).toEqual(['10.96.0.0/12'])
  })

  test('the same as JSON and inside a List', () => {
    const json = JSON.stringify(
      {
        apiVersion: 'v1',
        kind: 'List',
        items: [
          {
            apiVersion: 'cilium.io/v2',
            kind: 'CiliumNetworkPolicy',
            metadata: { name: 'a' },
            spec: { endpointSelector: {}, egress: [{ toEntities: ['world'] }] },
          },
        ],
      },
      undefined,
      '\t',
    )
    const parsed = parseCilium(json, 'a.json')
    expect(told(parsed)).toEqual([])
    expect(parsed.policies[0]?.namespace).toBe('default')
  })

  test('the older meaning of a leading double star by option', () => {
    const text = withEgress('- toFQDNs: [{ matchPattern: "**.a.io" }]')
    const text0 = (doubleStar: 'labels' | 'label'): unknown => {
      const peer = parseCilium(text, 'f', { doubleStar }).policies[0]?.rules[0]?.peers[0]
      return peer?.kind === 'fqdn' ? peer.pattern.text : undefined
    }
    expect([text0('labels'), text0('label')]).toEqual(['**.a.io', '*.a.io'])
  })
})

describe('what an egress list means', () => {
  const rules = (...lines: string[]): unknown => {
    const parsed = parseCilium(withEgress(...lines), 'f')
    expect(parsed.problems.filter(({ severity }) => severity === 'error')).toEqual([])
    return parsed.policies[0]?.rules.map((rule) => [
      rule.peers.map((peer) => (peer.kind === 'entity' ? peer.entity : peer.kind)),
      rule.ports.length,
    ])
  }
  test('an empty list selects its endpoints and allows nothing', () => {
    const parsed = parseCilium(inSpec('endpointSelector: {}', 'egress: []'), 'f')
    expect(parsed.policies).toMatchObject([{ defaultDeny: true, rules: [] }])
    expect(told(parsed)[0]).toContain('warning: spec.egress is empty')
  })
  test('an empty rule allows nothing', () => expect(rules('- {}')).toEqual([]))
  test('ports alone mean every peer', () =>
    expect(rules('- toPorts: [{ ports: [{ port: "443", protocol: TCP }] }]')).toEqual([[['all'], 1]]))
  test('an empty peer list selects nothing, with or without ports', () => {
    expect(rules('- toFQDNs: []')).toEqual([[[], 0]])
    expect(rules('- toCIDR: []', '  toPorts: [{ ports: [{ port: "443" }] }]')).toEqual([[[], 1]])
  })
  test('an empty endpoint selector stays in the namespace', () => {
    const parsed = parseCilium(withEgress('- toEndpoints: [{}]'), 'f')
    expect(parsed.policies[0]?.rules[0]?.peers).toMatchObject([
      { selector: [{ key: 'io.kubernetes.pod.namespace', operator: 'In', values: ['shop'] }] },
    ])
  })
  test('a selector that names namespaces is left alone', () => {
    const parsed = parseCilium(
      withEgress(
        '- toEndpoints:',
        '  - matchExpressions: [{ key: "k8s:io.kubernetes.pod.namespace", operator: Exists }]',
      ),
      'f',
    )
    expect(parsed.policies[0]?.rules[0]?.peers).toMatchObject([{ selector: [{ operator: 'Exists' }] }])
  })
  test('an empty list of DNS rules allows every name, with a warning', () => {
    const parsed = parseCilium(
      withEgress('- toPorts:', '  - ports: [{ port: "53", protocol: UDP }]', '    rules: { dns: [] }'),
      'f',
    )
    expect(parsed.policies[0]?.rules[0]?.dns).toMatchObject([{ pattern: { form: 'everything' } }])
    expect(told(parsed)[0]).toContain('warning')
  })
})

describe('problems are told with file, line and column, and refuse the file whole', () => {
  const egressCases: [string, string[], string][] = [
    [
      'a field that is not enforced',
      ['- toServices: []'],
      'f:7:5: error: spec.egress[0].toServices: a Cilium field that is not enforced',
    ],
    [
      'a typing slip',
      ['- toFQDN: []'],
      'f:7:5: error: spec.egress[0].toFQDN: unknown field "toFQDN" (did you mean toFQDNs?)',
    ],
    [
      'toFQDNs among the DNS rules',
      [
        '- toPorts:',
        '  - ports: [{ port: "53" }]',
        '    rules:',
        '      dns:',
        '      - matchPattern: "*"',
        '      - toFQDNs: [{ matchName: a.io }]',
      ],
      'f:12:11: error: spec.egress[0].toPorts[0].rules.dns[1].toFQDNs: unknown field "toFQDNs" (toFQDNs must be a sibling of toPorts in spec.egress[])',
    ],
    [
      'other layer-7 rules',
      ['- toPorts:', '  - ports: [{ port: "80" }]', '    rules: { http: [] }'],
      'f:9:16: error: spec.egress[0].toPorts[0].rules.http: a Cilium field that is not enforced',
    ],
    [
      'two kinds of peer',
      ['- toFQDNs: [{ matchName: a.io }]', '  toCIDR: [10.0.0.0/8]'],
      'f:7:5: error: spec.egress[0]: combining toCIDR and toFQDNs is not supported (write one rule for each; Cilium refuses it too)',
    ],
    [
      'name and pattern at once',
      ['- toFQDNs: [{ matchName: a.io, matchPattern: b.io }]'],
      'f:7:15: error: spec.egress[0].toFQDNs[0]: only one of MatchName or MatchPattern is allowed in an FQDNSelector',
    ],
    [
      'a pattern that can match nothing',
      ['- toFQDNs: [{ matchPattern: "a..io" }]'],
      'f:7:31: error: spec.egress[0].toFQDNs[0].matchPattern: "a..io" can match no name: it has an empty label (Cilium accepts some of these and never matches them)',
    ],
    [
      'a star in a name',
      ['- toFQDNs: [{ matchName: "*.io" }]'],
      'f:7:28: error: spec.egress[0].toFQDNs[0].matchName: Invalid characters in MatchName: "*.io". Only 0-9, a-z, A-Z and ., -, _ characters are allowed',
    ],
    [
      'an empty name',
      ['- toFQDNs: [{ matchName: "" }]'],
      'f:7:28: error: spec.egress[0].toFQDNs[0].matchName: empty (Cilium takes it for the root name or for no name at all)',
    ],
    [
      'an item without a name',
      ['- toFQDNs: [{}]'],
      'f:7:15: error: spec.egress[0].toFQDNs[0] needs matchName or matchPattern (Cilium takes it for no name at all)',
    ],
    [
      'a number for a port',
      ['- toPorts: [{ ports: [{ port: 53 }] }]'],
      'f:7:33: error: spec.egress[0].toPorts[0].ports[0].port must be a string, not the number 53 (quote it)',
    ],
    [
      'a named port',
      ['- toPorts: [{ ports: [{ port: dns }] }]'],
      'f:7:33: error: spec.egress[0].toPorts[0].ports[0].port: named port "dns" is not enforced (write its number)',
    ],
    [
      'a port that is none',
      ['- toPorts: [{ ports: [{ port: "70000" }] }]'],
      'f:7:33: error: spec.egress[0].toPorts[0].ports[0].port: "70000" is no port (0 to 65535)',
    ],
    [
      'a protocol in small letters',
      ['- toPorts: [{ ports: [{ port: "53", protocol: udp }] }]'],
      'f:7:49: error: spec.egress[0].toPorts[0].ports[0].protocol: unknown protocol "udp" (ANY, TCP, UDP or SCTP, in capitals)',
    ],
    [
      'a range that ends before it starts',
      ['- toPorts: [{ ports: [{ port: "80", endPort: 70 }] }]'],
      'f:7:48: error: spec.egress[0].toPorts[0].ports[0].endPort: must be 80 to 65535, not 70',
    ],
    [
      'a DNS rule on a range',
      ['- toPorts: [{ ports: [{ port: "53", endPort: 54 }], rules: { dns: [{ matchPattern: "*" }] } }]'],
      'f:7:24: error: spec.egress[0].toPorts[0].ports: a DNS rule needs single ports, no ranges and no port 0',
    ],
    [
      'ports without ports',
      ['- toPorts: [{}]'],
      'f:7:15: error: spec.egress[0].toPorts[0] needs ports (port "0" with protocol ANY is every port)',
    ],
    [
      'an entity no address can have',
      ['- toEntities: [kube-apiserver]'],
      'f:7:18: error: spec.egress[0].toEntities[0]: entity "kube-apiserver" is not enforced (enforced are all, world, world-ipv4, world-ipv6, cluster, host, none)',
    ],
    [
      'an entity that is none',
      ['- toEntities: [wrld]'],
      'f:7:18: error: spec.egress[0].toEntities[0]: entity "wrld" is unknown (did you mean world?)',
    ],
    [
      'a prefix that is none',
      ['- toCIDR: [10.0.0.0/33]'],
      'f:7:14: error: spec.egress[0].toCIDR[0]: "10.0.0.0/33" is no IP prefix',
    ],
    [
      'a mapped prefix',
      ['- toCIDR: ["::ffff:10.0.0.0/104"]'],
      'f:7:14: error: spec.egress[0].toCIDR[0]: "::ffff:10.0.0.0/104" is no IP prefix',
    ],
    [
      'an exception outside',
      ['- toCIDRSet: [{ cidr: 10.0.0.0/8, except: [11.0.0.0/16] }]'],
      'f:7:46: error: spec.egress[0].toCIDRSet[0].except[0]: 11.0.0.0/16 does not lie in 10.0.0.0/8',
    ],
    [
      'a CIDR group',
      ['- toCIDRSet: [{ cidrGroupRef: g }]'],
      'f:7:19: error: spec.egress[0].toCIDRSet[0].cidrGroupRef: CIDR groups are not enforced',
    ],
    [
      'a reserved label',
      ['- toEndpoints: [{ matchLabels: { "reserved:host": "" } }]'],
      'f:7:36: error: label source "reserved:" is not enforced (select it with toEntities)',
    ],
    [
      'a label of the cluster',
      ['- toEndpoints: [{ matchLabels: { io.cilium.k8s.policy.cluster: a } }]'],
      'f:7:36: error: label "io.cilium.k8s.policy.cluster" is not enforced: endpoints carry pod labels and io.kubernetes.pod.namespace only',
    ],
    [
      'an operator that is none',
      ['- toEndpoints: [{ matchExpressions: [{ key: a, operator: in, values: [b] }] }]'],
      'f:7:60: error: spec.egress[0].toEndpoints[0].matchExpressions[0].operator must be In, NotIn, Exists or DoesNotExist, not "in"',
    ],
    [
      'In without values',
      ['- toEndpoints: [{ matchExpressions: [{ key: a, operator: In }] }]'],
      'f:7:40: error: spec.egress[0].toEndpoints[0].matchExpressions[0]: In needs values',
    ],
    [
      'a peer field that is null',
      ['- toEndpoints:'],
      'f:7:5: error: spec.egress[0].toEndpoints is null (give it a value or leave it out)',
    ],
    [
      'a DNS rule for a server by name',
      [
        '- toFQDNs: [{ matchName: dns.google }]',
        '  toPorts: [{ ports: [{ port: "53" }], rules: { dns: [{ matchPattern: "*" }] } }]',
      ],
      'f:7:5: error: spec.egress[0]: rules.dns for a server selected by toFQDNs is not enforced (select the server by toEndpoints, toCIDR or toEntities)',
    ],
  ]
  test.each(egressCases)('%s', (_name, lines, expected) => {
    const parsed = parseCilium(withEgress(...lines), 'f')
    expect(told(parsed)).toEqual([expected])
    expect(parsed.policies).toEqual([])
  })

  const specCases: [string, string[], string][] = [
    [
      'ingress',
      ['endpointSelector: {}', 'egress: [{}]', 'ingress: [{}]'],
      'f:7:3: error: spec.ingress: ingress policy is not enforced',
    ],
    [
      'host policy',
      ['nodeSelector: {}', 'egress: [{}]'],
      'f:5:3: error: spec.nodeSelector: host policy is not enforced\nf:5:3: error: spec needs endpointSelector ({} selects every endpoint of the namespace)',
    ],
    ['neither egress nor egressDeny', ['endpointSelector: {}'], 'f:5:3: error: spec needs egress or egressDeny'],
    [
      'default deny of ingress',
      ['endpointSelector: {}', 'egress: [{}]', 'enableDefaultDeny: { ingress: true }'],
      'f:7:33: error: spec.enableDefaultDeny.ingress: ingress policy is not enforced',
    ],
    [
      'a boolean in words',
      ['endpointSelector: {}', 'egress: [{}]', 'enableDefaultDeny: { egress: "false" }'],
      'f:7:32: error: spec.enableDefaultDeny.egress must be true or false, not "false"',
    ],
    [
      'names in a deny rule',
      ['endpointSelector: {}', 'egressDeny: [{ toFQDNs: [{ matchName: a.io }] }]'],
      'f:6:18: error: spec.egressDeny[0].toFQDNs: names cannot be denied, Cilium has no such rule',
    ],
    [
      'a foreign namespace',
      ['endpointSelector: { matchLabels: { io.kubernetes.pod.namespace: other } }', 'egress: [{}]'],
      "f:5:21: error: spec.endpointSelector names another namespace than the policy's (shop) (a policy selects endpoints of its own namespace; CiliumClusterwideNetworkPolicy selects in all)",
    ],
    [
      'a label value that YAML reads as a boolean',
      ['endpointSelector: { matchLabels: { on: yes } }', 'egress: [{}]'],
      'f:5:38: error: a key must be a string',
    ],
    [
      'the same key twice',
      ['endpointSelector: {}', 'egress: []', 'egress: [{ toEntities: [all] }]'],
      'f:7:3: error: Map keys must be unique',
    ],
  ]
  test.each(specCases)('%s', (_name, lines, expected) => {
    const parsed = parseCilium(inSpec(...lines), 'f')
    expect(told(parsed).join('\n')).toBe(expected)
    expect(parsed.policies).toEqual([])
  })

  test('the first good document does not survive a broken second one', () => {
    const parsed = parseCilium(`${good}---\nkind: CiliumNetworkPolcy\n`, 'f')
    expect(told(parsed)).toEqual([
      'f:48:7: error: kind CiliumNetworkPolcy is unknown (did you mean CiliumNetworkPolicy?)',
    ])
    expect(parsed.policies).toEqual([])
  })

  test('every problem of a file is told, in order', () => {
    const parsed = parseCilium(
      withEgress('- toFQDNs: [{ matchName: "a b" }]', '- toPort: []', '- toEntities: [moon]'),
      'f',
    )
    expect(parsed.problems.map(({ line, column }) => [line, column])).toEqual([
      [7, 28],
      [8, 5],
      [9, 18],
    ])
  })

  test('columns count with Windows line ends and after multi-octet characters', () => {
    const text = withEgress('- toEntities: [moon] # é').replaceAll('\n', '\r\n')
    expect(told(parseCilium(text, 'f'))).toEqual([
      'f:7:18: error: spec.egress[0].toEntities[0]: entity "moon" is unknown',
    ])
    expect(parseCilium(withEgress('- { toEntities: ["é", moon] }'), 'f').problems[1]).toMatchObject({
      line: 7,
      column: 25,
    })
  })

  test('a policy of another kind is never passed over', () => {
    const parsed = parseCilium('apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n', 'f')
    expect(told(parsed)).toEqual(['f:2:7: error: kind NetworkPolicy is not enforced'])
  })

  test('objects that are no policy are passed over with a warning', () => {
    expect(told(parseCilium('apiVersion: v1\nkind: Namespace\nmetadata: { name: a }\n', 'f'))).toEqual([
      'f:2:7: warning: kind Namespace is no policy and is passed over',
    ])
  })
})

describe('hostile texts are problems and nothing else', () => {
  test.each([
    ['broken YAML', 'a: [b', 1],
    ['a tab', 'a:\n\tb: c', 1],
    ['binary', '\u0000\u0001\u0002', 1],
    ['deep nesting', `${'['.repeat(20_000)}`, 1],
    ['deep flow nesting, closed', `${'['.repeat(5_000)}${']'.repeat(5_000)}`, 1],
    [
      'many aliases',
      `a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\nkind: x`,
      1,
    ],
    ['an alias to nothing', 'a: *b', 1],
    ['a key that is a list', '? [a]\n: b', 1],
    ['a merge key', 'a: &a {kind: List}\n<<: *a', 1],
    ['a scalar', 'hello', 1],
    ['a prototype name', '__proto__: 1\nkind: CiliumNetworkPolicy\nconstructor: 2', 1],
  ])('%s', (_name, text, least) => {
    const parsed = parseCilium(text, 'f')
    expect(parsed.policies).toEqual([])
    expect(parsed.problems.length).toBeGreaterThanOrEqual(least)
    for (const { line, column } of parsed.problems) expect(line >= 1 && column >= 1).toBe(true)
  })

  test('nothing at all is no policy and no problem', () => {
    expect(parseCilium('', 'f')).toEqual({ policies: [], problems: [] })
    expect(parseCilium('---\n# only a comment\n---\n', 'f')).toEqual({ policies: [], problems: [] })
  })
})

import { expect, test } from 'vitest'
import { formatFlow, parseFlow } from '../../src/config/flow.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { ConfigProblem } from '../../src/config/problem.ts'
import type { Config } from '../../src/config/schema.ts'

const SEAL = `
datapath: { mode: off }
wireguard:
  mode: manage
  prefixes: [10.1.1.0/24, "fd10:1::/64"]
  directory: { path: /srv/keys }
`

function good(text: string, env: Record<string, string> = {}): Config {
  const loaded = loadConfig(text, env)
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.error))
  return loaded.value
}

function bad(text: string, env: Record<string, string> = {}): readonly ConfigProblem[] {
  const loaded = loadConfig(text, env)
  if (loaded.ok) throw new Error('it was accepted')
  return loaded.error
}

const paths = (problems: readonly ConfigProblem[]): string[] => problems.map(({ path }) => path)

test('a node that only keeps the seal needs neither endpoints nor policies', () => {
  expect(good(SEAL)).toMatchObject({
    datapath: { mode: 'off', endpoints: '' },
    policy: { paths: [] },
    wireguard: { mode: 'manage', prefixes: ['10.1.1.0/24', 'fd10:1::/64'] },
  })
})

test('a node with neither gate nor seal has nothing to do', () => {
  expect(bad('datapath: { mode: off }')).toMatchObject([{ code: 'SEKISHO_CONFIG_CONFLICT', path: 'datapath.mode' }])
  expect(good('datapath: { mode: off }\nwireguard: { mode: observe }').wireguard.observe.device).toBe('cilium_wg0')
})

test('what the modes need is told with every other problem, at once', () => {
  const problems = bad('wireguard: { mode: manage, port: 0, domain: "a b", encryptNodes: maybe }')
  expect(paths(problems)).toEqual([
    'wireguard.port',
    'wireguard.domain',
    'wireguard.encryptNodes',
    'datapath.endpoints',
    'policy.paths',
    'wireguard.prefixes',
    'wireguard.directory.path',
  ])
  expect(problems.slice(3).map(({ code }) => code)).toEqual(Array<string>(4).fill('SEKISHO_CONFIG_MISSING'))
})

test('a setting that was given and is wrong is not called missing too', () => {
  expect(
    paths(bad('datapath: { mode: off }\nwireguard: { mode: manage, prefixes: 1, directory: { path: /d } }')),
  ).toEqual(['wireguard.prefixes'])
})

test.each<[string, string, string]>([
  ['a probe port that is a device’s', 'probePort: 51872', 'wireguard.probePort'],
  ['one table for two things', 'table: 20101', 'wireguard.slotTables'],
  ['a second table that is reserved', 'slotTables: 252', 'wireguard.slotTables'],
  ['rules in the wrong order', 'rulePriority: 80', 'wireguard.slotRulePriority'],
  ['a mark outside of the mask', 'fwmark: 0x1e01', 'wireguard.fwmark'],
  ['the mark of the redirect', 'fwmark: 0x1200', 'wireguard.fwmark'],
  ['an MTU that is no multiple of 16', 'mtu: 1405', 'wireguard.mtu'],
  ['an MTU too small for IPv6', 'mtu: 1264', 'wireguard.mtu'],
  ['a part of a second', 'keepalive: 1500ms', 'wireguard.keepalive'],
  ['an age cap within the life', 'maxKeyAge: 24h', 'wireguard.maxKeyAge'],
  ['a quiet time longer than the life', 'keyLife: 1m, quiet: 40s', 'wireguard.quiet'],
  ['extra prefixes inside the others', 'extraPrefixes: [10.1.1.128/25]', 'wireguard.extraPrefixes[0]'],
  ['a prefix nobody would accept', 'extraPrefixes: [10.0.0.0/8]', 'wireguard.extraPrefixes[0]'],
  ['an endpoint inside the tunnel', 'endpoints: [10.1.1.7]', 'wireguard.endpoints'],
  [
    'more prefixes than a record holds',
    `extraPrefixes: [${Array.from({ length: 63 }, (_, i) => `10.9.${i}.0/24`).join(', ')}]`,
    'wireguard.extraPrefixes',
  ],
])('%s does not fit', (_what, settings, path) => {
  const problems = bad(SEAL.replace('mode: manage', `mode: manage\n  ${settings.replaceAll(', quiet', '\n  quiet')}`))
  expect(paths(problems)).toContain(path)
  expect(new Set(problems.map(({ code }) => code))).toEqual(new Set(['SEKISHO_CONFIG_CONFLICT']))
})

test('tables and priorities of gate and seal must differ, where both run', () => {
  const both = (gate: string): string =>
    SEAL.replace('mode: off', `endpoints: /e, ${gate}`) + 'policy: { paths: [/p] }\n'
  expect(paths(bad(both('routeTable: 20000')))).toEqual(['datapath.routeTable'])
  for (const taken of [90, 80, 70, 71, 79]) {
    expect(paths(bad(both(`rulePriority: ${taken}`)))).toEqual(['datapath.rulePriority'])
  }
  good(both('rulePriority: 9'))
  good(SEAL.replace('mode: off', 'mode: off, routeTable: 20000'))
})

test.each([
  ['10.0.0.1', '10.0.0.1/32'],
  ['10.0.0.0/8 tcp/443', '10.0.0.0/8 tcp/443'],
  ['fd00::1  udp/53', 'fd00::1/128 udp/53'],
])('the flow %s is read', (text, canonical) => {
  const flow = parseFlow(text)
  expect(flow === undefined ? undefined : formatFlow(flow)).toBe(canonical)
})

test.each([
  '',
  'x',
  '10.0.0.1/33',
  '10.0.0.1/8',
  '10.0.0.1 tcp',
  '10.0.0.1 tcp/0',
  '10.0.0.1 tcp/65536',
  '10.0.0.1 icmp/1',
])('the flow %j is refused', (text) => expect(parseFlow(text)).toBeUndefined())

test('prefixes, devices and toggles are read from the environment too', () => {
  const { wireguard } = good(SEAL, {
    SEKISHO_WIREGUARD_EXTRA_PREFIXES: '192.0.2.0/28, 2001:db8::/64',
    SEKISHO_WIREGUARD_UNDERLAY: 'eth0,eth1.5',
    SEKISHO_WIREGUARD_ENCRYPT_NODES: 'true',
    SEKISHO_WIREGUARD_BYPASS: '10.96.0.1 tcp/443',
  })
  expect(wireguard).toMatchObject({
    extraPrefixes: ['192.0.2.0/28', '2001:db8::/64'],
    underlay: ['eth0', 'eth1.5'],
    encryptNodes: true,
    bypass: ['10.96.0.1/32 tcp/443'],
  })
})

test('a prefix with host bits is refused, and the one that was meant is named', () => {
  const [problem] = bad(SEAL.replace('10.1.1.0/24', '10.1.1.1/24'))
  expect(problem).toMatchObject({ path: 'wireguard.prefixes[0]', hint: 'did you mean 10.1.1.0/24?' })
})

import { expect, test } from 'vitest'
import { leaves, variableOf } from '../../src/config/environment.ts'
import type { Section } from '../../src/config/kinds.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { ConfigProblem } from '../../src/config/problem.ts'
import { configSchema, type Config } from '../../src/config/schema.ts'

const LEAST = 'datapath: { endpoints: /etc/e.yaml }\npolicy: { paths: [/etc/p] }\n'

function good(text: string | undefined, env: Record<string, string> = {}): Config {
  const loaded = loadConfig(text, env)
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.error))
  return loaded.value
}

function bad(text: string | undefined, env: Record<string, string> = {}): readonly ConfigProblem[] {
  const loaded = loadConfig(text, env)
  if (loaded.ok) throw new Error('it was accepted')
  return loaded.error
}

test('the least configuration gets every default', () => {
  expect(good(LEAST)).toEqual({
    node: { name: '', uid: '', procfs: '/proc', addresses: [] },
    datapath: {
      mode: 'standalone',
      bpffs: '/sys/fs/bpf',
      directory: 'sekisho',
      endpoints: '/etc/e.yaml',
      routeTable: 2004,
      rulePriority: 9,
      eventsPerSecond: 100,
      maps: { ipcacheEntries: 512000, policyEntries: 16384, conntrackEntries: 262144 },
      conntrack: { tcpSeconds: 8000, otherSeconds: 60, synSeconds: 60, closeSeconds: 10 },
    },
    policy: { paths: ['/etc/p'], doubleStar: 'labels' },
    dns: {
      port: 10053,
      workers: 1,
      pump: 'auto',
      denyResponse: 'auto',
      searchDomains: ['svc.cluster.local', 'cluster.local'],
      upstreamTimeout: 4500,
      receiveBuffer: 4 * 1024 * 1024,
      maxInFlight: 8192,
      maxPending: 2048,
      endpointShare: 25,
      tcp: { maxConnections: 1024, maxConnectionsPerEndpoint: 64, idleTimeout: 10_000, maxQueriesPerConnection: 0 },
    },
    fqdn: {
      minTtl: 0,
      grace: 0,
      maxAddressesPerName: 1000,
      maxNamesPerEndpoint: 10_000,
      maxEntriesPerEndpoint: 125_000,
      maxEntries: 500_000,
      conntrackInterval: 10_000,
    },
    wireguard: {
      mode: 'off',
      driver: 'auto',
      command: 'wireguard-go',
      domain: 'default',
      target: 'active',
      devicePrefix: 'kwg',
      port: 51871,
      probePort: 51873,
      fwmark: 0x1e00,
      table: 20000,
      slotTables: 20100,
      rulePriority: 90,
      slotRulePriority: 80,
      nexthopBase: 5000,
      prefixes: [],
      extraPrefixes: [],
      endpoints: [],
      underlay: [],
      encryptNodes: false,
      accept: [],
      bypass: [],
      keyLife: 24 * 3_600_000,
      maxKeyAge: 7 * 24 * 3_600_000,
      quiet: 5000,
      compromiseCap: 60_000,
      excuseAfter: 12 * 3_600_000,
      keepalive: 25_000,
      mtu: 0,
      directory: { kind: 'folder', path: '' },
      observe: { device: 'cilium_wg0' },
      metrics: { perPeer: false },
    },
    state: { dir: '/run/sekisho', snapshotInterval: 5000 },
    http: { address: '127.0.0.1', port: 9876 },
    log: { level: 'warn' },
  })
})

test('the configuration is frozen to the last list', () => {
  const config = good(LEAST) as unknown as { dns: { port: number; searchDomains: string[] } }
  expect(() => {
    config.dns.port = 1
  }).toThrow(TypeError)
  expect(() => config.dns.searchDomains.push('x')).toThrow(TypeError)
  // The default itself cannot be changed through a configuration either.
  expect(good(LEAST).dns.searchDomains).not.toBe(
    (configSchema.properties.dns.properties.searchDomains as { default?: unknown }).default,
  )
})

test('the environment alone is enough, and wins over the file', () => {
  const env = { SEKISHO_DATAPATH_ENDPOINTS: '/e', SEKISHO_POLICY_PATHS: '/a, /b', SEKISHO_DNS_TCP_IDLE_TIMEOUT: '2m' }
  expect(good(undefined, env)).toMatchObject({
    policy: { paths: ['/a', '/b'] },
    dns: { tcp: { idleTimeout: 120_000 } },
  })
  const both = good(`${LEAST}http: { port: 1 }`, { SEKISHO_HTTP_PORT: '2' })
  expect(both.http.port).toBe(2)
})

test('an override does not hide a broken value in the file', () => {
  expect(bad(`${LEAST}http: { port: x }`, { SEKISHO_HTTP_PORT: '2' })).toMatchObject([
    { path: 'http.port', origin: { kind: 'file', line: 3 } },
  ])
})

test('every setting has a variable of its own, and the variable reaches it', () => {
  const all = [...leaves(configSchema as unknown as Section)]
  expect(new Set(all.map(({ path }) => variableOf(path))).size).toBe(all.length)
  for (const { path } of all) {
    const problems = bad(LEAST, { [variableOf(path)]: '\0' })
    expect(problems.map((problem) => problem.path.replace(/\[0\]$/, ''))).toContain(path)
  }
})

test('every problem is told at once, in the order of the file, then of the environment', () => {
  const text = `
dns:
  prot: 4
  port: 70000
  upstreamTimeout: 5
datapath: { endpoints: [a], routeTable: 254 }
http: 3
`
  const problems = bad(text, { SEKISHO_LOG_LEVEL: 'inf', SEKISHO_DNS_PRT: '1' })
  const seen = problems.map(({ code, path, origin }) => [
    code,
    path,
    origin.kind === 'file' ? `${origin.line}:${origin.column}` : origin.kind,
  ])
  expect(seen).toEqual([
    ['SEKISHO_CONFIG_UNKNOWN', 'dns.prot', '3:3'],
    ['SEKISHO_CONFIG_RANGE', 'dns.port', '4:9'],
    ['SEKISHO_CONFIG_TYPE', 'dns.upstreamTimeout', '5:20'],
    ['SEKISHO_CONFIG_TYPE', 'datapath.endpoints', '6:24'],
    ['SEKISHO_CONFIG_RANGE', 'datapath.routeTable', '6:41'],
    ['SEKISHO_CONFIG_TYPE', 'http', '7:7'],
    ['SEKISHO_CONFIG_MISSING', 'policy.paths', 'absent'],
    ['SEKISHO_CONFIG_VALUE', 'log.level', 'environment'],
    ['SEKISHO_CONFIG_UNKNOWN', '', 'environment'],
  ])
})

test.each([
  ['dns: { prot: 1 }', 'did you mean port?'],
  ['dsn: {}', 'did you mean dns?'],
  ['log: { level: warning }', 'did you mean warn?'],
  ['dns: { upstreamTimeout: 5 }', 'write a whole number and a unit: 500ms, 10s, 5m, 2h'],
])('%s gets a hint', (text, hint) => {
  expect(bad(LEAST + text).map((problem) => problem.hint)).toEqual([hint])
})

test.each<[string, string]>([
  ['text where a number is wanted', 'dns: { workers: many }'],
  ['a fraction', 'dns: { workers: 1.5 }'],
  ['a negative number', 'dns: { maxPending: -1 }'],
  ['below the range', 'dns: { maxInFlight: 15 }'],
  ['a number where text is wanted', 'node: { name: 5 }'],
  ['an address with leading zeros', 'http: { address: 127.0.0.01 }'],
  ['a mapped address', 'node: { addresses: ["::ffff:1.2.3.4"] }'],
  ['a name twice', 'dns: { searchDomains: [a.b, A.B.] }'],
  ['the root as search domain', 'dns: { searchDomains: ["."] }'],
  ['a path component in the directory', 'datapath: { endpoints: /e, directory: ../x }\npolicy: { paths: [/p] }'],
  ['a list where a value is wanted', 'state: { dir: [a] }'],
  ['a mapping in a list', 'node: { addresses: [{ a: b }] }'],
  ['nothing where a value is wanted', 'http: { port: }'],
  ['a size without unit', 'dns: { receiveBuffer: 4096 }'],
  ['a duration too long', 'dns: { upstreamTimeout: 2h }'],
  ['a reserved table', 'datapath: { endpoints: /e, routeTable: 255 }\npolicy: { paths: [/p] }'],
])('%s is refused', (_what, text) => {
  const problems = bad(text.startsWith('datapath') ? text : LEAST + text)
  expect(problems).toHaveLength(1)
})

test.each([
  ['two documents', `${LEAST}---\n{}`],
  ['a key twice', `${LEAST}http: {}\nhttp: {}`],
  ['no YAML', 'a: b: c'],
])('%s is a syntax problem and nothing else is told of the file', (_what, text) => {
  const problems = bad(text)
  expect(new Set(problems.map(({ code }) => code))).toEqual(new Set(['SEKISHO_CONFIG_SYNTAX']))
})

test('policy paths must not be empty', () => {
  expect(bad('datapath: { endpoints: /e }\npolicy: { paths: [] }')).toMatchObject([{ path: 'policy.paths' }])
})

test('settings that do not fit together are told', () => {
  expect(bad(`${LEAST}http: { port: 10053 }`)).toMatchObject([{ code: 'SEKISHO_CONFIG_CONFLICT', path: 'http.port' }])
  expect(good(`${LEAST}http: { port: 10053, address: 192.0.2.1 }`).http.port).toBe(10053)
  expect(bad(`${LEAST}dns: { tcp: { maxConnections: 5 } }`)).toMatchObject([
    { path: 'dns.tcp.maxConnectionsPerEndpoint' },
  ])
})

test('what Kubernetes makes of Services is left alone, and a clash is explained', () => {
  const services = {
    SEKISHO_SERVICE_HOST: 'x',
    SEKISHO_PORT: 'tcp://x',
    SEKISHO_HTTP_PORT_80_TCP: 'x',
    SEKISHO_DNS_SERVICE_PORT: '1',
  }
  good(LEAST, services)
  const [problem] = bad(LEAST, { SEKISHO_HTTP_PORT: 'tcp://192.0.2.1:80' })
  expect(problem?.hint).toContain('enableServiceLinks')
})

test('an anchor and its alias are one value in two places', () => {
  expect(good('datapath: { endpoints: &f /e }\npolicy: { paths: [*f] }').policy.paths).toEqual(['/e'])
})
